"""What a folder of manifests says as a whole: each file's last readable content, merged in the order of names.

Decides which file wins, which Node and Pods are ours, and what is to be complained about. Watches nothing and delivers
nothing.

    names and bytes of files --> Manifests.read --> Contents(objects, refused, complaints)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ebpflb.core.manifest import Invisible, convert, identify
from ebpflb.core.metadata import DEFAULT_NAMESPACE
from ebpflb.core.model import EndpointSlice, Node, ObjectKey, Pod, Service, ServiceCIDR
from ebpflb.errors import ObjectError
from ebpflb.files.documents import JSON_SUFFIX, Document, UnreadableError, read_documents
from ebpflb.reconcile.ports import Kind, ModelObject

Entry = tuple[Kind, ObjectKey]

_KINDS: Mapping[type[ModelObject], Kind] = {
    Service: Kind.SERVICE,
    EndpointSlice: Kind.ENDPOINT_SLICE,
    Node: Kind.NODE,
    ServiceCIDR: Kind.SERVICE_CIDR,
    Pod: Kind.POD,
}
_WITHOUT_NAMESPACE = frozenset({Kind.NODE, Kind.SERVICE_CIDR})
_SERVED = frozenset(Kind) - {Kind.POD}
"""The kinds of which it is news when an object is not served."""


@dataclass(slots=True)
class Contents:
    """What the folder holds."""

    objects: dict[Entry, ModelObject] = field(default_factory=dict)
    refused: dict[Entry, ObjectError] = field(default_factory=dict)
    """Never an entry that ``objects`` has: the later file has the last word, good or bad."""
    warnings: list[str] = field(default_factory=list)
    """For the log: objects that are named twice or not served."""
    complaints: list[str] = field(default_factory=list)
    """Files that could not be read; their last good state is in ``objects``. Items of Lists that are no objects."""
    is_incomplete: bool = False
    """A file has no good state, as it could never be read, or it has an item that may have been any object."""


@dataclass(slots=True)
class _File:
    raw: bytes | None = None
    documents: list[Document] = field(default_factory=list)
    bad_items: list[str] = field(default_factory=list)
    """What is to be complained about in its Lists; the rest of them is in ``documents``."""
    complaint: str = ""
    was_read: bool = False


class Manifests:
    """Keeps each file's last good documents, so that a slip of an editor removes nothing."""

    def __init__(self, node_name: str) -> None:
        self._node_name = node_name
        self._files: dict[str, _File] = {}

    def read(self, present: Mapping[str, bytes | OSError]) -> Contents:
        """Take the files that are there now, by name, and return what all of them say together."""
        self._files = {name: self._files.get(name) or _File() for name in sorted(present)}
        contents = Contents()
        owners: dict[Entry, str] = {}
        for name, file in self._files.items():
            _refresh(name, file, present[name])
            if file.complaint:
                contents.complaints.append(file.complaint)
                contents.is_incomplete |= not file.was_read
            contents.complaints += file.bad_items
            contents.is_incomplete |= bool(file.bad_items)
            for number, document in enumerate(file.documents, 1):
                self._add(contents, owners, f"{name}:{document.line}", number, document)
        own = (Kind.NODE, ("", self._node_name))
        if own not in owners:
            contents.objects[own] = Node(self._node_name)
        return contents

    def _add(self, contents: Contents, owners: dict[Entry, str], origin: str, number: int, document: Document) -> None:
        try:
            converted = convert(document.content, origin)
        except ObjectError as error:
            entry = _refused_entry(document, error, origin, number)
            if self._is_foreign(entry):
                return
            self._claim(contents, owners, entry, origin)
            contents.refused[entry] = error
            return
        if isinstance(converted, Invisible):
            if converted.kind in _SERVED:
                who = f"{converted.kind} {'/'.join(filter(None, converted.key))}"
                contents.warnings.append(f"{who} is not served: {converted.reason} (in {origin})")
            return
        entry = (_KINDS[type(converted)], converted.key)
        if not self._is_foreign(entry) and not self._is_elsewhere(converted):
            self._claim(contents, owners, entry, origin)
            contents.objects[entry] = converted

    def _is_foreign(self, entry: Entry) -> bool:
        kind, (_, name) = entry
        return kind is Kind.NODE and name != self._node_name

    def _is_elsewhere(self, obj: ModelObject) -> bool:
        return isinstance(obj, Pod) and obj.node_name != self._node_name

    @staticmethod
    def _claim(contents: Contents, owners: dict[Entry, str], entry: Entry, origin: str) -> None:
        """Let a later document replace an earlier one of the same name."""
        if entry in owners:
            kind, key = entry
            who = f"{kind} {'/'.join(filter(None, key))}"
            contents.warnings.append(f"{who} is in {owners[entry]} and in {origin}: the latter counts")
        owners[entry] = origin
        contents.objects.pop(entry, None)
        contents.refused.pop(entry, None)


def _refresh(name: str, file: _File, found: bytes | OSError) -> None:
    """Read a file again if its bytes changed."""
    if isinstance(found, OSError):
        file.raw = None
        file.complaint = f"{name} cannot be read: {found.strerror}; make it readable, its last state stays"
        return
    if found == file.raw:
        return
    file.raw = found
    if not found.strip() and file.documents:
        # Whoever writes a file in place empties it first: that moment must not take its Services away.
        file.complaint = f"{name} is empty; remove the file to remove its objects, its last state stays"
        return
    try:
        file.documents, problems = read_documents(found, is_json=name.endswith(JSON_SUFFIX))
        file.bad_items = [
            f"{name}:{each.line}: {each.problem}; mend or remove it, the rest counts" for each in problems
        ]
        file.complaint, file.was_read = "", True
    except UnreadableError as error:
        file.complaint = f"{name}:{error.line}:{error.column}: {error.problem}; mend the file, its last state stays"


def _refused_entry(document: Document, error: ObjectError, origin: str, number: int) -> Entry:
    """Return the key of a refused object; one without a name is told apart by its place."""
    who = identify(document.content)
    name = who.name or f"{origin}#{number}"
    kind = Kind(error.kind)
    return kind, ("" if kind in _WITHOUT_NAMESPACE else who.namespace or DEFAULT_NAMESPACE, name)
