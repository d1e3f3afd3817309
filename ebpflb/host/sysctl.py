"""Sets netfilter's connection tracking as kube-proxy does, as far as this kernel has it and this process may.

Decides nothing about values. What cannot be written is no failure: containers see /proc/sys read-only, and another
network namespace than the initial one may not set ``nf_conntrack_max`` at all.

    ConntrackSettings --> /proc/sys/net/netfilter/nf_conntrack_* --> changes, warnings
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

PROC_SYS: Final = Path("/proc/sys")
_FOLDER: Final = Path("net/netfilter")


@dataclass(frozen=True, slots=True)
class ConntrackSettings:
    """What connection tracking shall have; ``None``: as it is."""

    maximum: int | None = None
    """Entries of its table."""
    tcp_established_s: int | None = None
    tcp_close_wait_s: int | None = None
    tcp_be_liberal: bool | None = None
    """Packets outside of the TCP window are no invalid ones."""
    udp_s: int | None = None
    udp_stream_s: int | None = None

    def sysctls(self) -> Iterator[tuple[str, int]]:
        """Yield the name and value of every one that is to be set."""
        values = {
            "nf_conntrack_max": self.maximum,
            "nf_conntrack_tcp_timeout_established": self.tcp_established_s,
            "nf_conntrack_tcp_timeout_close_wait": self.tcp_close_wait_s,
            "nf_conntrack_tcp_be_liberal": self.tcp_be_liberal,
            "nf_conntrack_udp_timeout": self.udp_s,
            "nf_conntrack_udp_timeout_stream": self.udp_stream_s,
        }
        for name, value in values.items():
            if value is not None:
                yield name, int(value)


class Outcome(NamedTuple):
    """What became of the settings."""

    changes: tuple[str, ...]
    """``name: old -> new`` of every sysctl that was written."""
    warnings: tuple[str, ...]
    """What could not be written, and why."""


def set_conntrack(settings: ConntrackSettings, root: Path = PROC_SYS) -> Outcome:
    """Write what differs. A kernel without connection tracking has nothing to be set."""
    changes: list[str] = []
    warnings: list[str] = []
    for name, value in settings.sysctls():
        path = root / _FOLDER / name
        try:
            found = path.read_text().strip()
            if found != str(value):
                path.write_text(str(value))
                changes.append(f"{name}: {found} -> {value}")
        except FileNotFoundError:
            continue
        except OSError as error:
            warnings.append(
                f"{name} cannot be set to {value} ({error.strerror}); set net.netfilter.{name} on the node, "
                "or let the agent write to /proc/sys"
            )
    return Outcome(tuple(changes), tuple(warnings))
