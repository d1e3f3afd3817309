"""What the API client does when lists, watches or connections fail, against an API server that fails on order."""

import logging
import random
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ebpflb.kube import connection as connection_module
from ebpflb.kube.backoff import FIRST_DELAY_S, MAX_DELAY_S
from ebpflb.kube.connection import Connection
from ebpflb.kube.faults import Faults
from ebpflb.kube.reflector import ABSENT_RETRY_S, Reflector
from ebpflb.kube.resources import watched_resources
from ebpflb.kube.watch import KubeSource
from ebpflb.reconcile.ports import Kind
from tests.kube.certificates import make_certificates
from tests.kube.objects import make_node, make_service, make_service_cidr, make_slice
from tests.kube.recorder import DEADLINE_S, RecordingSink, running
from tests.kube.server import ApiServer, write_kubeconfig
from tests.kube.store import Object

WATCHED = ("services", "endpointslices", "nodes", "servicecidrs", "pods")


class ImpatientStop(threading.Event):
    """Records how long it was asked to wait, and does not wait that long."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is None:
            return super().wait()
        self.waits.append(timeout)
        return super().wait(0.005)


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def stop() -> ImpatientStop:
    return ImpatientStop()


@pytest.fixture
def source(kubeconfig: Path) -> KubeSource:
    return KubeSource(kubeconfig, "node-1", rng=random.Random(1))


def service(name: str, **spec: Any) -> Object:
    return make_service(name, **{"clusterIP": "10.96.0.10", **spec})


def test_lists_come_in_pages(server: ApiServer, source: KubeSource, sink: RecordingSink) -> None:
    server.page_size = 2
    for number in range(5):
        server.put("services", service(f"web-{number}"))
    with running(source, sink):
        sink.wait_listed()
    assert sink.names(Kind.SERVICE) == {f"web-{number}" for number in range(5)}
    lists = [each.query for each in server.requests if each.collection == "services" and not each.is_watch]
    assert [query.get("continue") for query in lists] == [None, "2", "4"]
    assert {query["limit"] for query in lists} == {"500"}


def test_an_expired_continuation_leads_to_one_list_in_one_piece(
    server: ApiServer, source: KubeSource, sink: RecordingSink
) -> None:
    server.page_size = 2
    server.expire_continuations = 1
    for number in range(5):
        server.put("services", service(f"web-{number}"))
    with running(source, sink):
        sink.wait_listed()
    assert len(sink.names(Kind.SERVICE)) == 5
    assert sink.replaced.count(Kind.SERVICE) == 1


def test_one_kinds_failure_does_not_hold_up_the_others_nor_count_as_listed(
    server: ApiServer, kubeconfig: Path, sink: RecordingSink, stop: ImpatientStop
) -> None:
    server.refuse(500, times=1_000_000, watches=False)
    with running(KubeSource(kubeconfig, "node-1"), sink, stop):
        sink.wait(lambda: sink.error, "complaint")
        assert sink.objects == {}
        server.heal()
        sink.wait_listed()
        sink.wait(lambda: not sink.error, "end of the complaint")


@pytest.mark.usefixtures("stop")
def test_a_bookmark_saves_a_list_after_a_disconnect(server: ApiServer, source: KubeSource, sink: RecordingSink) -> None:
    with running(source, sink):
        sink.wait_listed()
        for collection in WATCHED:
            server.wait_for_requests(collection, 1, watches=True)
        server.put("namespaces", {"metadata": {"name": "unrelated"}})
        server.send_bookmarks()
        server.expire_history()
        server.drop_connections()
        server.put("services", service("web"))
        sink.wait_name(Kind.SERVICE, "web")
    assert server.count("services", watches=False) == 1
    assert server.count("services", watches=True) == 2


def test_410_at_a_watch_request_lists_again_and_finds_deletions(
    server: ApiServer, source: KubeSource, sink: RecordingSink, stop: ImpatientStop
) -> None:
    for name in ("doomed", "kept"):
        server.put("services", service(name))
    with running(source, sink, stop):
        sink.wait_name(Kind.SERVICE, "doomed")
        server.wait_for_requests("services", 1, watches=True)
        server.refuse(503, times=1_000_000, watches=True)
        server.drop_connections()
        sink.wait(lambda: "503" in sink.error, "complaint")
        server.delete("services", "demo", "doomed")
        server.expire_history()
        server.heal()
        sink.wait_name(Kind.SERVICE, "doomed", present=False)
        sink.wait(lambda: not sink.error, "end of the complaint")
    assert sink.names(Kind.SERVICE) == {"kept"}
    assert sink.replaced.count(Kind.SERVICE) == 2


def test_410_as_an_event_lists_again(
    server: ApiServer, source: KubeSource, sink: RecordingSink, stop: ImpatientStop
) -> None:
    with running(source, sink, stop):
        sink.wait_listed()
        server.wait_for_requests("services", 1, watches=True)
        server.put("namespaces", {"metadata": {"name": "unrelated"}})
        server.expire_history()
        server.wait_for_requests("services", 2, watches=False)
        server.wait_for_requests("services", 2, watches=True)
        server.put("services", service("web"))
        sink.wait_name(Kind.SERVICE, "web")
    assert not any(sink.errors), "an expired version is no reason to complain"


@pytest.mark.parametrize("status", [400, 504])
def test_a_version_that_a_restored_server_does_not_know_lists_again(
    server: ApiServer, source: KubeSource, sink: RecordingSink, stop: ImpatientStop, status: int
) -> None:
    server.refuse(status, times=len(WATCHED), watches=True)
    with running(source, sink, stop):
        server.wait_until(lambda: lists(server) == 2 * len(WATCHED), "a second list of each, or a third of some")
        server.put("services", service("web"))
        sink.wait_name(Kind.SERVICE, "web")
    assert lists(server) == 2 * len(WATCHED)
    assert not any(sink.errors)


def lists(server: ApiServer) -> int:
    """Return how many lists there were of all collections together."""
    return sum(server.count(collection, watches=False) for collection in WATCHED)


def test_a_disconnect_loses_nothing_and_lists_nothing(
    server: ApiServer, source: KubeSource, sink: RecordingSink, stop: ImpatientStop
) -> None:
    with running(source, sink, stop):
        sink.wait_listed()
        for round_ in range(5):
            server.wait_for_requests("services", round_ + 1, watches=True)
            server.put("services", service(f"before-{round_}"))
            server.drop_connections()
            server.put("services", service(f"after-{round_}"))
            sink.wait_name(Kind.SERVICE, f"after-{round_}")
    assert len(sink.names(Kind.SERVICE)) == 10
    assert server.count("services", watches=False) == 1


def test_a_watch_that_ends_cleanly_goes_on_at_once(
    server: ApiServer, source: KubeSource, sink: RecordingSink, stop: ImpatientStop
) -> None:
    with running(source, sink, stop):
        sink.wait_listed()
        server.wait_for_requests("services", 1, watches=True)
        server.put("services", service("web"))
        sink.wait_name(Kind.SERVICE, "web")
        server.end_watches()
        server.put("services", service("web-2"))
        sink.wait_name(Kind.SERVICE, "web-2")
    assert server.count("services", watches=False) == 1


def test_back_off_doubles_with_jitter_and_starts_again_after_an_event(
    server: ApiServer, kubeconfig: Path, sink: RecordingSink, stop: ImpatientStop
) -> None:
    connection = Connection(kubeconfig, None)
    reflector = Reflector(watched_resources("node-1")[0], connection, sink, Faults(sink), rng=random.Random(1))
    server.refuse(500, times=6)
    thread = threading.Thread(target=reflector.run, args=(stop,), daemon=True)
    thread.start()
    server.wait_for_requests("services", 1, watches=True)
    growing = list(stop.waits)
    server.put("services", service("web"))
    sink.wait_name(Kind.SERVICE, "web")
    server.refuse(500, times=1)
    server.drop_connections()
    server.wait_for_requests("services", 3, watches=True)
    stop.set()
    connection.abort()
    thread.join(DEADLINE_S)
    connection.close()
    assert len(growing) == 6
    for step, delay_s in enumerate(growing):
        assert FIRST_DELAY_S * 2**step / 2 <= delay_s <= FIRST_DELAY_S * 2**step
    assert len({delay_s / 2**step for step, delay_s in enumerate(growing)}) == 6, "no jitter"
    assert stop.waits[6] <= FIRST_DELAY_S


def test_retry_after_is_honoured(
    server: ApiServer, source: KubeSource, sink: RecordingSink, stop: ImpatientStop
) -> None:
    server.refuse(429, times=1, Retry_After="7")
    with running(source, sink, stop):
        sink.wait_listed()
    assert max(stop.waits) >= 7


def write_wrong_token(server: ApiServer, path: Path) -> None:
    server.write_kubeconfig(path, token="wrong")


def write_wrong_authority(server: ApiServer, path: Path) -> None:
    other = path.parent / "other"
    other.mkdir()
    server.write_kubeconfig(path, authority=make_certificates(other).authority)


@pytest.mark.parametrize(
    "wrong",
    [
        (write_wrong_token, "does not accept the credentials (401)", "renew the token"),
        (write_wrong_authority, "TLS with the API server", "check certificate-authority"),
    ],
)
def test_wrong_credentials_are_named_and_heal_when_the_kubeconfig_does(
    server: ApiServer,
    tmp_path: Path,
    sink: RecordingSink,
    stop: ImpatientStop,
    wrong: tuple[Callable[[ApiServer, Path], None], str, str],
) -> None:
    write_wrong, problem, remedy = wrong
    path = tmp_path / "rotating"
    write_wrong(server, path)
    with running(KubeSource(path, "node-1"), sink, stop):
        sink.wait(lambda: problem in sink.error, "complaint")
        assert remedy in sink.error
        path.write_text("half: {a")
        sink.wait(lambda: "is not YAML" in sink.error, "complaint about the file")
        server.write_kubeconfig(path)
        sink.wait_listed()
        sink.wait(lambda: not sink.error, "end of the complaint")


def test_a_token_that_the_server_revokes_and_accepts_again(
    server: ApiServer, source: KubeSource, sink: RecordingSink, stop: ImpatientStop
) -> None:
    with running(source, sink, stop):
        sink.wait_listed()
        good, server.token = server.token, "revoked"
        server.drop_connections()
        sink.wait(lambda: "401" in sink.error, "complaint")
        server.token = good
        sink.wait(lambda: not sink.error, "end of the complaint")


def test_missing_rights_are_named(
    server: ApiServer, source: KubeSource, sink: RecordingSink, stop: ImpatientStop
) -> None:
    server.refuse(403, times=1_000_000)
    with running(source, sink, stop):
        sink.wait(lambda: "forbids /" in sink.error, "complaint")
        assert "grant get, list and watch" in sink.error
        server.heal()
        sink.wait_listed()
        sink.wait(lambda: not sink.error, "end of the complaint")


@pytest.mark.parametrize("answer", [(404, logging.INFO), (403, logging.WARNING)])
def test_service_cidrs_that_are_not_served_or_not_shown_are_none_at_all(
    server: ApiServer,
    source: KubeSource,
    stop: ImpatientStop,
    caplog: pytest.LogCaptureFixture,
    answer: tuple[int, int],
) -> None:
    sink, (status, level) = RecordingSink(), answer
    server.unserved["servicecidrs"] = status
    with caplog.at_level(logging.INFO), running(source, sink, stop):
        sink.wait_listed()
        server.wait_for_requests("servicecidrs", 4, watches=False)  # three were answered
        assert sink.objects[Kind.SERVICE_CIDR] == {}
        server.put("servicecidrs", make_service_cidr("kubernetes", "10.96.0.0/12"))
        del server.unserved["servicecidrs"]
        sink.wait_name(Kind.SERVICE_CIDR, "kubernetes")
        server.delete("servicecidrs", "", "kubernetes")
        sink.wait_name(Kind.SERVICE_CIDR, "kubernetes", present=False)
    absences = [record for record in caplog.records if record.getMessage().startswith("absent")]
    assert [(record.levelno, str(status) in record.getMessage()) for record in absences] == [(level, True)]
    long_waits = [delay_s for delay_s in stop.waits if delay_s > MAX_DELAY_S]
    assert len(long_waits) >= 3
    assert all(ABSENT_RETRY_S[0] <= delay_s <= ABSENT_RETRY_S[1] for delay_s in long_waits)
    assert not any(sink.errors), "a kind that is absent is no reason to complain"


@pytest.mark.parametrize("is_history_gone", [False, True], ids=["watched on", "listed again"])
def test_service_cidrs_that_are_forbidden_for_a_while_stay(
    server: ApiServer, source: KubeSource, sink: RecordingSink, stop: ImpatientStop, is_history_gone: bool
) -> None:
    server.put("servicecidrs", make_service_cidr("kubernetes", "10.96.0.0/12"))
    with running(source, sink, stop):
        sink.wait_name(Kind.SERVICE_CIDR, "kubernetes")
        if is_history_gone:
            server.put("namespaces", {"metadata": {"name": "unrelated"}})
            server.expire_history()
        server.unserved["servicecidrs"] = 403
        server.drop_connections()
        sink.wait(lambda: "servicecidrs (403)" in sink.error, "complaint")
        assert sink.names(Kind.SERVICE_CIDR) == {"kubernetes"}
        server.put("servicecidrs", make_service_cidr("more", "10.112.0.0/12"))
        del server.unserved["servicecidrs"]
        sink.wait_name(Kind.SERVICE_CIDR, "more")
        sink.wait(lambda: not sink.error, "end of the complaint")
    assert sink.names(Kind.SERVICE_CIDR) == {"kubernetes", "more"}
    assert max(stop.waits) <= MAX_DELAY_S, "it is asked again as after any failure"


def test_service_cidrs_that_are_no_longer_served_are_gone(
    server: ApiServer, source: KubeSource, sink: RecordingSink, stop: ImpatientStop
) -> None:
    server.put("servicecidrs", make_service_cidr("kubernetes", "10.96.0.0/12"))
    with running(source, sink, stop):
        sink.wait_name(Kind.SERVICE_CIDR, "kubernetes")
        server.unserved["servicecidrs"] = 404
        server.drop_connections()
        sink.wait_name(Kind.SERVICE_CIDR, "kubernetes", present=False)


def test_an_unreachable_server_is_named(server: ApiServer, tmp_path: Path, sink: RecordingSink) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{closed.getsockname()[1]}"
        path = write_kubeconfig(tmp_path / "closed", url, server.certificates.authority, "secret")
        with running(KubeSource(path, "node-1"), sink):
            sink.wait(lambda: sink.error, "complaint")
    assert f"the API server {url} cannot be reached: Connection refused; check" in sink.error


def test_stop_is_prompt_while_the_server_is_silent(
    server: ApiServer,
    tmp_path: Path,
    sink: RecordingSink,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing ends a thread that still connects: after STOP_TIMEOUT_S ``run`` leaves it behind, and says so."""
    monkeypatch.setattr(connection_module, "CONNECT_TIMEOUT_S", 10 * DEADLINE_S)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(DEADLINE_S)
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        path = write_kubeconfig(tmp_path / "silent", url, server.certificates.authority, "secret")
        with caplog.at_level(logging.INFO), running(KubeSource(path, "node-1"), sink):
            accepted, _ = silent.accept()
        accepted.close()
    assert any(text.startswith("left_connecting") for text in caplog.messages)


