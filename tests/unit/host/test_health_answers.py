"""What probes read, byte for byte: semantics §1.12 and §1.13."""

from http import HTTPStatus

import pytest

from ebpflb.core.abi import Family
from ebpflb.core.health import HealthCheck
from ebpflb.host.health import (
    ProxyHealth,
    go_time,
    healthz,
    livez,
    proxy_handler,
    service_handler,
    service_health,
)
from ebpflb.host.http_messages import NOT_FOUND, Request, Response

NOW = 1_767_323_045_123_450_000
BEFORE = NOW - 90_000_000_000
WELL = ProxyHealth(is_healthy=True, updated_at_ns=BEFORE, now_ns=NOW)
ILL = ProxyHealth(is_healthy=False, updated_at_ns=BEFORE, now_ns=NOW)
WEB = ("ns", "svc")
NO_SNIFF = ("X-Content-Type-Options", "nosniff")


@pytest.mark.parametrize(
    ("moment_ns", "expected"),
    [
        (NOW, "2026-01-02 03:04:05.12345 +0000 UTC"),
        (1_767_323_045_000_000_000, "2026-01-02 03:04:05 +0000 UTC"),
        (1_767_323_045_000_000_001, "2026-01-02 03:04:05.000000001 +0000 UTC"),
        (1_767_323_045_100_000_000, "2026-01-02 03:04:05.1 +0000 UTC"),
    ],
)
def test_times_are_written_as_go_does(moment_ns: int, expected: str) -> None:
    assert go_time(moment_ns) == expected


@pytest.mark.parametrize(
    ("healthy", "eligible", "code", "live"),
    [(True, True, 200, 200), (True, False, 503, 200), (False, True, 503, 503), (False, False, 503, 503)],
)
def test_the_codes_of_healthz_and_livez(healthy: bool, eligible: bool, code: int, live: int) -> None:
    health = ProxyHealth(healthy, BEFORE, NOW, is_eligible=eligible)
    assert (healthz(health).status, livez(health).status) == (code, live)


def test_the_bodies_of_healthz_and_livez() -> None:
    now, before = "2026-01-02 03:04:05.12345 +0000 UTC", "2026-01-02 03:02:35.12345 +0000 UTC"
    assert healthz(WELL).body == f'{{"lastUpdated": "{now}","currentTime": "{now}", "nodeEligible": true}}'
    assert healthz(ILL).body == f'{{"lastUpdated": "{before}","currentTime": "{now}", "nodeEligible": true}}'
    assert livez(ILL).body == f'{{"lastUpdated": "{before}","currentTime": "{now}"}}'
    for response in (healthz(WELL), livez(WELL)):
        assert response.content_type == "application/json"
        assert response.headers == (NO_SNIFF,)


def test_a_service_with_local_backends() -> None:
    response = service_health(HealthCheck(WEB, 32000, {Family.IPV4: 2}), Family.IPV4, is_healthy=True)
    assert response.status == HTTPStatus.OK
    assert response.body == (
        '{\n\t"service": {\n\t\t"namespace": "ns",\n\t\t"name": "svc"\n\t},\n'
        '\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}'
    )
    assert response.content_type == "application/json"
    assert response.headers == (NO_SNIFF, ("X-Load-Balancing-Endpoint-Weight", "2"))


@pytest.mark.parametrize(("count", "healthy"), [(0, True), (2, False), (0, False)])
def test_a_service_without_local_backends_or_on_a_node_out_of_order(count: int, healthy: bool) -> None:
    response = service_health(HealthCheck(WEB, 32000, {Family.IPV4: count}), Family.IPV4, is_healthy=healthy)
    assert response.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert isinstance(response.body, str)
    assert f'"localEndpoints": {count},\n\t"serviceProxyHealthy": {str(healthy).lower()}\n' in response.body
    assert ("X-Load-Balancing-Endpoint-Weight", str(count)) in response.headers


def test_only_healthz_and_livez_exist_and_are_counted() -> None:
    counted: list[tuple[str, int]] = []
    handle = proxy_handler(lambda: ILL, lambda path, code: counted.append((path, code)))
    assert handle(Request("/", "127.0.0.1")) == NOT_FOUND
    assert handle(Request("/healthz", "127.0.0.1")) == healthz(ILL)
    assert handle(Request("/livez", "127.0.0.1")) == livez(ILL)
    assert counted == [("healthz", 503), ("livez", 503)]


@pytest.mark.parametrize(("address", "family"), [("10.0.0.1", Family.IPV4), ("fd00::1", Family.IPV6)])
def test_a_service_answers_every_path_by_the_family_dialled(address: str, family: Family) -> None:
    check = HealthCheck(WEB, 32000, {Family.IPV4: 1, Family.IPV6: 2})
    checks = {WEB: check}
    handle = service_handler(WEB, lambda: checks, lambda: True)
    expected: Response = service_health(check, family, is_healthy=True)
    assert handle(Request("/", address)) == expected
    assert handle(Request("/what/ever", address)) == expected
    checks.clear()
    assert handle(Request("/", address)) == NOT_FOUND
