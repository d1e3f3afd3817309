import re
from enum import IntEnum, IntFlag
from pathlib import Path

import pytest

from ebpflb.core import abi

FOLDER = Path(__file__).parents[3] / "bpf" / "lb"
HEADER = "".join((FOLDER / name).read_text() for name in ("abi.h", "kinds.h", "counter.h"))
ENUMS: dict[str, tuple[str, type[IntEnum] | type[IntFlag]]] = {
    "lb_frontend_kind": ("LB_KIND_", abi.FrontendKind),
    "lb_algorithm": ("LB_ALGORITHM_", abi.Algorithm),
    "lb_frontend_flag": ("LB_FRONTEND_", abi.FrontendFlag),
    "lb_backend_state": ("LB_BACKEND_", abi.BackendState),
    "lb_backend_flag": ("LB_BACKEND_", abi.BackendFlag),
    "lb_member_set": ("LB_MEMBER_", abi.MemberSet),
    "lb_device_flag": ("LB_DEVICE_", abi.DeviceFlag),
    "lb_node_addr_flag": ("LB_NODE_ADDR_", abi.NodeAddrFlag),
    "lb_config_flag": ("LB_CONFIG_", abi.ConfigFlag),
    "lb_flow_flag": ("LB_FLOW_", abi.FlowFlag),
    "lb_flow_seen": ("LB_SEEN_", abi.FlowSeen),
    "lb_counter": ("LB_COUNTER_", abi.Counter),
}


def enums_of(text: str) -> dict[str, dict[str, int]]:
    """Every enum of a C header: name -> constant -> number."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return {
        name: {constant: int(number) for constant, number in re.findall(r"(\w+)\s*=\s*(\d+)", body)}
        for name, body in re.findall(r"enum\s+(\w+)\s*\{(.*?)\}", text, flags=re.DOTALL)
    }


def test_every_enum_of_the_header_is_mirrored() -> None:
    assert enums_of(HEADER).keys() == ENUMS.keys()


@pytest.mark.parametrize("name", ENUMS)
def test_names_and_numbers_are_the_header_s(name: str) -> None:
    prefix, mirror = ENUMS[name]
    constants = enums_of(HEADER)[name]
    constants.pop("LB_COUNTER_MAX", None)
    assert {prefix + member.name: int(member) for member in mirror if member.name} == constants


def test_the_counter_array_has_no_spare_entry() -> None:
    assert enums_of(HEADER)["lb_counter"]["LB_COUNTER_MAX"] == len(abi.Counter)


def test_array_lengths_are_the_header_s() -> None:
    assert f"u32 backend_id[{abi.SLOTS_PER_LINE}];" in HEADER
    assert f"char name[{abi.SERVICE_NAME_BYTES}];" in HEADER
    assert f"#define LB_HELD_BYTES {abi.HELD_BYTES}" in HEADER


def test_marks_are_the_header_s() -> None:
    assert re.search(rf"#define LB_MARK_BITS\s+{abi.MARK_BITS}\n", HEADER)
    assert re.search(rf"#define LB_MARK_FACTOR\s+{abi.MARK_FACTOR:#x}u\n", HEADER)


def test_a_family_knows_the_length_of_its_addresses() -> None:
    assert (abi.Family.IPV4.address_bytes, abi.Family.IPV6.address_bytes) == (4, 16)
