"""The layouts of this schema version."""

import numpy as np
import pytest

from ebpflb.core.abi import Family
from ebpflb.datapath.layout import MAP_NAMES, Layout, check_layout, describe, layout_of
from ebpflb.errors import LayoutError

SIZES = {
    # name: key and value in bytes, IPv4, IPv6
    "frontends": ((8, 28), (20, 28)),
    "backends": ((4, 16), (4, 28)),
    "slots": ((4, 64), (4, 64)),
    "services": ((4, 200), (4, 200)),
    "members": ((8, 4), (8, 4)),
    "affinity": ((16, 12), (32, 12)),
    "flows": ((16, 32), (40, 56)),
    "sock_origins": ((16, 20), (32, 32)),
    "sock_choices": ((16, 12), (32, 12)),
    "node_addrs": ((4, 4), (16, 4)),
    "devices": ((4, 12), (4, 24)),
    "pending": ((16, 32), (40, 56)),
    "local_backends": ((8, 4), (20, 4)),
    "source_ranges": ((12, 4), (24, 4)),
    "opt_outs": ((8, 4), (8, 4)),
    "service_cidrs": ((8, 4), (20, 4)),
    "config": ((4, 20), (4, 68)),
    "datagrams": ((16, 20), (40, 20)),
    "held_fragments": ((20, 2048), (44, 2048)),
    "counters": ((4, 8), (4, 8)),
    "marks": ((4, 8), (4, 8)),
    "changes": ((4, 12), (4, 12)),
}


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("name", MAP_NAMES)
def test_sizes_are_those_of_c(name: str, family: Family) -> None:
    layout = layout_of(name, family)
    assert (layout.key.itemsize, layout.value.itemsize) == SIZES[name][family is Family.IPV6]


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("name", MAP_NAMES)
def test_a_map_of_this_schema_passes(name: str, family: Family) -> None:
    check_layout(name, family, layout_of(name, family))


def test_a_moved_field_is_refused_with_both_layouts() -> None:
    wanted = layout_of("members", Family.IPV4)
    moved = np.dtype({"names": ["backend_id", "service_id"], "formats": ["=u4", "=u4"], "offsets": [0, 4]})
    with pytest.raises(LayoutError) as caught:
        check_layout("members", Family.IPV4, Layout(moved, wanted.value))
    assert "key {backend_id:<u4@0 service_id:<u4@4} 8 bytes" in str(caught.value)
    assert "key {service_id:<u4@0 backend_id:<u4@4} 8 bytes" in str(caught.value)
    assert "ebpflb cleanup" in str(caught.value)


def test_another_byte_order_or_size_is_refused() -> None:
    wanted = layout_of("counters", Family.IPV4)
    for key, value in ((np.dtype(">u4"), wanted.value), (wanted.key, np.dtype("=u4"))):
        with pytest.raises(LayoutError):
            check_layout("counters", Family.IPV4, Layout(key, value))


def test_the_maps_of_one_family_are_not_those_of_the_other() -> None:
    with pytest.raises(LayoutError):
        check_layout("flows", Family.IPV6, layout_of("flows", Family.IPV4))


def test_a_description_shows_arrays_and_nesting() -> None:
    described = "{snat_address:{word:>u4[4]@0} 16 bytes@0 mtu:<u4@16 flags:<u4@20} 24 bytes"
    assert describe(layout_of("devices", Family.IPV6).value) == described


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("name", MAP_NAMES)
def test_no_key_has_hidden_padding(name: str, family: Family) -> None:
    """The kernel hashes every byte of a key; C leaves implicit padding undefined."""
    key = layout_of(name, family).key
    sizes = [key.itemsize] if key.fields is None else [field[0].itemsize for field in key.fields.values()]
    assert sum(sizes) == key.itemsize
