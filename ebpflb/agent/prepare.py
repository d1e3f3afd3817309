"""``--init-only``: what needs full privileges is done, and the agent is left to others.

Attaches nothing: programs whose maps are empty have nothing to do. Knows the order of an agent's start, no more.

    AgentConfig --prepare_node--> settings of the kernel, pinned programs and maps
"""

import logging
import threading

from ebpflb.agent.config import Acceleration, AgentConfig
from ebpflb.agent.families import keep_served_families
from ebpflb.agent.hooks import complete_builds
from ebpflb.agent.run import build_unless_stopped
from ebpflb.agent.tuning import tune_node
from ebpflb.datapath.clock import JiffiesClock
from ebpflb.datapath.programs import L3_PROGRAMS, LATER_PROGRAMS
from ebpflb.host.lock import InstanceLock
from ebpflb.host.mounts import ensure_bpffs

log = logging.getLogger(__name__)


def prepare_node(config: AgentConfig, stop: threading.Event) -> None:
    """Set up the node. Raises ``EbpflbError`` when it cannot be."""
    ensure_bpffs(config.bpffs)
    config, _ = keep_served_families(config)
    with InstanceLock(config.instance, config.pins.root), JiffiesClock() as clock:
        tune_node(config)
        builds = build_unless_stopped(config, clock.hz, stop)
        if not stop.is_set():  # whoever comes after us may not compile
            is_accelerated = config.acceleration is not Acceleration.OFF
            complete_builds(builds, LATER_PROGRAMS if is_accelerated else L3_PROGRAMS)
    log.info("initialized instance=%s pins=%s", config.instance, config.pins.root)
