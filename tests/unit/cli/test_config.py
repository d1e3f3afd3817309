"""What is written about the configuration is what the schema says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from ebpflb.agent.config import Acceleration
from ebpflb.cli import main
from ebpflb.cli.config_own_flags import PATHS
from ebpflb.cli.config_reference import json_schema, reference
from ebpflb.cli.run import command
from ebpflb.core.options import DetectLocal, Forwarding
from ebpflb.core.proxy_config_decode import DEFAULTS
from ebpflb.core.proxy_config_durations import parse_duration
from ebpflb.core.proxy_config_fields import DURATION_PATTERN, FieldType
from ebpflb.core.proxy_config_flags import DEPRECATED, FLAGS, field_type
from ebpflb.datapath.stale import TcpSockets
from tests.unit.cli.json_schemas import complaints
from tests.unit.core.proxy_config_documents import KIND, KUBEADM, document

DOCS = Path(__file__).parents[3] / "docs"
SCHEMA = json_schema()
MARK = "<!-- reference -->\n"


def test_the_reference_is_up_to_date() -> None:
    text = (DOCS / "configuration.md").read_text()
    assert text.partition(MARK)[2] == reference(), "run `ebpflb config reference` and put it behind the mark"


def test_the_schema_is_up_to_date() -> None:
    text = (DOCS / "config.schema.json").read_text()
    assert json.loads(text) == json_schema(), "run `ebpflb config schema > docs/config.schema.json`"


def test_the_verbs_print_them() -> None:
    assert CliRunner().invoke(main, ["config", "reference"]).stdout == reference()
    assert json.loads(CliRunner().invoke(main, ["config", "schema"]).stdout) == json_schema()


def test_the_example_in_the_docs_is_valid() -> None:
    text = (DOCS / "configuration.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert list(complaints(yaml.safe_load(example), SCHEMA)) == []


def test_the_reference_has_a_row_for_every_field() -> None:
    sections = dict(
        re.findall(r"^## (?:`(\S+)`|The document)\n\n(.*?)\n\n", reference() + "\n", re.DOTALL | re.MULTILINE)
    )
    rows = {
        f"{path}.{name}".removeprefix(".")
        for path, table in sections.items()
        for name in re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    }
    assert rows == {path for path, _ in leaves("", DEFAULTS)}


def test_every_flag_of_run_is_in_the_reference() -> None:
    apart = {"--config", "--write-config-to", "--init-only", "--cleanup", "--master", *DEPRECATED}
    flags = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {name for name in flags - apart if f"`{name}`" not in reference()} == set()
    assert {flag.name for flag in FLAGS} | apart <= flags


def test_own_flags_stand_for_fields() -> None:
    assert {parameter.name for parameter in command.params} >= PATHS.keys()
    assert all(field_type(path) for path in PATHS.values())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("ebpflb.acceleration", Acceleration),
        ("ebpflb.forwarding", Forwarding),
        ("ebpflb.closeTcpSockets", TcpSockets),
        ("detectLocalMode", [*DetectLocal, ""]),
    ],
)
def test_words_are_those_of_whoever_acts_on_them(path: str, words: Any) -> None:
    kind = field_type(path).kind
    assert isinstance(kind, msgspec.inspect.LiteralType)
    assert set(kind.values) == {str(word) for word in words}


@pytest.mark.parametrize("text", [KUBEADM, KIND])
def test_files_of_clusters_fit_the_schema(text: str) -> None:
    assert list(complaints(yaml.safe_load(text), SCHEMA)) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"clusterCidr": ""},
        {"mode": "userspace"},
        {"oomScoreAdj": 1001},
        {"conntrack": {"udpTimeout": "soon"}},
        {"ebpflb": {"mapSizes": {"flows": 0}}},
        {"ebpflb": {"instance": "A"}},
        {"kind": "Pod"},
        {"logging": {"vmodule": [{"verbosity": 1}]}},
        {"nodePortAddresses": "primary"},
    ],
)
def test_the_schema_finds_mistakes(fields: dict[str, Any]) -> None:
    assert list(complaints(document(**fields), SCHEMA))


def test_the_schema_knows_durations() -> None:
    for path, default in leaves("", DEFAULTS):
        if field_type(path).is_duration:
            assert re.fullmatch(DURATION_PATTERN, default)
            assert parse_duration(default) >= 0


def leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, msgspec.Struct):
        yield path, value
        return
    for each in msgspec.structs.fields(value):
        assert FieldType.of(each.type)
        yield from leaves(f"{path}.{each.encode_name}".removeprefix("."), getattr(value, each.name))
