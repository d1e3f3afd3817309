"""When credentials are read, and when not, by clocks that the test turns and readings that answer on order."""

import logging
import threading
from pathlib import Path

import pytest

from ebpflb.errors import UsageError
from ebpflb.kube import vault as module
from ebpflb.kube.credential_form import Credentials, Endpoint
from ebpflb.kube.vault import EARLY_S, RELOAD_PERIOD_S, TOKEN_FILE_S, Reading, Vault, read_early, shared_vault

NOW = 1_000_000.0


class World:
    """Clocks, a file's stamp, and what the next readings say."""

    def __init__(self, *answers: Credentials | UsageError) -> None:
        self.answers = list(answers)
        self.now = 0.0
        self.stamp = 1
        self.readings: list[FakeReading] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def read(self) -> Reading:
        reading = FakeReading(self)
        self.readings.append(reading)
        return reading

    def vault(self) -> Vault:
        return Vault(self.read, lambda: self.stamp, clock=lambda: self.now, wall_clock=lambda: NOW + self.now)


class FakeReading:
    """Implements ``Reading``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.aborted, self.closed = threading.Event(), False

    def result(self) -> Credentials:
        while not self.world.may_answer.wait(0.01):
            if self.aborted.is_set():
                raise UsageError("it was ended", remedy="try again")
        answer = self.world.answers.pop(0)
        if isinstance(answer, UsageError):
            raise answer
        return answer

    def abort(self) -> None:
        self.aborted.set()

    def close(self) -> None:
        self.closed = True


def token(name: str, *, lives_s: float = 0.0) -> Credentials:
    return Credentials(Endpoint("https://api"), f"Bearer {name}", expires_at=NOW + lives_s if lives_s else 0.0)


def wait_read(world: World, count: int) -> None:
    for thread in threading.enumerate():
        if thread.name == "kube-credentials":
            thread.join(60)
    assert len(world.readings) == count


def test_the_first_reading_begins_before_anybody_asks_and_serves_all() -> None:
    world = World(token("a"))
    vault = world.vault()
    assert len(world.readings) == 1
    assert vault.current().authorization == vault.current().authorization == "Bearer a"
    assert len(world.readings) == 1


def test_a_first_reading_that_fails_is_not_repeated_at_once() -> None:
    world = World(UsageError("no file", remedy="make one"), token("a"))
    vault = world.vault()
    for _ in range(2):
        with pytest.raises(UsageError, match="no file; make one"):
            vault.current()
    assert len(world.readings) == 1
    world.now += RELOAD_PERIOD_S
    assert vault.current().authorization == "Bearer a"


def test_who_is_refused_at_the_same_time_reads_once() -> None:
    world = World(token("a"), token("b"), token("c"))
    vault = world.vault()
    assert vault.current() == token("a")
    world.now += RELOAD_PERIOD_S
    world.may_answer.clear()
    threads = [threading.Thread(target=vault.reload) for _ in range(6)]
    for thread in threads:
        thread.start()
    world.may_answer.set()
    for thread in threads:
        thread.join(60)
    assert len(world.readings) == 2
    assert vault.current() == token("b")


def test_a_kubeconfig_that_has_changed_is_read_at_once_any_other_later() -> None:
    world = World(token("a"), token("b"), token("c"))
    vault = world.vault()
    vault.current()
    world.now += 1
    vault.reload()
    assert vault.current() == token("a")
    world.stamp += 1
    vault.reload()
    assert vault.current() == token("b")
    world.now += RELOAD_PERIOD_S
    vault.reload()
    assert vault.current() == token("c")


def test_a_reload_that_fails_leaves_what_there_was() -> None:
    world = World(token("a"), UsageError("half written", remedy="wait"))
    vault = world.vault()
    vault.current()
    world.stamp += 1
    for _ in range(2):
        with pytest.raises(UsageError, match="half written"):
            vault.reload()
    assert vault.current() == token("a")
    assert len(world.readings) == 2


def test_tokens_are_renewed_before_they_expire_while_requests_go_on() -> None:
    world = World(token("a", lives_s=3600), token("b", lives_s=7200))
    vault = world.vault()
    vault.current()
    world.now = 3600 - EARLY_S - 1
    vault.current()
    wait_read(world, 1)
    world.now = 3600 - EARLY_S
    world.may_answer.clear()
    assert vault.current() == token("a", lives_s=3600), "it is still good"
    world.may_answer.set()
    wait_read(world, 2)
    assert vault.current() == token("b", lives_s=7200)


def test_a_short_lived_token_is_used_for_half_its_life() -> None:
    world = World(token("a", lives_s=60), token("b", lives_s=120))
    vault = world.vault()
    vault.current()
    world.now = 29.0
    vault.current()
    wait_read(world, 1)
    world.now = 30.0
    vault.current()
    wait_read(world, 2)


def test_a_plugin_that_gives_the_same_token_again_is_not_run_for_each_request() -> None:
    world = World(*(token("a", lives_s=60) for _ in range(3)))
    vault = world.vault()
    vault.current()
    world.now = 40.0
    for _ in range(5):
        vault.current()
        wait_read(world, 2)
    world.now = 40.0 + RELOAD_PERIOD_S
    vault.current()
    wait_read(world, 3)


def test_what_replaces_an_expired_token_is_awaited() -> None:
    world = World(token("a", lives_s=60), UsageError("plugin failed", remedy="mend it"), token("b", lives_s=900))
    vault = world.vault()
    vault.current()
    world.now = 60.0
    with pytest.raises(UsageError, match="plugin failed"):
        vault.current()
    world.now += RELOAD_PERIOD_S
    assert vault.current() == token("b", lives_s=900)


def test_a_renewal_that_fails_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    world = World(token("a", lives_s=3600), UsageError("plugin failed", remedy="mend it"), token("b", lives_s=7200))
    vault = world.vault()
    vault.current()
    world.now = 3600 - EARLY_S
    with caplog.at_level(logging.WARNING):
        vault.current()
        wait_read(world, 2)
    assert caplog.messages == ["credentials_not_renewed reason='plugin failed; mend it'"]
    world.now += RELOAD_PERIOD_S
    vault.current()
    wait_read(world, 3)
    assert vault.current() == token("b", lives_s=7200)


def test_a_mounted_token_is_read_every_minute_by_no_child(tmp_path: Path) -> None:
    path = tmp_path / "token"
    world = World(Credentials(Endpoint("https://api"), "bearer first", token_file=str(path)))
    vault = world.vault()
    assert vault.current().authorization == "bearer first"
    path.write_text("second\n")
    world.now = TOKEN_FILE_S - 1
    assert vault.current().authorization == "bearer first"
    world.now = TOKEN_FILE_S
    assert vault.current().authorization == "Bearer second"
    path.write_text("third")
    world.now += TOKEN_FILE_S - 1
    assert vault.current().authorization == "Bearer second"
    world.now += 1
    assert vault.current().authorization == "Bearer third"
    assert len(world.readings) == 1


@pytest.mark.parametrize(("content", "words"), [(None, "No such file"), (b" \n", "is empty"), (b"\xff", "read: ")])
def test_a_mounted_token_that_cannot_be_read(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    world = World(Credentials(Endpoint("https://api"), "bearer first", token_file=str(path)))
    vault = world.vault()
    vault.current()
    world.now = TOKEN_FILE_S
    with pytest.raises(UsageError, match=words) as caught:
        vault.current()
    assert str(path) in caught.value.message
    path.write_text("good")
    assert vault.current().authorization == "Bearer good"


def test_abort_ends_the_wait_for_a_reading() -> None:
    world = World()
    world.may_answer.clear()
    vault = world.vault()
    failures: list[str] = []

    def ask() -> None:
        with pytest.raises(UsageError) as caught:
            vault.current()
        failures.append(caught.value.message)

    thread = threading.Thread(target=ask)
    thread.start()
    vault.abort()
    thread.join(60)
    assert failures == ["it was ended"]


def test_close_leaves_no_reading_that_nobody_took() -> None:
    world = World(token("a"))
    world.vault().close()
    assert world.readings[0].aborted.is_set()
    assert world.readings[0].closed


def test_close_after_use_is_nothing() -> None:
    world = World(token("a"))
    vault = world.vault()
    vault.current()
    vault.close()
    vault.abort()
    assert not world.readings[0].closed


class Loadings:
    """Stands in for ``Loading``: remembers what was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = World(*(token(name) for name in "abcd"))
        self.asked: list[tuple[Path | None, str | None, str]] = []
        monkeypatch.setattr(module, "Loading", self)

    def __call__(self, kubeconfig: Path | None, context: str | None, server: str) -> Reading:
        self.asked.append((kubeconfig, context, server))
        return self.world.read()


def test_who_asks_for_the_same_shares_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loadings, path = Loadings(monkeypatch), tmp_path / "config"
    path.write_text("one")
    with read_early(path, "https://api"):
        assert loadings.asked == [(path, None, "https://api")]
        assert shared_vault(path, None, "https://api").current() == token("a")
        assert shared_vault(path, None, "https://api").current() == token("a")
        other = shared_vault(path, "context", "https://api")
        assert other.current() == token("b")
        path.write_text("another")
        assert shared_vault(path, None, "https://api").current() == token("c")
    assert len(loadings.asked) == 3
    assert shared_vault(path, None, "https://api").current() == token("d"), "nobody is left who has the first"


def test_an_early_reading_can_be_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loadings = Loadings(monkeypatch)
    with read_early(tmp_path / "config", "") as abort:
        (reading,) = loadings.world.readings
        assert not reading.aborted.is_set()
        abort()
        assert reading.aborted.is_set()


def test_what_was_read_early_for_nobody_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loadings = Loadings(monkeypatch)
    with read_early(tmp_path / "config", ""):
        pass
    (reading,) = loadings.world.readings
    assert reading.closed
