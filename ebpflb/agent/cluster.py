"""Decides which cluster an agent serves: that of an API server, or what a folder of manifests says.

The API client is loaded only where it is asked for: it is large, and a folder needs none of it.

    AgentConfig --make_source--> Source;  AgentConfig --make_events--> EventWriter
"""

from ebpflb.agent.config import AgentConfig
from ebpflb.agent.events import EventWriter, LogEvents
from ebpflb.files.folder import FolderSource
from ebpflb.reconcile.ports import Source


def make_source(config: AgentConfig) -> Source:
    """Return the source that the configuration asks for; raises ``UsageError`` when it cannot be used."""
    if config.manifests is not None:
        return FolderSource(config.manifests, config.node_name)
    from ebpflb.kube.watch import KubeSource  # noqa: PLC0415 - see above

    return KubeSource(
        config.kubeconfig,
        config.node_name,
        server=config.api_server,
        qps=config.api_qps,
        burst=config.api_burst,
    )


def make_events(config: AgentConfig) -> EventWriter:
    """Return where this agent tells of events; raises ``UsageError`` when the API server cannot be used."""
    if config.manifests is not None:
        return LogEvents()
    from ebpflb.kube.events import KubeEvents  # noqa: PLC0415 - see above

    return KubeEvents(config.kubeconfig, config.node_name, server=config.api_server)
