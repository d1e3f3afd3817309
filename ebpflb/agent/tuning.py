"""The settings of the kernel that an agent makes for its node.

One that cannot be made is a warning: no Service needs it. Knows no value.

AgentConfig --tune_node--> sysctls of connection tracking, OOM score
"""

import logging

from ebpflb.agent.config import AgentConfig
from ebpflb.host.oom import set_oom_score_adj
from ebpflb.host.sysctl import set_conntrack

log = logging.getLogger(__name__)


def tune_node(config: AgentConfig) -> None:
    """Set connection tracking and the OOM score."""
    outcome = set_conntrack(config.conntrack)
    for change in outcome.changes:
        log.info("conntrack_set change=%r", change)
    for warning in outcome.warnings:
        log.warning("conntrack_unset reason=%r", warning)
    failure = "" if config.oom_score_adj is None else set_oom_score_adj(config.oom_score_adj)
    if failure:
        log.warning("oom_score_unset reason=%r", failure)
