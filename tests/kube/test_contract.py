"""What the API client promises against any API server: runs in-process, and for real with EBPFLB_TEST_KUBECONFIG.

Objects that the server itself would refuse cannot appear here; an annotation of our own can be wrong anywhere.
"""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from ebpflb.core.model import EndpointSlice, Pod, Service
from ebpflb.kube import watch
from ebpflb.kube.watch import KubeSource
from ebpflb.reconcile.ports import Kind
from tests.kube.cluster import Cluster
from tests.kube.objects import make_pod, make_service, make_slice
from tests.kube.recorder import DEADLINE_S, RecordingSink, running
from tests.kube.store import Object

PROXY_NAME = "service.kubernetes.io/service-proxy-name"
HEADLESS = "service.kubernetes.io/headless"


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def source(cluster: Cluster) -> KubeSource:
    return KubeSource(cluster.kubeconfig, cluster.node_name, rng=random.Random(1))


@pytest.fixture
def watching(source: KubeSource, sink: RecordingSink) -> Iterator[None]:
    with running(source, sink):
        sink.wait_listed()
        yield


def in_cluster(cluster: Cluster, name: str, **kwargs: Any) -> Object:
    """Return a Service whose address the API server allocates."""
    return make_service(name, cluster.namespace, **kwargs)


def wait(sink: RecordingSink, cluster: Cluster, kind: Kind, name: str, *, present: bool = True) -> None:
    """Await an object of the test's own namespace: a real cluster holds others."""
    key = (cluster.namespace, name)
    sink.wait(lambda: (key in sink.objects[kind]) is present, f"{kind} {name} present={present}")


def held(sink: RecordingSink, cluster: Cluster, name: str) -> Service:
    found = sink.objects[Kind.SERVICE][(cluster.namespace, name)]
    assert isinstance(found, Service)
    return found


def test_what_exists_is_listed(cluster: Cluster, source: KubeSource, sink: RecordingSink) -> None:
    cluster.put("services", in_cluster(cluster, "web"))
    cluster.put("endpointslices", make_slice("web-1", cluster.namespace))
    with running(source, sink):
        sink.wait_listed()
    assert (cluster.namespace, "web") in sink.objects[Kind.SERVICE]
    assert (cluster.namespace, "web-1") in sink.objects[Kind.ENDPOINT_SLICE]
    assert sink.names(Kind.NODE) == {cluster.node_name}
    assert sorted(sink.replaced) == sorted(Kind)
    assert not sink.error


@pytest.mark.usefixtures("watching")
def test_services_come_change_and_go(cluster: Cluster, sink: RecordingSink) -> None:
    cluster.put("services", in_cluster(cluster, "web"))
    wait(sink, cluster, Kind.SERVICE, "web")
    cluster.put("services", in_cluster(cluster, "web", sessionAffinity="ClientIP"))
    sink.wait(lambda: held(sink, cluster, "web").affinity_timeout_s == 10800, "changed affinity")
    cluster.delete("services", "web")
    wait(sink, cluster, Kind.SERVICE, "web", present=False)


@pytest.mark.usefixtures("watching")
def test_slices_come_change_and_go(cluster: Cluster, sink: RecordingSink) -> None:
    def ready() -> list[bool]:
        found = sink.objects[Kind.ENDPOINT_SLICE][(cluster.namespace, "web-1")]
        assert isinstance(found, EndpointSlice)
        return [endpoint.ready for endpoint in found.endpoints]

    cluster.put("endpointslices", make_slice("web-1", cluster.namespace))
    wait(sink, cluster, Kind.ENDPOINT_SLICE, "web-1")
    assert ready() == [True]
    unready = [{"addresses": ["10.244.1.11"], "conditions": {"ready": False}}]
    cluster.put("endpointslices", make_slice("web-1", cluster.namespace, endpoints=unready))
    sink.wait(lambda: ready() == [False], "changed condition")
    cluster.delete("endpointslices", "web-1")
    wait(sink, cluster, Kind.ENDPOINT_SLICE, "web-1", present=False)


