"""Whatever objects hold: each is read or refused by name, alone, and what comes behind never fails.

2,000 objects by default; ``EBPFLB_BAD_INPUTS=100000`` asks for as many.
"""

import contextlib
import json
import os
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from ebpflb.core.abi import Family, Protocol
from ebpflb.core.changes import changes_between
from ebpflb.core.compile import Allocation, compile_tables
from ebpflb.core.diff import diff
from ebpflb.core.manifest import (
    Invisible,
    convert,
    convert_node,
    convert_pod,
    convert_service,
    convert_service_cidr,
    convert_slice,
    identify,
)
from ebpflb.core.model import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Host,
    Node,
    Pod,
    Service,
    ServiceCIDR,
    ServicePort,
    ServiceType,
    Snapshot,
)
from ebpflb.core.options import Forwarding, Options
from ebpflb.core.report import misplaced_addresses, service_lines
from ebpflb.core.tables import FrontendKey
from ebpflb.errors import ObjectError
from ebpflb.reconcile.clock import Clock
from ebpflb.reconcile.inbox import Inbox
from ebpflb.reconcile.ports import Kind, ModelObject
from ebpflb.reconcile.status import RefusedObject
from tests.property.bad_objects import OBJECTS
from tests.property.strategies import ROOMY

AT_ONCE = 4
WANTED = int(os.environ.get("EBPFLB_BAD_INPUTS", "2000"))

KINDS: dict[type[ModelObject], Kind] = {
    Service: Kind.SERVICE,
    EndpointSlice: Kind.ENDPOINT_SLICE,
    Node: Kind.NODE,
    ServiceCIDR: Kind.SERVICE_CIDR,
    Pod: Kind.POD,
}
CONVERTERS = (convert_service, convert_slice, convert_node, convert_service_cidr, convert_pod)

GOOD_IP = bytes([10, 111, 0, 1])
GOOD = Service("good", "good", ServiceType.CLUSTER_IP, (ServicePort("http", Protocol.TCP, 80),), (GOOD_IP,))
GOOD_SLICE = EndpointSlice(
    *("good", "good-1", "good", Family.IPV4),
    ports=(EndpointPort("http", Protocol.TCP, 8080),),
    endpoints=(Endpoint(bytes([10, 200, 0, 1])),),
)
HOST = Host(addresses=frozenset({bytes([192, 168, 0, 1])}))


def new_inbox() -> Inbox:
    """An inbox that has heard everything, and in which every change is a batch at once."""
    inbox = Inbox("n1", Clock(), quiet_s=-1.0, max_delay_s=-1.0)
    inbox.replace(Kind.SERVICE, [GOOD])
    inbox.replace(Kind.ENDPOINT_SLICE, [GOOD_SLICE])
    inbox.replace(Kind.NODE, [Node("n1")])
    inbox.replace(Kind.SERVICE_CIDR, [])
    inbox.host(HOST)
    return inbox


def deliver(inbox: Inbox, document: Any) -> str:
    """Do with a document what the sources do; return what became of it."""
    try:
        converted = convert(document)
    except ObjectError as error:
        check_refusal(error)
        who = identify(document)
        inbox.refuse(Kind(error.kind), (who.namespace, who.name), error)
        return f"{error.kind} refused"
    if isinstance(converted, Invisible):
        if converted.kind in set(Kind):
            inbox.delete(Kind(converted.kind), converted.key)
        return "invisible"
    inbox.upsert(KINDS[type(converted)], converted)
    return f"{type(converted).__name__} taken"


def check_refusal(error: ObjectError) -> None:
    assert error.field
    assert error.remedy
    assert str(error).isprintable()
    shown = RefusedObject.from_error(error)
    assert shown.object == f"{error.kind} {error.name}"
    assert shown.reason
    assert "/" in error.name or error.kind in {"Node", "ServiceCIDR"}


def check_compiled(before: Snapshot, after: Snapshot, options: Options) -> None:
    for family in Family:
        compiled = compile_tables(after, family, Allocation(), ROOMY, options=options)
        again = compile_tables(after, family, compiled.allocation, ROOMY, options=options)
        assert not diff(again.tables, compiled.tables)
        assert all(refusal.service and refusal.field and refusal.remedy for refusal in compiled.refused)
        is_served = FrontendKey(GOOD_IP, 80, Protocol.TCP) in compiled.tables.frontends
        assert is_served is (family is Family.IPV4), "what is refused is refused alone"
    changes = changes_between(before, after)
    for line in service_lines(changes.touched(), before, after, tuple(Family)):
        assert line.isprintable()
    for each in misplaced_addresses(changes.slices):
        assert each.address


OPTIONS = st.sampled_from([Options(), Options(Forwarding.DSR, masquerade_all=True, cluster_cidrs=("10.244.0.0/16",))])


@pytest.mark.timeout(400 + WANTED // 20)
@settings(max_examples=max(1, WANTED // AT_ONCE))
@given(st.lists(OBJECTS, min_size=AT_ONCE, max_size=AT_ONCE), st.booleans(), OPTIONS)
def test_whatever_objects_hold_each_is_read_or_refused_alone(
    documents: list[Any], is_json: bool, options: Options
) -> None:
    inbox = new_inbox()
    first = inbox.take()
    assert first is not None
    for document in documents:
        raw = json.dumps(document, skipkeys=True).encode()
        form = raw if is_json or not isinstance(document, dict) else document
        event(deliver(inbox, form))
        for convert_one in CONVERTERS:
            # What a watch does with an object of another kind than it asked for.
            with contextlib.suppress(ObjectError):
                convert_one(raw)
    batch = inbox.take()
    assert inbox.view().objects[Kind.SERVICE] >= 1
    if batch is not None:
        check_compiled(first.snapshot, batch.snapshot, options)
