"""Decides which of the IP families that are wanted an agent serves: those that the kernel has.

Knows how to ask the kernel; must not know what serving a family takes.

    AgentConfig, kernel -> AgentConfig with fewer families, warnings for `ebpflb status`
"""

import logging
from dataclasses import replace

from ebpflb.agent.config import AgentConfig
from ebpflb.errors import PrerequisiteError
from ebpflb.host.features import probe_family
from ebpflb.host.finding import Level

log = logging.getLogger(__name__)


def keep_served_families(config: AgentConfig) -> tuple[AgentConfig, tuple[str, ...]]:
    """Return the configuration without the families that the kernel lacks, and a warning for each of those.

    Raises ``PrerequisiteError`` when none is left.
    """
    findings = {family: probe_family(family) for family in config.families}
    served = tuple(family for family, finding in findings.items() if finding.level is Level.OK)
    missing = [finding for finding in findings.values() if finding.level is not Level.OK]
    if not served:
        raise PrerequisiteError(
            f"no IP family is left to serve: {'; '.join(f'{each.name}: {each.detail}' for each in missing)}",
            remedy="; ".join(each.remedy for each in missing),
        )
    warnings = tuple(f"{each.name}: {each.detail}; {each.remedy}" for each in missing)
    for text in warnings:
        log.warning("family_missing text=%r", text)
    return replace(config, families=served), warnings
