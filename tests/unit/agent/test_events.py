"""What operators are told of a round: lines of the log, and Events at the objects, each once."""

import logging
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ebpflb import __version__
from ebpflb.agent import events as module
from ebpflb.agent.cluster import make_events
from ebpflb.agent.config import AgentConfig
from ebpflb.agent.events import LogEvents, Reporter, tell_of_start
from ebpflb.core.abi import Family
from ebpflb.core.model import Endpoint, Snapshot
from ebpflb.errors import UsageError
from ebpflb.reconcile.rounds import Round
from ebpflb.reconcile.status import FamilyStatus, RefusedObject, Status
from tests.story import Story
from tests.unit.reconcile.world import NODE, endpoint_slice, service

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STATUS = Status("node-1", NOW, (), "", {}, (), (), None)
NO_ROOM = RefusedObject("Service default/web", "endpoints", "no room", "make the map larger")
ODD = RefusedObject("Service default/web", "spec.ports", "is no list", "make it a list")
NO_NODE = RefusedObject("Node node-1", "spec.podCIDRs[0]", "is not a prefix", "give one")


class Told(NamedTuple):
    kind: str
    namespace: str
    name: str
    reason: str
    message: str
    warning: bool


class Recorder:
    """Implements ``Events``."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    def emit(self, kind: str, namespace: str, name: str, *, reason: str, message: str, warning: bool) -> None:
        self.told.append(Told(kind, namespace, name, reason, message, warning))


@pytest.fixture
def events() -> Recorder:
    return Recorder()


@pytest.fixture
def reporter(events: Recorder) -> Reporter:
    return Reporter(events, (Family.IPV4,))


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


TOLD: list[Story] = []
"""The one of the test that runs."""


@pytest.fixture(autouse=True)
def _story() -> None:
    TOLD[:] = [Story()]


def after(*objects: Any, is_batch: bool = True) -> Round:
    slices = {each.key: each for each in objects if hasattr(each, "endpoints")}
    services = {each.key: each for each in objects if each.key not in slices}
    batch = TOLD[0].batch(Snapshot(NODE, services, slices), NOW) if is_batch else None
    return Round(batch, (), NOW, {})


def test_a_round_says_what_happened_to_service_ports(reporter: Reporter, logged: pytest.LogCaptureFixture) -> None:
    reporter.on_batch(TOLD[0].batch(Snapshot(NODE), NOW))
    web = service("web")
    reporter.on_round(after(web, endpoint_slice("web", [1, 2])))
    assert logged.messages == [
        'Adding new service port "default/web:http" at 10.96.0.1:80/TCP',
        "Setting endpoints for default/web:http to [10.0.0.1:8080 10.0.0.2:8080]",
    ]
    logged.clear()
    reporter.on_round(after(is_batch=False))
    reporter.on_round(after(web, endpoint_slice("web", [2])))
    assert logged.messages == ["Setting endpoints for default/web:http to [10.0.0.2:8080]"]


@pytest.mark.parametrize(("level", "lines"), [(logging.INFO, 1), (logging.DEBUG, 7)])
def test_a_round_of_many_says_how_many(
    reporter: Reporter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, level: int, lines: int
) -> None:
    monkeypatch.setattr(module, "MAX_CHANGED", 2)
    reporter.on_round(after(service("old", 9)))
    caplog.set_level(level)
    caplog.clear()
    reporter.on_round(after(*(service(f"web-{number}", number) for number in range(5))))
    assert len(caplog.messages) == lines
    assert caplog.messages[0] == "services_changed changed=6 added=5 removed=1 lines='-v 4'"


def test_an_address_of_the_other_family_is_told_at_the_service(reporter: Reporter, events: Recorder) -> None:
    wrong = endpoint_slice("web", [1])
    wrong = replace(wrong, endpoints=(*wrong.endpoints, Endpoint(bytes.fromhex("fd00" + "00" * 13 + "01"))))
    for _ in range(2):
        reporter.on_round(after(service("web"), wrong))
    message = f"fd00::1 in EndpointSlice {wrong.name} has incorrect IP version"
    assert events.told == [Told("Service", "default", "web", "KubeProxyIncorrectIPVersion", message, warning=True)]


def test_what_is_refused_is_told_once_until_it_is_in_order(reporter: Reporter, events: Recorder) -> None:
    dual = tuple(FamilyStatus(number, {}, 0, refused=(NO_ROOM,)) for number in (4, 6))
    for _ in range(2):
        reporter.on_status(replace(STATUS, families=dual))
    message = "endpoints: no room; make the map larger"
    told = Told("Service", "default", "web", "FailedToProgramService", message, warning=True)
    assert events.told == [told]
    reporter.on_status(replace(STATUS, families=dual, refused=(ODD, NO_NODE)))
    assert [each[:4] for each in events.told[1:]] == [
        ("Node", "", "node-1", "InvalidObject"),
        ("Service", "default", "web", "FailedToProgramService"),
    ]
    assert events.told[-1].message == "spec.ports: is no list; make it a list"
    reporter.on_status(STATUS)
    reporter.on_status(replace(STATUS, families=dual))
    assert events.told[3:] == [told]


def test_events_of_a_folder_are_lines_of_the_log(tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    events = make_events(AgentConfig("node-1", manifests=tmp_path))
    tell_of_start(events, "node-1")
    events.emit("Service", "default", "web", reason="FailedToProgramService", message="no room", warning=True)
    assert [(record.levelno, record.getMessage()) for record in logged.records] == [
        (logging.INFO, f"event kind=Node object=node-1 reason=Starting message='Starting ebpflb {__version__}'"),
        (
            logging.WARNING,
            "event kind=Service object=default/web reason=FailedToProgramService message='no room'",
        ),
    ]
    stop = threading.Event()
    stop.set()
    events.run(stop)
    assert isinstance(events, LogEvents)


def test_events_of_a_cluster_need_its_api_server(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        make_events(AgentConfig("node-1", kubeconfig=tmp_path / "missing"))
