"""What the configuration of a node decides about every Service, as a value.

Knows no flag and no file; what a single Service says against it is ``forwarding.py``'s.

    command line, configuration file --> Options --> compile
"""

from dataclasses import dataclass
from enum import StrEnum


class Forwarding(StrEnum):
    """Which way a reply from a backend on another node goes to a client outside."""

    SNAT = "snat"
    """Back through the node that the client dialled."""
    DSR = "dsr"
    """Directly: the backend's node answers with the Service's address."""
    HYBRID = "hybrid"
    """TCP directly, the rest back: a UDP or SCTP sender is told of no smaller segment size."""


@dataclass(frozen=True, slots=True)
class Options:
    """One node's settings. All nodes of a cluster need the same ``forwarding``: each does a half of DSR."""

    forwarding: Forwarding = Forwarding.SNAT


DEFAULTS = Options()
"""What a node does that is told nothing."""
