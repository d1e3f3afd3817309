"""The flag of ``bpf_l4_csum_replace`` is used where the kernel knows it, and only there."""

import platform

import pytest

from ebpflb.datapath import checksums, libbpf
from ebpflb.datapath.checksums import BPF_F_IPV6, csum_ipv6_flag
from ebpflb.errors import MapError

pytestmark = pytest.mark.root

SINCE = (6, 16)


def test_a_kernel_that_certainly_knows_the_flag_is_found_to() -> None:
    version = tuple(int(part) for part in platform.release().split(".")[:2])
    assert csum_ipv6_flag() == BPF_F_IPV6 or version < SINCE


def test_a_flag_that_no_kernel_knows_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "BPF_F_IPV6", 1 << 30)
    assert csum_ipv6_flag() == 0


def test_where_nothing_may_be_loaded_no_flag_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise MapError("no permission")

    monkeypatch.setattr(libbpf, "load_program", refuse)
    assert csum_ipv6_flag() == 0
