"""How the core says that something a Service asks for is not done: in words, never silently.

Knows nothing of what can be wrong.

    a rule of the core --> Refusal --> Compiled.refused --> status, log
"""

from dataclasses import dataclass

from ebpflb.core.model import Service


@dataclass(frozen=True, slots=True)
class Refusal:
    """What of a Service is not programmed, why, and what would help. The rest of the cluster is unaffected."""

    service: str
    """``namespace/name``."""
    field: str
    reason: str
    remedy: str


def service_text(service: Service) -> str:
    """Return ``namespace/name``."""
    return f"{service.namespace}/{service.name}"
