"""Programs built for the kernel that runs, by a test that attaches and fills them itself."""

from collections.abc import Iterable

from ebpflb.core.abi import Family
from ebpflb.datapath.build import Build, BuildSpec, MapSizes, build_programs
from ebpflb.datapath.clock import measure_hz
from ebpflb.datapath.kernel_sockets import SocketBits
from ebpflb.datapath.pins import Pins
from ebpflb.datapath.programs import Program
from ebpflb.host.features import SET_RETVAL, probe_feature
from ebpflb.host.finding import Level

_NO_BITS, _DEFAULT_SIZES = SocketBits(), MapSizes()


def can_set_retval() -> bool:
    """Say whether a socket hook can choose its error here."""
    return probe_feature(SET_RETVAL).level is Level.OK


def built(
    family: Family,
    pins: Pins,
    programs: Iterable[Program],
    socket_bits: SocketBits = _NO_BITS,
    sizes: MapSizes = _DEFAULT_SIZES,
) -> Build:
    """Build these programs and no more: a guest compiles for minutes."""
    pins.create_folders(family)
    spec = BuildSpec(
        family,
        pins.maps(family),
        pins.progs(family),
        hz=measure_hz(),
        host_netns_cookie=None,
        hairpin_address=bytes(family.address_bytes),
        have_set_retval=can_set_retval(),
        socket_bits=socket_bits,
        sizes=sizes,
    )
    return build_programs(spec, programs)
