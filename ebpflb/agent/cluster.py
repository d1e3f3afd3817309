"""Decides which cluster an agent serves: that of an API server, or what a folder of manifests says.

The API client is loaded only where it is asked for: it is large, and a folder needs none of it.

    AgentConfig --reach_cluster--> Cluster: --make_source--> Source, --make_events--> EventWriter
"""

import threading
from dataclasses import dataclass

from ebpflb.agent.config import AgentConfig
from ebpflb.agent.events import EventWriter, LogEvents
from ebpflb.errors import UsageError
from ebpflb.files.folder import FolderSource
from ebpflb.reconcile.ports import Source


@dataclass(frozen=True, slots=True)
class Cluster:
    """Whom an agent serves."""

    source: Source
    events: EventWriter


def reach_cluster(config: AgentConfig, stop: threading.Event) -> Cluster | None:
    """Wait for credentials; return ``None`` if ``stop`` was set and the wait ended for it.

    Raises ``UsageError`` when the cluster cannot be used.
    """
    try:
        return Cluster(make_source(config), make_events(config))
    except UsageError:
        if stop.is_set():
            return None
        raise


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
