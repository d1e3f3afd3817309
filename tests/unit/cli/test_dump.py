import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ebpflb.cli import main
from ebpflb.cli.columns import COLUMNS
from ebpflb.cli.dump import command
from ebpflb.cli.flow_maps import FLOW_MAPS
from ebpflb.cli.node_maps import NODE_MAPS
from ebpflb.cli.pinned import maps_to_read
from ebpflb.cli.service_maps import SERVICE_MAPS
from ebpflb.datapath.layout import MAP_NAMES


def dump(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["dump-maps", *arguments])


@pytest.fixture(name="as_root")
def _as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def one_line(result: Result) -> str:
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["flow"], "there is no map 'flow', only frontends, backends, slots,"),
        (["--service", "web"], "--service 'web': write it as NAMESPACE/NAME"),
        (["--service", "a/b/c"], "--service 'a/b/c': write it as NAMESPACE/NAME"),
        (["--service", "a/"], "--service 'a/': write it as NAMESPACE/NAME"),
        (["--service", "a/b", "flows", "counters"], "--service: map 'counters' belongs to the node"),
        (["-o", "xml"], "'xml' is not one of 'table', 'json', 'yaml'"),
        (["--instance", "A"], "'A' must be 1 to 32 lower-case letters"),
        (["--instance", "a" * 33], "must be 1 to 32 lower-case letters"),
        (["--instance", "-a"], "must be 1 to 32 lower-case letters"),
        (["--instance", "../a"], "must be 1 to 32 lower-case letters"),
    ],
)
def test_what_cannot_be_asked_for(arguments: list[str], words: str) -> None:
    result = dump(*arguments)
    assert result.exit_code == 2
    assert words in one_line(result)


def test_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = dump()
    assert result.exit_code == 3
    assert one_line(result).startswith("ebpflb: dump-maps needs root")


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ([], "there are no maps, nor any other instance's"),
        (
            ["ebpflb/blue", "ebpflb/green"],
            "there is no such instance; name one that exists with --instance: blue, green",
        ),
        (["ebpflb/default/v0/ipv4/maps"], "has pins, but no maps of schema version"),
    ],
)
def test_no_such_instance(tmp_path: Path, as_root: None, folders: list[str], words: str) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    result = dump("--bpffs", str(tmp_path))
    assert result.exit_code == 1
    line = one_line(result)
    assert line.startswith("ebpflb: instance default: ")
    assert words in line


def test_maps_are_read_in_the_order_of_the_schema() -> None:
    assert maps_to_read([], of_service=False) == list(MAP_NAMES)
    assert maps_to_read(["flows", "frontends", "flows"], of_service=False) == ["frontends", "flows"]
    of_node = {
        "node_addrs",
        "devices",
        "opt_outs",
        "service_cidrs",
        "config",
        "datagrams",
        "held_fragments",
        "counters",
        "marks",
        "changes",
    }
    assert set(MAP_NAMES) - set(maps_to_read([], of_service=True)) == of_node


def test_every_map_can_be_read_and_shown() -> None:
    assert SERVICE_MAPS.keys() | NODE_MAPS.keys() | FLOW_MAPS.keys() == COLUMNS.keys() == set(MAP_NAMES)


def test_help_names_every_map() -> None:
    for name in MAP_NAMES:
        assert name in (command.help or "")
