"""Decides what a Kubernetes object means to this proxy: an object of the model, something to ignore, or an error.

The same code reads what the API server sends and what stands in a folder of manifests, so the API server's defaults
are filled in here: protocol TCP, conditions, and "" for an absent name of a slice's port. kube-proxy passes over a port
whose name is absent; the API server never shows it one. Knows no connection, file or map.

    JSON bytes | dict --decode--> structs --rules--> an object of the model | Invisible, or ObjectError
"""

from collections.abc import Callable
from typing import TypeVar

from ebpflb.core import fields
from ebpflb.core.decode import Document, FieldError, Identity, decode, identify
from ebpflb.core.metadata import DEFAULT_NAMESPACE, Invisible
from ebpflb.core.model import EndpointSlice, Node, Pod, Service, ServiceCIDR
from ebpflb.core.rules_cidr import read_service_cidr
from ebpflb.core.rules_node import read_node
from ebpflb.core.rules_pod import read_pod
from ebpflb.core.rules_service import read_service
from ebpflb.core.rules_slice import read_slice
from ebpflb.core.schema import RawNode, RawPod, RawService, RawServiceCIDR, RawSlice
from ebpflb.errors import ObjectError

__all__ = [
    "Document",
    "Identity",
    "Invisible",
    "convert",
    "convert_node",
    "convert_pod",
    "convert_service",
    "convert_service_cidr",
    "convert_slice",
    "identify",
]

Converted = Service | EndpointSlice | Node | ServiceCIDR | Pod
RawT = TypeVar("RawT", RawService, RawSlice, RawNode, RawServiceCIDR, RawPod)
ConvertedT = TypeVar("ConvertedT", bound=Converted)

_WITHOUT_NAMESPACE = frozenset({"Node", "ServiceCIDR"})


def convert_service(document: Document, origin: str = "") -> Service | Invisible:
    """Read a v1 Service. Raises ``ObjectError``; ``origin`` says in it where the document came from."""
    return _convert("Service", RawService, read_service, document, origin)


def convert_slice(document: Document, origin: str = "") -> EndpointSlice | Invisible:
    """Read a discovery.k8s.io/v1 EndpointSlice. Raises ``ObjectError``."""
    return _convert("EndpointSlice", RawSlice, read_slice, document, origin)


def convert_node(document: Document, origin: str = "") -> Node | Invisible:
    """Read a v1 Node. Raises ``ObjectError``."""
    return _convert("Node", RawNode, read_node, document, origin)


def convert_service_cidr(document: Document, origin: str = "") -> ServiceCIDR | Invisible:
    """Read a networking.k8s.io/v1 ServiceCIDR. Raises ``ObjectError``."""
    return _convert("ServiceCIDR", RawServiceCIDR, read_service_cidr, document, origin)


def convert_pod(document: Document, origin: str = "") -> Pod | Invisible:
    """Read a v1 Pod. Raises ``ObjectError``."""
    return _convert("Pod", RawPod, read_pod, document, origin)


_CONVERTERS: dict[tuple[str, str], Callable[[Document, str], Converted | Invisible]] = {
    ("", "Service"): convert_service,
    ("discovery.k8s.io", "EndpointSlice"): convert_slice,
    ("", "Node"): convert_node,
    ("networking.k8s.io", "ServiceCIDR"): convert_service_cidr,
    ("", "Pod"): convert_pod,
}


def convert(document: Document, origin: str = "") -> Converted | Invisible:
    """Read an object by its ``apiVersion`` and ``kind``. Raises ``ObjectError``; other kinds are ``Invisible``."""
    head = identify(document)
    group, _, version = head.api_version.rpartition("/")
    converter = _CONVERTERS.get((group, head.kind))
    if converter is None:
        kind = fields.shown(f"{head.api_version} {head.kind}".strip())
        return Invisible(head.kind, head.namespace, head.name, f"{kind} is no kind that a proxy reads")
    if version != "v1":
        wanted = f"{group}/v1" if group else "v1"
        error = FieldError("apiVersion", f"{fields.shown(head.api_version)} is not read", f"use {wanted}")
        raise _object_error(head.kind, head, error, origin)
    return converter(document, origin)


def _convert(
    kind: str,
    schema: type[RawT],
    rules: Callable[[RawT], ConvertedT | Invisible],
    document: Document,
    origin: str,
) -> ConvertedT | Invisible:
    try:
        return rules(decode(document, schema))
    except FieldError as error:
        raise _object_error(kind, identify(document), error, origin) from None


def _object_error(kind: str, who: Identity, error: FieldError, origin: str) -> ObjectError:
    name = who.name if who.name.isprintable() and who.name else "(unnamed)"
    if kind not in _WITHOUT_NAMESPACE:
        name = f"{who.namespace if who.namespace.isprintable() and who.namespace else DEFAULT_NAMESPACE}/{name}"
    problem = f"{error.problem} (in {origin})" if origin else error.problem
    return ObjectError(kind, name, error.path, problem, error.remedy)
