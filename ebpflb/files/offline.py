"""Reads manifests once, for a question about them: a folder, a file, or a file with a List.

Decides what of it is this node's, and what is worth a word to whoever asked. Knows no rule of any object.

    path, node name, its further addresses --read_offline--> Snapshot, remarks
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ebpflb.core.model import EndpointSlice, Host, Node, ObjectKey, Service, ServiceCIDR, Snapshot
from ebpflb.errors import UsageError
from ebpflb.files.folder import SUFFIXES
from ebpflb.files.manifests import Contents, Manifests
from ebpflb.reconcile.ports import ModelObject

_REMEDY = "give --manifests a folder of *.yaml, *.yml or *.json, or one such file"
ObjectT = TypeVar("ObjectT", bound=ModelObject)


@dataclass(frozen=True, slots=True)
class Offline:
    """What stands in the manifests."""

    snapshot: Snapshot
    remarks: tuple[str, ...]
    """What was refused, is not served, or could not be read. The rest counts."""


def read_offline(path: Path, node_name: str, node_addresses: Iterable[bytes] = ()) -> Offline:
    """Read the objects of one node's view. Raises ``UsageError`` if there is nothing to read."""
    contents = Manifests(node_name).read(_read(path))
    node = next(iter(_objects(contents, Node).values()), Node(node_name))
    snapshot = Snapshot(
        node=node,
        services=_objects(contents, Service),
        slices=_objects(contents, EndpointSlice),
        host=Host(addresses=frozenset((*node.addresses, *node_addresses))),
        service_cidrs=_objects(contents, ServiceCIDR),
    )
    return Offline(snapshot, tuple(_remarks(contents, node)))


def _read(path: Path) -> dict[str, bytes | OSError]:
    """Return the bytes of each manifest by its name. Raises ``UsageError`` if the path itself is at fault."""
    try:
        if path.is_dir():
            paths = [each for each in path.iterdir() if each.suffix in SUFFIXES and not each.name.startswith(".")]
            return {each.name: _bytes_or_error(each) for each in paths if not each.is_dir()}
        return {path.name: path.read_bytes()}
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", remedy=_REMEDY) from error


def _bytes_or_error(path: Path) -> bytes | OSError:
    try:
        return path.read_bytes()
    except OSError as error:
        return error


def _objects(contents: Contents, kind: type[ObjectT]) -> dict[ObjectKey, ObjectT]:
    return {key: each for (_, key), each in contents.objects.items() if isinstance(each, kind)}


def _remarks(contents: Contents, node: Node) -> Iterator[str]:
    yield from (complaint.removesuffix(", its last state stays") for complaint in contents.complaints)
    yield from (str(error) for error in contents.refused.values())
    yield from contents.warnings
    if node == Node(node.name) and not any(kind == "Node" for kind, _ in contents.refused):
        yield f"Node {node.name} is not among the manifests: no zone, address or pod network of it is known"
