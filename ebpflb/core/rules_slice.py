"""Decides which endpoints an EndpointSlice contributes.

Knows no Service, and not which endpoints are chosen (``topology.py``). What very many slices and endpoints say alike
(names of nodes, zones and namespaces, ports) is kept once.

    RawSlice --> EndpointSlice | Invisible, or FieldError
"""

from collections.abc import Hashable, Sequence
from functools import lru_cache
from sys import intern
from typing import TypeVar

from ebpflb.core import fields
from ebpflb.core.abi import Family
from ebpflb.core.decode import FieldError
from ebpflb.core.endpoints import held, standing_of
from ebpflb.core.metadata import (
    HEADLESS_LABEL,
    NO_METADATA,
    SERVICE_NAME_LABEL,
    TRIGGER_ANNOTATION,
    Invisible,
    object_key,
)
from ebpflb.core.model import Endpoint, EndpointPort, EndpointSlice, Standing
from ebpflb.core.schema import RawEndpoint, RawEndpointPort, RawHint, RawSlice

_Hashable = TypeVar("_Hashable", bound=Hashable)

_ADDRESS_TYPES: dict[str, Family | None] = {**fields.FAMILIES, "FQDN": None}


def read_slice(raw: RawSlice) -> EndpointSlice | Invisible:
    """Return the slice, or why this proxy has nothing to do with it.

    The headless label hides a slice, the proxy name's does not: the Service that carries that one is invisible itself.
    """
    metadata = raw.metadata or NO_METADATA
    namespace, name = object_key(metadata)
    labels = metadata.labels or {}
    family = fields.word("addressType", raw.address_type, _ADDRESS_TYPES)
    service_name = labels.get(SERVICE_NAME_LABEL, "")
    reason = ""
    if HEADLESS_LABEL in labels:
        reason = f"it carries the label {HEADLESS_LABEL}"
    elif not service_name:
        reason = f"it has no label {SERVICE_NAME_LABEL}"
    if reason or family is None:
        return Invisible("EndpointSlice", namespace, name, reason or "its addressType is FQDN")
    return EndpointSlice(
        namespace,
        name,
        intern(fields.object_name(f"metadata.labels[{SERVICE_NAME_LABEL}]", service_name)),
        family,
        ports=_shared(
            tuple(_endpoint_port(f"ports[{at}]", port) for at, port in enumerate(raw.ports or ()) if port.port)
        ),
        endpoints=_endpoints(raw.endpoints or ()),
        triggered_at=(metadata.annotations or {}).get(TRIGGER_ANNOTATION, ""),
    )


def _endpoint_port(path: str, raw: RawEndpointPort) -> EndpointPort:
    return EndpointPort(
        name=fields.port_name(f"{path}.name", raw.name),
        protocol=fields.protocol(f"{path}.protocol", raw.protocol),
        port=fields.port_number(f"{path}.port", raw.port),
    )


def _endpoints(raw: Sequence[RawEndpoint]) -> Sequence[Endpoint]:
    """Return the endpoints. Where one stands is put into words for an error alone: a cluster has 100,000 of them."""
    addresses: list[bytes] = []
    try:
        addresses.extend(map(_address, raw))  # which holds those before the bad one, if there is one
    except FieldError as error:
        raise FieldError(f"endpoints[{len(addresses)}].{error.path}", error.problem, error.remedy) from None
    return held(addresses, [*map(_standing, raw)])


def _address(raw: RawEndpoint) -> bytes:
    """Return the address of an endpoint, also one that is not of the slice's family.

    Nothing is sent there, ``report.py`` finds it for the operator, and its neighbours are served all the same.
    """
    if not raw.addresses:
        raise FieldError("addresses", "is missing or empty", "give the endpoint an address")
    return fields.routable_address("addresses[0]", raw.addresses[0])


def _standing(raw: RawEndpoint) -> Standing:
    given, hints = raw.conditions, raw.hints
    is_ready = given is None or given.ready is not False
    is_serving = given is None or given.serving is not False
    return standing_of(
        (is_ready, is_serving, given is not None and given.terminating is True),
        raw.node_name or "",
        _hinted(hints.for_nodes) if hints else (),
        _hinted(hints.for_zones) if hints else (),
    )


def _hinted(hints: list[RawHint] | None) -> tuple[str, ...]:
    return _shared(tuple(hint.name for hint in hints or () if hint.name))


@lru_cache(maxsize=4096)
def _shared(what: tuple[_Hashable, ...]) -> tuple[_Hashable, ...]:
    """Return one and the same tuple for all that are equal."""
    return what
