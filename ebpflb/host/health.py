"""What load balancers and kubelet are answered when they ask for this node's health: paths, codes, headers, bodies.

Every byte is kube-proxy's: cloud providers' probes read them. Knows how healthy the proxy is and what local backends
there are; must not know how either is found out.

    ProxyHealth, HealthCheck --> Response
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from ebpflb.core.abi import Family
from ebpflb.core.health import HealthCheck
from ebpflb.core.model import ObjectKey
from ebpflb.host.http_messages import JSON, NOT_FOUND, Request, Response
from ebpflb.host.http_server import Handler

_NS: Final = 1_000_000_000
WEIGHT_HEADER: Final = "X-Load-Balancing-Endpoint-Weight"

_NO_SNIFF: Final = ("X-Content-Type-Options", "nosniff")

_SERVICE_BODY: Final = """{{
\t"service": {{
\t\t"namespace": {namespace},
\t\t"name": {name}
\t}},
\t"localEndpoints": {count},
\t"serviceProxyHealthy": {healthy}
}}"""


@dataclass(frozen=True, slots=True)
class ProxyHealth:
    """How it stands with the proxy as a whole, as of now."""

    is_healthy: bool
    updated_at_ns: int
    """When the maps last took what they should hold, in nanoseconds since the epoch."""
    now_ns: int
    is_eligible: bool = True
    """The node is not about to go."""


def healthz(health: ProxyHealth) -> Response:
    """Answer whether this node may be sent new connections."""
    eligible = json.dumps(health.is_eligible)
    body = f'{{{_times(health)}, "nodeEligible": {eligible}}}'
    return _answer(body, is_good=health.is_healthy and health.is_eligible)


def livez(health: ProxyHealth) -> Response:
    """Answer whether the proxy works, whatever becomes of its node."""
    return _answer(f"{{{_times(health)}}}", is_good=health.is_healthy)


def service_health(check: HealthCheck, family: Family, *, is_healthy: bool) -> Response:
    """Answer whether this node has backends of a Service, and how many."""
    count = check.count(family)
    namespace, name = check.service
    body = _SERVICE_BODY.format(
        namespace=json.dumps(namespace), name=json.dumps(name), count=count, healthy=json.dumps(is_healthy)
    )
    return _answer(body, is_good=is_healthy and count > 0, headers=((WEIGHT_HEADER, str(count)),))


def _answer(body: str, *, is_good: bool, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    status = HTTPStatus.OK if is_good else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(body, status, JSON, (_NO_SNIFF, *headers))


def _times(health: ProxyHealth) -> str:
    """Return both times. A healthy proxy is up to date, however long ago anything changed."""
    updated_at_ns = health.now_ns if health.is_healthy else health.updated_at_ns
    return f'"lastUpdated": "{go_time(updated_at_ns)}","currentTime": "{go_time(health.now_ns)}"'


def go_time(moment_ns: int) -> str:
    """Return a moment as Go's ``time.Time.String`` writes it: trailing zeros of the fraction are left out."""
    seconds, fraction = divmod(moment_ns, _NS)
    date = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    digits = f".{fraction:09}".rstrip("0") if fraction else ""
    return f"{date}{digits} +0000 UTC"


def proxy_handler(health: Callable[[], ProxyHealth], on_answer: Callable[[str, int], None]) -> Handler:
    """Return the handler of /healthz and /livez; ``on_answer`` hears the path without its slash, and the code."""

    def handle(request: Request) -> Response:
        answers = {"/healthz": healthz, "/livez": livez}
        if request.path not in answers:
            return NOT_FOUND
        response = answers[request.path](health())
        on_answer(request.path.removeprefix("/"), response.status.value)
        return response

    return handle


def service_handler(
    service: ObjectKey, checks: Callable[[], Mapping[ObjectKey, HealthCheck]], is_healthy: Callable[[], bool]
) -> Handler:
    """Return the handler of one Service's port: every path is the same."""

    def handle(request: Request) -> Response:
        family = Family.IPV6 if ":" in request.local_address else Family.IPV4
        check = checks().get(service)
        if check is None:
            return NOT_FOUND  # the port is about to close
        return service_health(check, family, is_healthy=is_healthy())

    return handle
