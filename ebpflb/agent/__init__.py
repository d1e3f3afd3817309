"""Wires sources, loop, maps and hooks into one process; holds no logic.

config -> lock -> build -> attach -> (source, netlink) -> loop -> maps; sweeper beside it
"""

from ebpflb.agent.config import AgentConfig

__all__ = ["AgentConfig"]
