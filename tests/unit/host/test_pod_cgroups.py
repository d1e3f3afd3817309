"""Pods' cgroups by name, in trees of files: where drivers and distributions put them, and what looks similar."""

from pathlib import Path

import pytest

from ebpflb.host.pod_cgroups import find_pods, namespace_at, namespaces_in, processes_in

UID = "2c0d8a57-3c0f-4f0e-9b0b-0e5b5a5c1d11"
PLAIN = UID.replace("-", "_")
STATIC = "a5363f4f31e043bdae3c93aca4991903"


@pytest.mark.parametrize(
    "place",
    [
        f"kubepods/pod{UID}",
        f"kubepods/besteffort/pod{UID}",
        f"kubepods.slice/kubepods-pod{PLAIN}.slice",
        f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{PLAIN}.slice",
        f"kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{PLAIN}.slice",
        f"system.slice/docker-1.scope/kubelet/kubepods/burstable/pod{UID}",
    ],
)
def test_a_pod_is_found_wherever_its_kubelet_puts_it(tmp_path: Path, place: str) -> None:
    (tmp_path / place / "container").mkdir(parents=True)
    (tmp_path / "user.slice/user-1000.slice").mkdir(parents=True)
    found = find_pods(tmp_path, [UID])
    assert found.pods == {UID: tmp_path / place}
    names = [path.relative_to(tmp_path).parts for path in found.parents]
    assert () in names
    assert all("kube" in parts[-1] for parts in names if parts)
    assert Path(place).parent.parts in names or "kube" not in Path(place).parent.name


def test_a_static_pods_hash_is_a_uid_too(tmp_path: Path) -> None:
    place = tmp_path / f"kubepods.slice/kubepods-pod{STATIC}.slice"
    place.mkdir(parents=True)
    assert find_pods(tmp_path, [STATIC, UID]).pods == {STATIC: place}


@pytest.mark.parametrize("name", [f"pod{UID}x", f"pod{UID[:-1]}", UID[:-1], "pod", "kubepods", f"machine-{UID}.slice"])
def test_similar_names_are_no_pods(tmp_path: Path, name: str) -> None:
    (tmp_path / "kubepods" / name).mkdir(parents=True)
    assert find_pods(tmp_path, [UID]).pods == {}


def test_processes_of_all_containers_are_the_pods(tmp_path: Path) -> None:
    for folder, text in {"": "", "sandbox": "11\n", "app": "12\n13\n", "app/inner": "14\n", "hidden": "0\n"}.items():
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "cgroup.procs").write_text(text)
    (tmp_path / "threaded").mkdir()
    assert sorted(processes_in(tmp_path)) == [0, 11, 12, 13, 14]


def test_each_namespace_is_found_once_and_a_process_that_ended_is_passed_over(tmp_path: Path) -> None:
    folder, proc = tmp_path / "pod", tmp_path / "proc"
    folder.mkdir()
    (folder / "cgroup.procs").write_text("11 12 13 0")
    for process in ("11", "12"):
        (proc / process / "ns").mkdir(parents=True)
    (proc / "11/ns/net").touch()
    (proc / "12/ns/net").hardlink_to(proc / "11/ns/net")
    (found,) = namespaces_in(folder, proc)
    assert found == namespace_at(proc / "11/ns/net")


def test_nothing_is_no_namespace(tmp_path: Path) -> None:
    assert namespace_at(tmp_path / "gone") is None
    assert namespaces_in(tmp_path / "gone") == {}
