"""Where pins stand. A plain folder stands in for bpffs: paths are all that is decided here."""

import os
from pathlib import Path

import pytest

from ebpflb.core.abi import Family
from ebpflb.datapath.layout import SCHEMA_VERSION
from ebpflb.datapath.pins import Pins
from ebpflb.errors import PrerequisiteError, UsageError


@pytest.fixture
def pins(tmp_path: Path) -> Pins:
    return Pins(tmp_path, "node-1")


def test_paths_carry_instance_schema_and_family(pins: Pins, tmp_path: Path) -> None:
    assert pins.map(Family.IPV4, "flows") == tmp_path / f"ebpflb/node-1/v{SCHEMA_VERSION}/ipv4/maps/flows"
    assert pins.link(Family.IPV6, "lb_connect6") == tmp_path / f"ebpflb/node-1/v{SCHEMA_VERSION}/ipv6/links/lb_connect6"
    assert pins.progs(Family.IPV4) == tmp_path / f"ebpflb/node-1/v{SCHEMA_VERSION}/ipv4/progs"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-a", "a.b", "x" * 64, "a\n"])
def test_an_instance_must_be_a_name_that_bpffs_takes(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        Pins(tmp_path, name)


def test_folders_are_made_while_the_last_other_instance_goes(
    pins: Pins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, others = os.mkdir, Pins(tmp_path, "node-2")
    leaving = [tmp_path / "ebpflb"]

    def make_and_leave(path: Path, mode: int = 0o777) -> None:
        make(path, mode)
        if path in leaving:
            leaving.remove(path)
            others.remove()
            assert not path.exists()

    monkeypatch.setattr(os, "mkdir", make_and_leave)
    pins.create_folders(Family.IPV4)
    assert leaving == []
    assert pins.maps(Family.IPV4).is_dir()


def test_everything_is_listed_and_removed_links_first(pins: Pins, tmp_path: Path) -> None:
    for family in Family:
        pins.create_folders(family)
        pins.create_folders(family)
    old = pins.root / "v0" / "ipv4" / "maps" / "flows"
    build = pins.progs(Family.IPV4) / "0a1b" / "lb_connect4"
    files = [pins.map(Family.IPV4, "flows"), pins.link(Family.IPV6, "lb_connect6"), old, build]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert pins.list() == tuple(sorted(files))
    removed = pins.remove()
    assert set(removed) == set(files)
    assert removed[0] == pins.link(Family.IPV6, "lb_connect6")
    assert list(tmp_path.iterdir()) == []


def test_other_instances_stay(pins: Pins, tmp_path: Path) -> None:
    other = Pins(tmp_path, "node-2")
    other.create_folders(Family.IPV4)
    other.map(Family.IPV4, "flows").touch()
    pins.create_folders(Family.IPV4)
    assert pins.remove() == ()
    assert other.list() == (other.map(Family.IPV4, "flows"),)


def test_other_schema_versions_are_removed_and_the_rest_stays(pins: Pins, tmp_path: Path) -> None:
    pins.create_folders(Family.IPV4)
    ours, xdp = pins.map(Family.IPV4, "flows"), pins.xdp_links / "7"
    older = tmp_path / f"ebpflb/node-1/v{SCHEMA_VERSION - 1}/ipv4/links/lb_connect4"
    for pin in (ours, xdp, older):
        pin.parent.mkdir(parents=True, exist_ok=True)
        pin.touch()
    assert pins.remove_other_schemas() == (f"v{SCHEMA_VERSION - 1}",)
    assert pins.list() == tuple(sorted((ours, xdp)))
    assert pins.remove_other_schemas() == ()


def test_nothing_to_remove_is_no_error(pins: Pins) -> None:
    assert pins.list() == ()
    assert pins.remove() == ()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(PrerequisiteError, match="mount -t bpf"):
        Pins(file, "node-1").create_folders(Family.IPV4)