def test_bad_objects_are_refused_alone(
    server: ApiServer, source: KubeSource, sink: RecordingSink, caplog: pytest.LogCaptureFixture
) -> None:
    server.put("services", service("bad", ports=[{"port": 0}]))
    server.put("services", service("good"))
    server.put("endpointslices", make_slice("bad-1", addressType=7))
    with running(source, sink):
        sink.wait_listed()
        assert sink.names(Kind.SERVICE) == {"good"}
        assert {name: error.field for name, error in sink.refused.items()} == {
            "demo/bad": "spec.ports[0].port",
            "demo/bad-1": "addressType",
        }
        server.put("services", service("good", ports="none"))
        sink.wait(lambda: "demo/good" in sink.refused, "refusal")
        assert sink.names(Kind.SERVICE) == {"good"}, "the last good state stays"
        server.delete("services", "demo", "good")
        sink.wait(lambda: "demo/good" not in sink.refused, "end of the refusal")
    assert not sink.error
    logged = sorted(text for text in caplog.messages if text.startswith("refused"))
    named = ["EndpointSlice demo/bad-1: addressType:", "Service demo/bad: spec.ports[0].port:"]
    for text, name in zip(logged, [*named, "Service demo/good: spec.ports:"], strict=True):
        assert name in text


def test_a_node_that_is_not_in_the_cluster_is_named(server: ApiServer, kubeconfig: Path, sink: RecordingSink) -> None:
    with running(KubeSource(kubeconfig, "node-9"), sink):
        sink.wait(lambda: sink.error, "complaint")
        assert sink.error == "the cluster has no Node node-9; give this machine's Node name with --node-name"
        server.put("nodes", make_node("node-9"))
        sink.wait(lambda: not sink.error, "end of the complaint")
        server.delete("nodes", "", "node-9")
        sink.wait(lambda: sink.error, "complaint")
    assert sink.names(Kind.NODE) == set()
