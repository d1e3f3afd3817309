"""What a folder says as a whole: the order of files, duplicates, Nodes, and files that cannot be read."""

import json
from typing import Any

from ebpflb.core.model import Node, Pod, Service, ServiceCIDR
from ebpflb.files.manifests import Contents, Manifests
from ebpflb.reconcile.ports import Kind
from tests.kube.objects import make_node, make_pod, make_service, make_service_cidr, make_slice

WEB = (Kind.SERVICE, ("demo", "web"))
OWN = (Kind.NODE, ("", "node-1"))


def raw(*objects: Any) -> bytes:
    return "\n---\n".join(json.dumps(each) for each in objects).encode()


def service(name: str = "web", ip: str = "10.96.0.10", **kwargs: Any) -> Any:
    return make_service(name, clusterIP=ip, **kwargs)


def read(**files: bytes | OSError) -> Contents:
    return Manifests("node-1").read({f"{name}.yaml": content for name, content in files.items()})


def cluster_ips(contents: Contents) -> bytes:
    found = contents.objects[WEB]
    assert isinstance(found, Service)
    return found.cluster_ips[0]


def test_all_kinds_are_found_and_others_ignored() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    contents = read(a=raw(service(), pod), b=raw(make_slice("web-1"), make_node("node-1")))
    assert set(contents.objects) == {WEB, (Kind.ENDPOINT_SLICE, ("demo", "web-1")), OWN}
    assert contents.warnings == contents.complaints == []


def test_service_cidrs_have_no_namespace_good_or_bad() -> None:
    good, bad = make_service_cidr("kubernetes", "10.96.0.0/12"), make_service_cidr("more", "here")
    contents = read(a=raw(good, bad))
    entry = (Kind.SERVICE_CIDR, ("", "kubernetes"))
    assert contents.objects[entry] == ServiceCIDR("kubernetes", ("10.96.0.0/12",))
    assert contents.refused[Kind.SERVICE_CIDR, ("", "more")].field == "spec.cidrs[0]"


def test_without_a_manifest_the_own_node_is_made() -> None:
    assert read().objects == {OWN: Node("node-1")}


def test_other_nodes_are_ignored_also_bad_ones() -> None:
    bad = make_node("node-2") | {"spec": {"podCIDRs": ["x"]}}
    contents = read(a=raw(make_node("node-2"), bad))
    assert contents.objects == {OWN: Node("node-1")}
    assert contents.refused == {}


def test_the_later_file_wins_and_both_are_named() -> None:
    contents = read(b=raw(service(ip="10.96.0.2")), a=raw(service(ip="10.96.0.1")))
    assert cluster_ips(contents) == bytes([10, 96, 0, 2])
    assert contents.warnings == ["Service demo/web is in a.yaml:1 and in b.yaml:1: the latter counts"]


def test_a_bad_later_file_has_the_last_word_too() -> None:
    contents = read(a=raw(service()), b=raw(service(ports=[])))
    assert WEB not in contents.objects
    assert "(in b.yaml:1)" in str(contents.refused[WEB])


def test_a_bad_object_is_refused_alone_with_its_file_and_line() -> None:
    contents = read(a=raw(service("good"), service(ports=[{"port": 0}])))
    assert (Kind.SERVICE, ("demo", "good")) in contents.objects
    assert str(contents.refused[WEB]) == (
        "Service demo/web: spec.ports[0].port: 0 is not a port (in a.yaml:3); give a port from 1 to 65535"
    )


def test_bad_objects_without_names_do_not_hide_each_other() -> None:
    nameless = {"apiVersion": "v1", "kind": "Service", "spec": {}}
    assert len(read(a=raw(nameless, nameless), b=raw(nameless)).refused) == 3


def test_objects_that_are_not_served_are_explained() -> None:
    contents = read(a=raw(make_service("web")))
    assert contents.warnings == ["Service demo/web is not served: it has no spec.clusterIP (in a.yaml:1)"]


