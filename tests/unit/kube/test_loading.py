"""The child that reads credentials, as it is: its plugins, its failures, and that nothing stays of it."""

import base64
import json
import logging
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from ebpflb.errors import UsageError
from ebpflb.kube import loading
from ebpflb.kube.connection import Connection
from ebpflb.kube.credential_form import Credentials
from ebpflb.kube.faults import RequestError
from ebpflb.kube.loading import Loading
from tests.kube.certificates import make_certificates
from tests.kube.plugins import URL, await_end, await_plugin, hanging, plugin, write


def printed(**status: str) -> str:
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    return f"echo '{json.dumps(answer)}'"


def read(path: Path) -> Credentials:
    return Loading(path, None, "").result()


@pytest.fixture(name="places", autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the child's files made in a folder that nobody else uses, and see that none is left."""
    places = tmp_path / "memory"
    places.mkdir()
    monkeypatch.setattr(loading, "_IN_MEMORY", places)
    return places


def test_what_is_inline_comes_by_the_pipe_and_stays_nowhere(tmp_path: Path, places: Path) -> None:
    files = make_certificates(tmp_path)
    encoded = {name: base64.b64encode(getattr(files, name).read_bytes()).decode() for name in ("certificate", "key")}
    user = {"client-certificate-data": encoded["certificate"], "client-key-data": encoded["key"]}
    path = write(tmp_path / "config", user, **{"certificate-authority": "ca.pem", "tls-server-name": "api"})
    credentials = read(path)
    assert credentials.endpoint.certificate == files.certificate.read_text()
    assert credentials.endpoint.key == files.key.read_text()
    assert (credentials.endpoint.authority, credentials.endpoint.authority_file) == (None, str(files.authority))
    assert (credentials.endpoint.tls_server_name, credentials.endpoint.verify) == ("api", True)
    assert (credentials.authorization, credentials.problem, credentials.expires_at) == ("", "", 0.0)
    assert list(places.iterdir()) == []
    connection = Connection(path)
    assert connection.server == URL
    connection.close()


def test_a_plugins_token_and_its_expiry(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    script = printed(token="t0ken", expirationTimestamp="2100-01-01T00:00:00Z")
    user = plugin(tmp_path, f"echo chatter >&2\n{script}")
    with caplog.at_level(logging.DEBUG):
        credentials = read(write(tmp_path / "config", user))
    assert credentials.authorization == "Bearer t0ken"
    assert credentials.expires_at == 4_102_444_800
    assert not caplog.messages, "what a plugin says that works is its own affair"


def test_a_plugin_that_fails_is_no_anonymous_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "config", plugin(tmp_path, "echo no cloud here >&2; exit 7"))
    connection = Connection(path)
    assert caplog.messages == ["credentials said='exec: process returned 7. no cloud here'"]
    with (
        pytest.raises(RequestError, match=r"no credentials: exec: process returned 7\. no cloud here; ") as caught,
        connection.get("/api", {}, 1.0),
    ):
        pass
    assert caught.value.stale_credentials
    plugin(tmp_path, printed(token="t0ken"))
    write(path, json.loads(path.read_text())["users"][0]["user"], **{"insecure-skip-tls-verify": True})
    connection.reload()
    with pytest.raises(RequestError, match="cannot be reached: Connection refused"), connection.get("/api", {}, 1.0):
        pass
    connection.close()


def test_errors_come_with_their_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be used: Invalid kube-config file\. .* choose one of its contexts"):
        read(write(tmp_path / "config", {}, server=None))


def test_a_plugin_that_never_ends_is_ended(tmp_path: Path, places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pid_file = hanging(tmp_path)
    run = Loading(path, None, "")
    pid = await_plugin(pid_file)
    monkeypatch.setattr(loading, "LIMIT_S", 0.0)
    monkeypatch.setattr(loading, "_GRACE_S", 0.1)
    with pytest.raises(UsageError, match="was not read within 0 s; check the exec plugin"):
        run.result()
    await_end(pid)
    assert list(places.iterdir()) == []


def test_abort_ends_the_child_its_plugin_and_the_wait(tmp_path: Path, places: Path) -> None:
    path, pid_file = hanging(tmp_path)
    run = Loading(path, None, "")
    pid = await_plugin(pid_file)
    timer = threading.Timer(0.1, run.abort)
    timer.start()
    with pytest.raises(UsageError, match=r"config cannot be read \(exit code -9\); check"):
        run.result()
    timer.join()
    await_end(pid)
    assert list(places.iterdir()) == []


def test_close_leaves_nothing_of_an_answer_that_nobody_took(tmp_path: Path, places: Path) -> None:
    path, pid_file = hanging(tmp_path)
    run = Loading(path, None, "")
    pid = await_plugin(pid_file)
    run.close()
    await_end(pid)
    assert list(places.iterdir()) == []


def test_a_child_its_plugin_and_its_files_go_with_the_parent(tmp_path: Path, places: Path) -> None:
    path, pid_file = hanging(tmp_path)
    code = (
        "import pathlib, signal, sys; from ebpflb.kube import loading\n"
        "config, loading._IN_MEMORY = map(pathlib.Path, sys.argv[1:])\n"
        "run = loading.Loading(config, None, ''); signal.pause()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(path), str(places)])
    plugin_pid = await_plugin(pid_file)
    child = int(Path(f"/proc/{plugin_pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert list(places.iterdir())
    parent.kill()
    parent.wait()
    await_end(child)
    await_end(plugin_pid)
    assert list(places.iterdir()) == []


def test_a_crash_is_told_by_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UsageError, match=r"config cannot be read \(exit code 1\); "):
        read(tmp_path / "config")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    with pytest.raises(UsageError, match=r"no process can be started \(No such file or directory\); check"):
        Loading(tmp_path / "config", None, "")


def test_without_a_place_for_files_none_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    assert read(write(tmp_path / "config", {"token": "t0ken"})).authorization == "Bearer t0ken"
