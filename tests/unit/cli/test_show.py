import json

import pytest
import yaml

from ebpflb.cli.columns import COLUMNS, cells, headers
from ebpflb.cli.node_maps import NODE_MAPS
from ebpflb.cli.service_maps import SERVICE_MAPS
from ebpflb.cli.show import print_document, print_table, table_lines
from ebpflb.datapath.layout import MAP_NAMES
from tests.unit.cli.worlds import tables

DOCUMENT = {"b": [1, None, "é"], "a": {"z": True, "y": "[::1]:80"}}


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_documents_keep_values_and_the_order_of_keys(
    form: str, load: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(load)
    print_document(DOCUMENT, form)
    text = capsys.readouterr().out
    assert load(text) == DOCUMENT
    assert text.index("b") < text.index("a")
    assert "é" in text


def test_table_liness_are_aligned_and_whole() -> None:
    long = "x" * 300
    lines = table_lines(["A", "LONG HEADER"], [["[fd00::1]:80/TCP", ""], [long, "y"]])
    assert lines[0].index("LONG HEADER") == lines[2].index("y") == 302
    assert lines[1] == "[fd00::1]:80/TCP"


def test_a_table_without_rows_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("flows (ipv4, 0)", ["state"], [])
    assert capsys.readouterr().out == "flows (ipv4, 0)\nSTATE\n(empty)\n"


def test_every_map_has_columns() -> None:
    assert set(COLUMNS) == set(MAP_NAMES)


def test_frontends_as_cells() -> None:
    rows = [dict(zip(headers("frontends"), row, strict=True)) for row in table("frontends")]
    assert rows[2] == {
        "frontend": "10.96.0.10:80/TCP",
        "kind": "ClusterIP",
        "service": "default/web:http/TCP",
        "algorithm": "random",
        "policy": "Cluster",
        "options": "-",
        "affinity": "60s",
        "cluster backends": "10.1.0.1:8080/TCP, 10.1.0.2:8080/TCP, 10.1.0.3:8080/TCP and 1 more",
        "local backends": "10.1.0.1:8080/TCP",
    }
    assert (rows[0]["options"], rows[4]["affinity"], rows[4]["cluster backends"]) == ("dsr", "-", "-")
    assert list(rows[1].values()) == ["10.96.0.10", "Address", *["-"] * 7]


def test_slots_as_cells() -> None:
    assert table("slots")[1][-1] == (
        "10.1.0.1:8080/TCP 2 (40.0%), 10.1.0.2:8080/TCP 1 (20.0%), "
        "10.1.0.3:8080/TCP 1 (20.0%), 10.1.0.4:8080/TCP 1 (20.0%)"
    )


def test_flows_and_affinity_as_cells() -> None:
    flow = {
        "protocol": "TCP",
        "source": "a",
        "destination": "b",
        "to_source": "c",
        "to_destination": "d",
        "direction": "request",
        "state": "established",
        "paired": False,
        "age_s": 1.25,
        "flags": [],
        "service": None,
        "service_id": 3,
        "backend": "d/TCP",
        "backend_alive": False,
    }
    assert cells("flows", [flow]) == [
        [*("TCP", "a > b", "c > d", "request"), *("established (half)", "1.2s", "-", "unknown (id 3)", "d/TCP (gone)")]
    ]
    remembered = {
        "service": "n/s/TCP",
        "service_id": 3,
        "client_address": None,
        "client_netns_cookie": 8,
        "backend": None,
        "backend_id": 5,
        "seconds_left": 0.0,
    }
    assert cells("affinity", [remembered]) == [["n/s/TCP", "sockets of netns 8", "gone (id 5)", "expired"]]


def table(name: str) -> list[list[str]]:
    rows = NODE_MAPS[name](tables()) if name in NODE_MAPS else SERVICE_MAPS[name](tables(), None)
    return cells(name, rows)