def test_an_unreadable_file_keeps_its_last_state_alone() -> None:
    manifests = Manifests("node-1")
    manifests.read({"a.yaml": raw(service()), "b.yaml": raw(service("other"))})
    contents = manifests.read({"a.yaml": b"a: [\n", "b.yaml": raw(service("new"))})
    assert {key for kind, key in contents.objects if kind is Kind.SERVICE} == {("demo", "web"), ("demo", "new")}
    assert contents.complaints == [
        "a.yaml:2:1: did not find expected node content; mend the file, its last state stays"
    ]
    healed = manifests.read({"a.yaml": raw(service(ip="10.96.0.9")), "b.yaml": raw()})
    assert cluster_ips(healed) == bytes([10, 96, 0, 9])
    assert healed.complaints == ["b.yaml is empty; remove the file to remove its objects, its last state stays"]


def test_an_item_that_is_no_object_is_refused_alone() -> None:
    manifests = Manifests("node-1")
    good = [service(), make_slice("web-1"), make_node("node-1")]
    contents = manifests.read({"a.yaml": raw({"kind": "List", "items": [7, *good, None]})})
    assert set(contents.objects) == {WEB, (Kind.ENDPOINT_SLICE, ("demo", "web-1")), OWN}
    assert contents.complaints == [
        "a.yaml:1: items[0] of the 'List' is 7, and no object; mend or remove it, the rest counts",
        "a.yaml:1: items[4] of the 'List' is None, and no object; mend or remove it, the rest counts",
    ]
    assert contents.is_incomplete, "it may have been any object"
    worse = manifests.read({"a.yaml": b"kind: ["})
    assert (len(worse.complaints), set(worse.objects)) == (3, set(contents.objects)), "its last state stays"
    healed = manifests.read({"a.yaml": raw({"kind": "List", "items": good})})
    assert (healed.complaints, healed.is_incomplete) == ([], False)
    assert healed.objects == contents.objects


def test_a_file_that_may_not_be_read_keeps_its_last_state() -> None:
    manifests = Manifests("node-1")
    manifests.read({"a.yaml": raw(service())})
    contents = manifests.read({"a.yaml": PermissionError(13, "Permission denied")})
    assert WEB in contents.objects
    assert contents.complaints == ["a.yaml cannot be read: Permission denied; make it readable, its last state stays"]
    assert manifests.read({"a.yaml": raw(service())}).complaints == []


def test_a_removed_file_takes_its_objects_along() -> None:
    manifests = Manifests("node-1")
    manifests.read({"a.yaml": raw(service())})
    assert manifests.read({}).objects == {OWN: Node("node-1")}


def test_comments_alone_are_an_empty_file_on_purpose() -> None:
    manifests = Manifests("node-1")
    manifests.read({"a.yaml": raw(service())})
    contents = manifests.read({"a.yaml": b"# nothing any more\n"})
    assert WEB not in contents.objects
    assert contents.complaints == []


def test_pods_of_this_node_are_found_and_others_ignored() -> None:
    own = make_pod("own", uid="1", annotations={"ebpflb.io/socket-lb": "false"})
    elsewhere, nowhere = make_pod("elsewhere", uid="2", node="node-2"), make_pod("nowhere", node="")
    contents = read(a=raw(own, elsewhere, nowhere))
    assert contents.objects[Kind.POD, ("demo", "own")] == Pod("demo", "own", "1", "node-1", socket_lb=False)
    assert {key for kind, key in contents.objects if kind is Kind.POD} == {("demo", "own")}
    assert contents.warnings == contents.complaints == []


def test_a_pod_that_cannot_be_opted_out_is_refused_alone() -> None:
    wrong = make_pod("own", uid="1", annotations={"ebpflb.io/socket-lb": "false"}, hostNetwork=True)
    contents = read(a=raw(service(), wrong))
    assert WEB in contents.objects
    assert contents.refused[Kind.POD, ("demo", "own")].field == "metadata.annotations[ebpflb.io/socket-lb]"
