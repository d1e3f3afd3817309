"""Events through the API: what is written, what a repeat becomes, and that nothing that fails is anybody's concern."""

import logging
import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ebpflb.kube import events as module
from ebpflb.kube.event_objects import MAX_NOTE_BYTES
from ebpflb.kube.events import PER_SECOND, REPEAT_S, KubeEvents
from ebpflb.kube.faults import RequestError
from tests.kube.objects import make_service
from tests.kube.recorder import DEADLINE_S
from tests.kube.server import ApiServer, write_kubeconfig
from tests.kube.store import Object, Selector
from tests.kube.test_faults import ImpatientStop


class HandClock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def stop() -> ImpatientStop:
    return ImpatientStop()


@pytest.fixture
def events(kubeconfig: Path, clock: HandClock) -> KubeEvents:
    return KubeEvents(kubeconfig, "node-1", rng=random.Random(1), clock=clock)


@contextmanager
def sending(events: KubeEvents, stop: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=events.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(DEADLINE_S)
    assert not thread.is_alive()


def fail(events: KubeEvents, message: str = "spec.ports: no room", name: str = "web") -> None:
    events.emit("Service", "demo", name, reason="FailedToProgramService", message=message, warning=True)


def written(server: ApiServer) -> list[Object]:
    return server.store.select("events", Selector())


def wait(server: ApiServer, ready: Callable[[list[Object]], object]) -> list[Object]:
    with server.store.changed:
        assert server.store.changed.wait_for(lambda: bool(ready(written(server))), DEADLINE_S), written(server)
    return written(server)


def test_an_event_of_a_service(server: ApiServer, events: KubeEvents, stop: ImpatientStop) -> None:
    service = make_service("web")
    service["metadata"]["uid"] = "1234-uid"
    server.put("services", service)
    with sending(events, stop):
        fail(events)
        (found,) = wait(server, len)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found.pop("eventTime"))
    metadata = found.pop("metadata")
    assert metadata["namespace"] == "demo"
    assert metadata["name"].startswith("web.")
    assert found == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "reportingController": "ebpflb",
        "reportingInstance": "node-1",
        "action": "ProgramService",
        "reason": "FailedToProgramService",
        "regarding": {"apiVersion": "v1", "kind": "Service", "namespace": "demo", "name": "web", "uid": "1234-uid"},
        "note": "spec.ports: no room",
        "type": "Warning",
    }


def test_an_event_of_a_node_is_in_the_default_namespace(
    server: ApiServer, events: KubeEvents, stop: ImpatientStop
) -> None:
    with sending(events, stop):
        events.emit("Node", "", "node-1", reason="Starting", message="", warning=False)
        (found,) = wait(server, len)
    assert found["metadata"]["namespace"] == "default"
    assert found["regarding"] == {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "node-1"}
    assert (found["type"], found["action"], found["reason"]) == ("Normal", "StartProxy", "Starting")


@pytest.mark.parametrize(
    ("kind", "version", "where"),
    [
        ("EndpointSlice", "discovery.k8s.io/v1", "demo"),
        ("ServiceCIDR", "networking.k8s.io/v1", "default"),
        ("Pod", "v1", "demo"),
    ],
)
def test_events_of_other_kinds(server: ApiServer, events: KubeEvents, kind: str, version: str, where: str) -> None:
    with sending(events, ImpatientStop()):
        events.emit(kind, where.replace("default", ""), "x", reason="InvalidObject", message="m", warning=True)
        (found,) = wait(server, len)
    assert found["metadata"]["namespace"] == where
    assert found["regarding"]["apiVersion"] == version
    assert "uid" not in found["regarding"], "an object that is gone has no UID, and its event is told all the same"


def test_repeats_become_one_series(
    server: ApiServer, events: KubeEvents, stop: ImpatientStop, clock: HandClock
) -> None:
    with sending(events, stop):
        for _ in range(5):
            fail(events)
        fail(events, "another message")
        wait(server, lambda found: len(found) == 2)
        clock.now += REPEAT_S
        fail(events)
        found = wait(server, lambda found: any("series" in each for each in found))
    (series,) = [each["series"] for each in found if "series" in each]
    assert series["count"] == 6
    assert series["lastObservedTime"]
    assert len(found) == 2


