import stat
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from ebpflb.errors import ObjectError, UsageError
from ebpflb.reconcile.status import FailedRow, FamilyStatus, RefusedObject, Status, StatusFile, Usage
from tests.unit.reconcile.world import START

STATUS = Status(
    node_name="node-1",
    started_at=START,
    waiting_for=("Host",),
    source_error="connection lost",
    objects={"Service": 2},
    refused=(RefusedObject("Service default/web", "spec.ports", "is no list", "make it a list"),),
    families=(
        FamilyStatus(
            family=4,
            maps={"frontends": Usage(3, 64)},
            service_ports=2,
            failed_rows=(FailedRow("members", "service 1 backend 2", "the map is full"),),
            next_retry_at=START,
            repairs=1,
        ),
    ),
    pending_since=START,
)


def test_json_carries_everything_there_and_back() -> None:
    assert Status.from_json(STATUS.to_json()) == STATUS
    assert msgspec.json.decode(STATUS.to_json())["started_at"] == "2026-01-01T00:00:00Z"


def test_a_refusal_says_object_field_reason_and_remedy() -> None:
    error = ObjectError("Service", "default/web", "spec.ports", "is no list", "make it a list")
    assert RefusedObject.from_error(error) == STATUS.refused[0]


def test_the_file_is_replaced_at_once_and_readable_by_all(tmp_path: Path) -> None:
    file = StatusFile(tmp_path / "run" / "status.json")
    file.write(STATUS)
    with file.path.open("rb") as opened:
        file.write(replace(STATUS, node_name="node-2"))
        assert Status.from_json(opened.read()) == STATUS
    assert file.read().node_name == "node-2"
    assert list(file.path.parent.iterdir()) == [file.path]
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o644


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    file = StatusFile(tmp_path / "status.json")
    file.write(STATUS)
    with pytest.raises(TypeError):
        file.write(replace(STATUS, objects={"Service": object()}))  # type: ignore[dict-item]
    assert file.read() == STATUS
    assert list(tmp_path.iterdir()) == [file.path]


def test_a_missing_or_foreign_file_is_one_clear_line(tmp_path: Path) -> None:
    file = StatusFile(tmp_path / "status.json")
    with pytest.raises(UsageError, match="no agent has left its status here; start one"):
        file.read()
    file.path.write_text("{}")
    with pytest.raises(UsageError, match="not the status of this version"):
        file.read()
    with pytest.raises(UsageError, match="Is a directory"):
        StatusFile(tmp_path).read()