@pytest.mark.usefixtures("watching")
def test_pods_of_this_node_come_change_and_go(cluster: Cluster, sink: RecordingSink) -> None:
    def shown() -> Pod:
        found = sink.objects[Kind.POD][(cluster.namespace, "web")]
        assert isinstance(found, Pod)
        return found

    cluster.put("pods", make_pod("elsewhere", cluster.namespace, node="no-such-node"))
    cluster.put("pods", make_pod("web", cluster.namespace, node=cluster.node_name))
    wait(sink, cluster, Kind.POD, "web")
    assert shown().uid
    assert (shown().node_name, shown().socket_lb) == (cluster.node_name, None)
    left_alone = {"ebpflb.io/socket-lb": "false"}
    cluster.put("pods", make_pod("web", cluster.namespace, node=cluster.node_name, annotations=left_alone))
    sink.wait(lambda: shown().socket_lb is False, "changed annotation")
    cluster.delete("pods", "web")
    wait(sink, cluster, Kind.POD, "web", present=False)
    assert (cluster.namespace, "elsewhere") not in sink.objects[Kind.POD]


@pytest.mark.usefixtures("watching")
@pytest.mark.parametrize("label", [PROXY_NAME, HEADLESS])
def test_a_label_makes_a_service_vanish_and_come_back(cluster: Cluster, sink: RecordingSink, label: str) -> None:
    cluster.put("services", in_cluster(cluster, "web"))
    wait(sink, cluster, Kind.SERVICE, "web")
    cluster.put("services", in_cluster(cluster, "web", labels={label: "other"}))
    wait(sink, cluster, Kind.SERVICE, "web", present=False)
    cluster.put("services", in_cluster(cluster, "web"))
    wait(sink, cluster, Kind.SERVICE, "web")


@pytest.mark.usefixtures("watching")
def test_the_headless_label_makes_a_slice_vanish_and_come_back(cluster: Cluster, sink: RecordingSink) -> None:
    cluster.put("endpointslices", make_slice("web-1", cluster.namespace))
    wait(sink, cluster, Kind.ENDPOINT_SLICE, "web-1")
    cluster.put("endpointslices", make_slice("web-1", cluster.namespace, labels={HEADLESS: ""}))
    wait(sink, cluster, Kind.ENDPOINT_SLICE, "web-1", present=False)
    cluster.put("endpointslices", make_slice("web-1", cluster.namespace))
    wait(sink, cluster, Kind.ENDPOINT_SLICE, "web-1")


@pytest.mark.usefixtures("watching")
def test_a_service_that_becomes_an_external_name_is_gone(cluster: Cluster, sink: RecordingSink) -> None:
    cluster.put("services", in_cluster(cluster, "web"))
    wait(sink, cluster, Kind.SERVICE, "web")
    outside = make_service("web", cluster.namespace, type="ExternalName", externalName="example.org")
    cluster.put("services", outside)
    wait(sink, cluster, Kind.SERVICE, "web", present=False)
    cluster.put("services", in_cluster(cluster, "web"))
    wait(sink, cluster, Kind.SERVICE, "web")


@pytest.mark.usefixtures("watching")
def test_a_bad_object_is_refused_alone_and_heals(cluster: Cluster, sink: RecordingSink) -> None:
    name = f"{cluster.namespace}/bad"
    cluster.put("services", in_cluster(cluster, "bad", annotations={"ebpflb.io/algorithm": "best"}))
    cluster.put("services", in_cluster(cluster, "web"))
    wait(sink, cluster, Kind.SERVICE, "web")
    assert sink.refused[name].field == "metadata.annotations[ebpflb.io/algorithm]"
    cluster.put("services", in_cluster(cluster, "bad", annotations={"ebpflb.io/algorithm": "maglev"}))
    wait(sink, cluster, Kind.SERVICE, "bad")
    assert name not in sink.refused


def test_stop_is_prompt_while_the_watches_idle(
    source: KubeSource, sink: RecordingSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watches end because they are told to, not because their end is waited for no longer."""
    monkeypatch.setattr(watch, "STOP_TIMEOUT_S", 10 * DEADLINE_S)
    with running(source, sink):
        sink.wait_listed()