def test_a_repeat_of_an_event_that_the_api_server_forgot_is_a_new_one(
    server: ApiServer, events: KubeEvents, stop: ImpatientStop, clock: HandClock
) -> None:
    with sending(events, stop):
        fail(events)
        (first,) = wait(server, len)
        server.delete("events", "demo", first["metadata"]["name"])
        clock.now += REPEAT_S
        fail(events)
        (second,) = wait(server, len)
    assert second["metadata"]["name"] != first["metadata"]["name"]


@pytest.mark.parametrize("status", [500, 429, 401])
def test_what_may_heal_is_tried_again(server: ApiServer, events: KubeEvents, stop: ImpatientStop, status: int) -> None:
    server.refuse(status, times=3)
    with sending(events, stop):
        events.emit("Node", "", "node-1", reason="Starting", message="", warning=False)
        wait(server, len)
    assert len(stop.waits) == 3


def test_an_answer_that_gets_lost_makes_no_second_event(
    server: ApiServer, events: KubeEvents, stop: ImpatientStop, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, lost = events._connection.send, threading.Event()

    def loses_the_first_answer(*args: Any) -> None:
        send(*args)
        if not lost.is_set():
            lost.set()
            raise RequestError("cut off", remedy="trying again")

    monkeypatch.setattr(events._connection, "send", loses_the_first_answer)
    with sending(events, stop):
        fail(events)
        wait(server, lambda _: lost.is_set())
        fail(events, "next")
        wait(server, lambda found: len(found) == 2)
        clock.now += REPEAT_S
        fail(events)
        found = wait(server, lambda found: any("series" in each for each in found))
    assert len(found) == 2


def test_what_will_not_heal_is_logged_and_the_next_is_sent(
    server: ApiServer, events: KubeEvents, stop: ImpatientStop, caplog: pytest.LogCaptureFixture
) -> None:
    server.refuse(403, times=1)
    with sending(events, stop):
        events.emit("Node", "", "node-1", reason="Starting", message="", warning=False)
        fail(events)
        (found,) = wait(server, len)
    assert found["reason"] == "FailedToProgramService"
    (line,) = [text for text in caplog.messages if text.startswith("event_dropped")]
    assert "reason=Starting" in line
    assert "create and patch on events" in line


def test_what_finds_no_room_is_dropped_and_emitting_never_waits(
    server: ApiServer,
    kubeconfig: Path,
    stop: ImpatientStop,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "QUEUE_LIMIT", 6)
    monkeypatch.setattr(module, "BURST", 4)
    events = KubeEvents(kubeconfig, "node-1", rng=random.Random(1), clock=HandClock())
    for number in range(9):
        fail(events, name=f"web-{number}")
    assert sum(text.startswith("event_dropped") for text in caplog.messages) == 1
    with sending(events, stop):
        wait(server, lambda found: len(found) == 6)
        fail(events, name="web-6")  # it was dropped, not told: no repeat
        wait(server, lambda found: len(found) == 7)
    assert "events_dropped count=3 problem='the queue was full'" in caplog.messages
    assert stop.waits == [1 / PER_SECOND, 2 / PER_SECOND, 3 / PER_SECOND], "beyond the burst"


def test_different_incidents_are_not_remembered_without_end(
    events: KubeEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KNOWN_LIMIT", 3)
    for number in range(10):
        fail(events, name=f"web-{number}")
    assert [incident.name for incident in events._known] == ["web-7", "web-8", "web-9"]


def test_a_note_fits(server: ApiServer, events: KubeEvents, stop: ImpatientStop) -> None:
    with sending(events, stop):
        fail(events, "\N{SNOWMAN}" * MAX_NOTE_BYTES)
        (found,) = wait(server, len)
    assert MAX_NOTE_BYTES - 3 <= len(found["note"].encode()) <= MAX_NOTE_BYTES
    assert found["note"].endswith("\N{SNOWMAN}...")


def test_stop_is_prompt_while_nobody_answers(server: ApiServer, tmp_path: Path, caplog: Any) -> None:
    stop = threading.Event()
    path = write_kubeconfig(tmp_path / "down", "https://127.0.0.1:1", server.certificates.authority, "secret")
    events = KubeEvents(path, "node-1", rng=random.Random(1))
    caplog.set_level(logging.WARNING)
    with sending(events, stop):
        fail(events)
    assert not caplog.messages
