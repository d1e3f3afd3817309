from pathlib import Path

import pytest

from ebpflb.host.oom import set_oom_score_adj
from ebpflb.host.sysctl import ConntrackSettings, Outcome, set_conntrack

ALL = ConntrackSettings(
    maximum=262_144, tcp_established_s=86_400, tcp_close_wait_s=3_600, tcp_be_liberal=True, udp_s=30, udp_stream_s=120
)
VALUES = {
    "nf_conntrack_max": "262144",
    "nf_conntrack_tcp_timeout_established": "86400",
    "nf_conntrack_tcp_timeout_close_wait": "3600",
    "nf_conntrack_tcp_be_liberal": "1",
    "nf_conntrack_udp_timeout": "30",
    "nf_conntrack_udp_timeout_stream": "120",
}


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "net" / "netfilter"
    folder.mkdir(parents=True)
    for name in VALUES:
        (folder / name).write_text("7\n")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in folder.iterdir()}


def test_what_differs_is_written(folder: Path, tmp_path: Path) -> None:
    (folder / "nf_conntrack_udp_timeout").write_text("30\n")
    outcome = set_conntrack(ALL, tmp_path)
    assert contents(folder) == VALUES
    assert outcome.warnings == ()
    assert outcome.changes == tuple(
        f"{name}: 7 -> {value}" for name, value in VALUES.items() if name != "nf_conntrack_udp_timeout"
    )
    assert set_conntrack(ALL, tmp_path) == Outcome((), ())


def test_what_is_not_said_stays(folder: Path, tmp_path: Path) -> None:
    assert set_conntrack(ConntrackSettings(tcp_close_wait_s=60), tmp_path).changes == (
        "nf_conntrack_tcp_timeout_close_wait: 7 -> 60",
    )
    assert set(contents(folder).values()) == {"7", "60"}


def test_a_kernel_without_connection_tracking(tmp_path: Path) -> None:
    assert set_conntrack(ALL, tmp_path) == Outcome((), ())


def test_what_cannot_be_written_is_a_warning(folder: Path, tmp_path: Path) -> None:
    (folder / "nf_conntrack_max").unlink()
    (folder / "nf_conntrack_max").mkdir()  # as unwritable to root as a read-only /proc/sys
    outcome = set_conntrack(ALL, tmp_path)
    (warning,) = outcome.warnings
    assert warning.startswith("nf_conntrack_max cannot be set to 262144 (Is a directory); set net.netfilter.nf_con")
    assert len(outcome.changes) == len(VALUES) - 1


def test_oom_score(tmp_path: Path) -> None:
    path = tmp_path / "oom_score_adj"
    path.write_text("0\n")
    assert set_oom_score_adj(-999, tmp_path) == ""
    assert path.read_text() == "-999"
    assert set_oom_score_adj(-999, tmp_path) == ""


def test_an_oom_score_that_cannot_be_set(tmp_path: Path) -> None:
    failure = set_oom_score_adj(-999, tmp_path / "missing")
    assert "cannot be set to -999 (No such file or directory); give the agent CAP_SYS_RESOURCE" in failure
