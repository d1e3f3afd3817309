"""What is said of a machine: never an exception, whatever a tool or a file does not say."""

import platform
from pathlib import Path

import pytest

from ebpflb.bench import machine
from ebpflb.bench.machine import cpu_model, mitigations, this_machine, tool_version


def test_this_machine() -> None:
    found = this_machine()
    assert found.kernel == platform.release()
    assert (found.cores >= 1, found.memory_mb > 100, len(found.load_before)) == (True, True, 3)
    assert found.tools["python"] == platform.python_version()
    assert {"nft", "iptables-nft", "iptables-legacy", "bcc", "cc"} <= set(found.tools)
    assert found.date.endswith("+00:00")


def test_a_machine_without_any_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "_read", lambda _path: "")
    found = this_machine()
    assert (found.tools["nft"], found.tools["llvm of bcc"]) == ("absent", "unknown")
    assert (found.virtualization, found.bpf_jit) == ("none", "bpf_jit_enable unknown, bpf_jit_harden unknown")
    assert (found.cpu, found.commit) == (platform.machine(), "")


def test_the_processor_is_named_as_it_names_itself() -> None:
    assert cpu_model("processor\t: 0\nmodel name\t: Fast CPU @ 3GHz\nmodel name\t: again\n") == "Fast CPU @ 3GHz"
    assert cpu_model("processor : 0\nModel\t: Board 4\n") == "Board 4"
    assert cpu_model("") == platform.machine()


def test_vulnerabilities_that_the_processor_has_not_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "meltdown").write_text("Not affected\n", encoding="utf-8")
    (tmp_path / "spectre_v2").write_text("Mitigation: Retpolines\n", encoding="utf-8")
    assert mitigations(tmp_path) == {"spectre_v2": "Mitigation: Retpolines"}
    assert mitigations(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("iptables v1.8.9 (nf_tables)", "v1.8.9 (nf_tables)"),
        ("ip utility, iproute2-6.1.0, libbpf 1.1.2", "6.1.0, libbpf 1.1.2"),
        ("no number", "no number"),
        ("", "absent"),
    ],
)
def test_versions(printed: str, version: str) -> None:
    assert tool_version(["printf", "%s", printed]) == version


def test_the_commit_of_a_folder_that_is_no_clone(tmp_path: Path) -> None:
    assert machine._commit(tmp_path) == ""
