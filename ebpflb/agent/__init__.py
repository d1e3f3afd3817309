"""Wires sources, loop, maps and hooks into one process; holds no logic.

config -> lock -> build -> attach -> (source, netlink) -> loop -> maps; sweeper beside it
"""

from ebpflb.agent.config import AgentConfig
from ebpflb.agent.run import run_agent

__all__ = ["AgentConfig", "run_agent"]
