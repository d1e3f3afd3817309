"""What a Pod says about the socket hooks, and which pods are left to the packet hooks for it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ebpflb.core.manifest import Invisible, convert, convert_pod
from ebpflb.core.model import Pod
from ebpflb.core.opt_out import RUNTIME_CLASSES, cause
from ebpflb.errors import ObjectError

UID = "2c0d8a57-3c0f-4f0e-9b0b-0e5b5a5c1d11"
SWITCH = "ebpflb.io/socket-lb"
PLAIN = Pod("demo", "web", UID, "node-1")


def pod(*, annotations: Mapping[str, Any] | None = None, status: Any = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "demo", "uid": UID, "annotations": annotations},
        "spec": {"nodeName": "node-1", "containers": [{"name": "web", "image": "web"}], **spec},
        "status": status,
    }


def read(document: Mapping[str, Any]) -> Pod:
    """Read from JSON bytes and from the mapping: both must say the same."""
    converted = convert_pod(json.dumps(document).encode())
    assert converted == convert(document)
    assert isinstance(converted, Pod)
    return converted


def refused(document: Mapping[str, Any]) -> ObjectError:
    with pytest.raises(ObjectError) as raised:
        convert(document)
    return raised.value


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (pod(), PLAIN),
        (pod(annotations={"team": "shop"}, status={"phase": "Running"}), PLAIN),
        (pod(hostNetwork=True), replace(PLAIN, host_network=True)),
        (pod(hostNetwork=False), PLAIN),
        (pod(annotations={SWITCH: "false"}), replace(PLAIN, socket_lb=False)),
        (pod(annotations={SWITCH: "true"}, hostNetwork=True), replace(PLAIN, socket_lb=True, host_network=True)),
        (pod(annotations={SWITCH: ""}), PLAIN),
        (pod(runtimeClassName="gvisor"), replace(PLAIN, runtime_class="gvisor")),
        (
            pod(annotations={"sidecar.istio.io/status": "{}"}),
            replace(PLAIN, interceptor="sidecar.istio.io/status"),
        ),
        (
            pod(annotations={"ambient.istio.io/redirection": "enabled"}),
            replace(PLAIN, interceptor="ambient.istio.io/redirection"),
        ),
        (pod(annotations={"ambient.istio.io/redirection": "disabled"}), PLAIN),
        (
            pod(annotations={"linkerd.io/proxy-version": "stable-2.14.10"}),
            replace(PLAIN, interceptor="linkerd.io/proxy-version"),
        ),
    ],
)
def test_what_matters_is_read(document: dict[str, Any], expected: Pod) -> None:
    assert read(document) == expected
    assert read(document).key == ("demo", "web")


def test_a_static_pod_has_the_uid_of_its_cgroup_not_of_its_mirror() -> None:
    mirror = pod(annotations={"kubernetes.io/config.mirror": "a5363f4f31e043bdae3c93aca4991903"})
    assert read(mirror).uid == "a5363f4f31e043bdae3c93aca4991903"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (pod(status={"phase": "Succeeded"}), "its phase is Succeeded"),
        (pod(status={"phase": "Failed"}), "its phase is Failed"),
        (pod(nodeName=None), "it is on no node"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}}, "it is on no node"),
    ],
)
def test_a_pod_without_processes_is_invisible(document: dict[str, Any], reason: str) -> None:
    converted = convert(document)
    assert isinstance(converted, Invisible)
    assert (converted.kind, converted.name, converted.reason) == ("Pod", "web", reason)


@pytest.mark.parametrize(
    ("document", "field", "remedy"),
    [
        (pod(annotations={SWITCH: "no"}), f"metadata.annotations[{SWITCH}]", "use one of true, false"),
        (
            pod(annotations={SWITCH: "false"}, hostNetwork=True),
            f"metadata.annotations[{SWITCH}]",
            "remove the annotation, or give the pod a network of its own",
        ),
        (
            {**pod(), "metadata": {"name": "web", "namespace": "demo"}},
            "metadata.uid",
            "give the UID that `kubectl get pod -o yaml` shows",
        ),
        (
            pod(runtimeClassName="\x1b[31m"),
            "spec.runtimeClassName",
            "use letters a-z, digits, '-' and '.', at most 253 of them",
        ),
        (pod(hostNetwork="yes"), "spec.hostNetwork", "give it the type that the Kubernetes API gives it"),
    ],
)
def test_violations_name_the_pod_the_field_and_the_remedy(document: dict[str, Any], field: str, remedy: str) -> None:
    error = refused(document)
    assert (error.kind, error.name, error.field, error.remedy) == ("Pod", "demo/web", field, remedy)


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (PLAIN, ""),
        (replace(PLAIN, socket_lb=False), SWITCH),
        (replace(PLAIN, interceptor="sidecar.istio.io/status"), "sidecar.istio.io/status"),
        (replace(PLAIN, runtime_class="gvisor"), "runtimeClassName gvisor"),
        (replace(PLAIN, runtime_class="runsc"), "runtimeClassName runsc"),
        (replace(PLAIN, runtime_class="kata-qemu"), "runtimeClassName kata-qemu"),
        (replace(PLAIN, runtime_class="nvidia"), ""),
        (replace(PLAIN, runtime_class="kata", socket_lb=True), ""),
        (replace(PLAIN, interceptor="sidecar.istio.io/status", socket_lb=True), ""),
        (replace(PLAIN, interceptor="sidecar.istio.io/status", runtime_class="kata", socket_lb=False), SWITCH),
        (replace(PLAIN, runtime_class="kata", host_network=True), ""),
    ],
)
def test_the_rules(says: Pod, expected: str) -> None:
    assert cause(says, RUNTIME_CLASSES) == expected


def test_the_runtime_classes_are_a_choice() -> None:
    boxed = replace(PLAIN, runtime_class="firecracker")
    assert cause(boxed, ()) == ""
    assert cause(boxed, ("kata*", "fire*")) == "runtimeClassName firecracker"
