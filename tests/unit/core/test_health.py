"""Who asks for a health check, and what is found on this node: semantics §1.12 and §1.13, rule by rule."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock

import pytest

from ebpflb.core import health
from ebpflb.core.abi import Family, Protocol
from ebpflb.core.changes import changes_between, trigger_time
from ebpflb.core.compile import Allocation, compile_tables
from ebpflb.core.health import HealthCheck, HealthChecks, WithoutLocal, count_without_local, health_addresses
from ebpflb.core.manifest import convert_node, convert_service, convert_slice
from ebpflb.core.model import (
    EndpointPort,
    EndpointSlice,
    Host,
    Node,
    ObjectKey,
    Service,
    ServicePort,
    ServiceType,
    Snapshot,
    parse_address,
)
from ebpflb.core.options import Options
from ebpflb.errors import ObjectError
from tests.story import Story
from tests.unit.core.factories import HERE, HTTP, NODE_HTTP, ROOMY, endpoint, endpoint_slice, service, snapshot


def load_balancer(**spec: Any) -> Any:
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000, **spec}
    spec = {"clusterIP": "10.96.0.10", "ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec}


def a_node(metadata: dict[str, Any] | None = None, taints: list[Any] | None = None) -> Node:
    document = {"metadata": {"name": "n1", **(metadata or {})}, "spec": {"taints": taints}}
    node = convert_node({"apiVersion": "v1", "kind": "Node", **document})
    assert isinstance(node, Node)
    return node


class TestReading:
    @pytest.mark.parametrize(
        ("spec", "port"),
        [
            ({}, 32000),
            ({"healthCheckNodePort": 0}, 0),
            ({"healthCheckNodePort": None}, 0),
            ({"externalTrafficPolicy": "Cluster"}, 0),
            ({"externalTrafficPolicy": None}, 0),
            ({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}, 0),
            ({"type": "ClusterIP", "externalIPs": ["192.0.2.1"]}, 0),
        ],
    )
    def test_only_load_balancers_with_local_policy_have_a_port(self, spec: dict[str, Any], port: int) -> None:
        found = convert_service(load_balancer(**spec))
        assert isinstance(found, Service)
        assert found.health_check_node_port == port

    def test_a_port_that_is_none_is_refused(self) -> None:
        with pytest.raises(ObjectError, match=r"spec\.healthCheckNodePort: 70000 is not a port"):
            convert_service(load_balancer(healthCheckNodePort=70000))

    @pytest.mark.parametrize(
        ("metadata", "taints", "eligible"),
        [
            ({}, None, True),
            ({}, [], True),
            ({}, [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}], True),
            ({}, [{"key": "x"}, {"key": "ToBeDeletedByClusterAutoscaler"}], False),
            ({}, [{"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"}], False),
            ({"deletionTimestamp": "2026-01-02T03:04:05Z"}, None, False),
            ({"deletionTimestamp": None}, [{}], True),
        ],
    )
    def test_a_node_about_to_go_is_not_eligible(
        self, metadata: dict[str, Any], taints: list[Any] | None, eligible: bool
    ) -> None:
        assert a_node(metadata, taints).is_eligible is eligible

    @pytest.mark.parametrize("text", ["2026-01-02T03:04:05.123456Z", "yesterday", ""])
    def test_the_trigger_time_is_kept_as_written(self, text: str) -> None:
        metadata = {
            "name": "web-1",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "web"},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": text},
        }
        found = convert_slice(
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4"}
        )
        assert isinstance(found, EndpointSlice)
        assert found.triggered_at == text


LB = ServiceType.LOAD_BALANCER
V4, V6 = Family.IPV4, Family.IPV6
HTTPS = EndpointPort("https", Protocol.TCP, 8443)


class Checks(HealthChecks):
    """Told in snapshots."""

    def __init__(self, node_name: str) -> None:
        super().__init__(node_name)
        self._story = Story()

    def follow(self, given: Snapshot) -> set[ObjectKey]:
        return self.take(self._story.changes(given))


def checked(name: str = "web", **rest: Any) -> Service:
    return service(name, type=LB, external_local=True, health_check_node_port=32000, **rest)


def health_checks(given: Snapshot) -> Mapping[ObjectKey, HealthCheck]:
    checks = Checks(HERE)
    checks.follow(given)
    return checks.current


def count(*slices: EndpointSlice, of: Service | None = None, family: Family = V4) -> int:
    of = of or checked()
    return health_checks(snapshot(of, *slices))[of.key].count(family)


class TestCount:
    def test_services_without_a_port_have_no_check(self) -> None:
        plain = service("plain", type=LB, external_local=True)
        found = health_checks(snapshot(checked(), plain, endpoint_slice(endpoint("10.0.0.1", HERE))))
        assert found == {("shop", "web"): HealthCheck(("shop", "web"), 32000, {V4: 1})}
        assert health_checks(snapshot(plain)) == {}

    def test_without_endpoints_it_is_zero(self) -> None:
        assert count() == 0

    def test_only_ready_endpoints_of_this_node_count(self) -> None:
        endpoints = (
            endpoint("10.0.0.1", HERE),
            endpoint("10.0.0.2", "n2"),
            endpoint("10.0.0.3", HERE, ready=False),
            endpoint("10.0.0.4", HERE, ready=False, serving=True, terminating=True),
            endpoint("10.0.0.5", ""),
        )
        assert count(endpoint_slice(*endpoints)) == 1

    def test_terminating_ones_that_still_serve_the_fallback_do_not_count(self) -> None:
        leaving = endpoint("10.0.0.4", HERE, ready=False, serving=True, terminating=True)
        assert count(endpoint_slice(leaving)) == 0

    def test_a_ready_one_counts_though_it_terminates_with_unready_addresses_published(self) -> None:
        assert count(endpoint_slice(endpoint("10.0.0.4", HERE, ready=True, terminating=True))) == 1

    def test_an_address_counts_once_over_all_ports(self) -> None:
        ports = (HTTP, ServicePort("https", Protocol.TCP, 443))
        both = (EndpointPort("http", Protocol.TCP, 8080), HTTPS)
        slices = (
            endpoint_slice(endpoint("10.0.0.1", HERE), ports=both),
            endpoint_slice(endpoint("10.0.0.1", HERE), endpoint("10.0.0.2", HERE), name="web-2", ports=(HTTPS,)),
        )
        assert count(*slices, of=checked(ports=ports)) == 2

    def test_ports_that_the_service_does_not_have_do_not_count(self) -> None:
        assert count(endpoint_slice(endpoint("10.0.0.1", HERE), ports=(HTTPS,))) == 0

    def test_slices_of_other_services_do_not_count(self) -> None:
        assert count(endpoint_slice(endpoint("10.0.0.1", HERE), of="other")) == 0

    def test_each_family_has_its_own_count(self) -> None:
        dual = replace(checked(), cluster_ips=(parse_address("10.96.0.1"), parse_address("fd00::1")))
        slices = (
            endpoint_slice(endpoint("10.0.0.1", HERE), endpoint("10.0.0.2", HERE)),
            endpoint_slice(endpoint("fd00::a", HERE), name="web-6", family=V6),
        )
        assert count(*slices, of=dual) == 2
        assert count(*slices, of=dual, family=V6) == 1

    def test_who_asks_over_a_family_that_the_service_lacks_hears_of_the_other_one(self) -> None:
        assert count(endpoint_slice(endpoint("10.0.0.1", HERE)), family=V6) == 1
        assert HealthCheck(("shop", "web"), 32000).count(V6) == 0


class TestSnapshotAfterSnapshot:
    WEB, API = checked("web"), checked("api")
    WEB_1 = endpoint_slice(endpoint("10.0.0.1", HERE))
    API_1 = endpoint_slice(endpoint("10.0.0.2", HERE), of="api", name="api-1")

    @pytest.fixture(name="checks")
    def _checks(self) -> Checks:
        checks = Checks(HERE)
        assert checks.follow(snapshot(self.WEB, self.API, self.WEB_1, self.API_1)) == {self.WEB.key, self.API.key}
        return checks

    def test_what_was_not_touched_is_not_counted_again(self, checks: Checks, monkeypatch: pytest.MonkeyPatch) -> None:
        counting = Mock(wraps=health._health_check)
        monkeypatch.setattr(health, "_health_check", counting)
        before = checks.current
        assert checks.follow(snapshot(self.WEB, self.API, self.WEB_1, self.API_1, service("c"))) == set()
        assert (counting.call_count, checks.current) == (0, before)
        two = endpoint_slice(endpoint("10.0.0.1", HERE), endpoint("10.0.0.3", HERE))
        assert checks.follow(snapshot(self.WEB, self.API, two, self.API_1)) == {self.WEB.key}
        assert [call.args[0] for call in counting.call_args_list] == [self.WEB]
        assert (before[self.WEB.key].count(V4), checks.current[self.WEB.key].count(V4)) == (1, 2)
        assert checks.current[self.API.key] is before[self.API.key]

    def test_a_slice_that_changes_hands_counts_for_its_new_service_only(self, checks: Checks) -> None:
        moved = replace(self.WEB_1, service_name="api")
        assert checks.follow(snapshot(self.WEB, self.API, moved, self.API_1)) == {self.WEB.key, self.API.key}
        assert [checks.current[each.key].count(V4) for each in (self.WEB, self.API)] == [0, 2]
        assert checks.follow(snapshot(self.WEB, self.API, self.API_1)) == {self.API.key}
        assert [checks.current[each.key].count(V4) for each in (self.WEB, self.API)] == [0, 1]

    def test_a_service_may_come_to_want_a_port_after_its_slices(self) -> None:
        checks = Checks(HERE)
        assert checks.follow(snapshot(service("web"), self.WEB_1)) == set()
        assert checks.follow(snapshot(self.WEB, self.WEB_1)) == {self.WEB.key}
        assert checks.current[self.WEB.key].count(V4) == 1
        assert checks.follow(snapshot(service("web"), self.WEB_1)) == {self.WEB.key}
        assert checks.current == {}

    def test_a_service_that_goes_and_comes_again(self, checks: Checks) -> None:
        assert checks.follow(snapshot(self.API, self.WEB_1, self.API_1)) == {self.WEB.key}
        assert checks.current.keys() == {self.API.key}
        assert checks.follow(snapshot(self.WEB, self.API, self.WEB_1, self.API_1)) == {self.WEB.key}
        assert checks.current[self.WEB.key].count(V4) == 1

    def test_changes_that_leave_the_count_are_no_news(self, checks: Checks) -> None:
        elsewhere = endpoint_slice(endpoint("10.0.0.1", HERE), endpoint("10.0.0.9", "n2"))
        assert checks.follow(snapshot(self.WEB, self.API, elsewhere, self.API_1)) == set()


class TestAddresses:
    HOST = Host(addresses=frozenset(map(parse_address, ("192.0.2.1", "10.9.0.1", "2001:db8::1"))))
    NODE = Node(HERE, addresses=(parse_address("192.0.2.1"), parse_address("2001:db8::1")))

    @pytest.mark.parametrize(
        ("given", "family", "expected"),
        [
            ((), V4, ["192.0.2.1"]),
            ((), V6, ["2001:db8::1"]),
            (("primary",), V4, ["192.0.2.1"]),
            (("10.0.0.0/8",), V4, ["10.9.0.1"]),
            (("10.0.0.0/8",), V6, ["::"]),
            (("0.0.0.0/0", "10.0.0.0/8"), V4, ["0.0.0.0"]),
            (("172.16.0.0/12",), V4, []),
        ],
    )
    def test_ports_listen_where_node_ports_hold(
        self, given: tuple[str, ...], family: Family, expected: list[str]
    ) -> None:
        found = health_addresses(snapshot(node=self.NODE, host=self.HOST), family, Options(node_port_addresses=given))
        assert found == tuple(map(parse_address, expected))

    def test_a_node_of_which_nothing_is_known_listens_everywhere(self) -> None:
        assert health_addresses(snapshot(host=self.HOST), V4, Options()) == (bytes(4),)
        primary = Options(node_port_addresses=("primary",))
        assert health_addresses(snapshot(host=self.HOST), V4, primary) == (), "unless the first address is asked for"


REMOTE = endpoint_slice(endpoint("10.0.0.2", "n2"))
LOCAL = endpoint_slice(endpoint("10.0.0.1", HERE), endpoint("10.0.0.2", "n2"))
LEAVING_HERE = endpoint_slice(endpoint("10.0.0.1", HERE, ready=False, terminating=True), endpoint("10.0.0.2", "n2"))


class TestWithoutLocal:
    @pytest.mark.parametrize(
        ("internal", "external", "slices", "expected"),
        [
            (True, False, (REMOTE,), WithoutLocal(1, 0)),
            (False, True, (REMOTE,), WithoutLocal(0, 1)),
            (True, True, (REMOTE,), WithoutLocal(1, 1)),
            (False, False, (REMOTE,), WithoutLocal(0, 0)),
            (True, True, (LOCAL,), WithoutLocal(0, 0)),
            (True, True, (LEAVING_HERE,), WithoutLocal(0, 0)),
            (True, True, (), WithoutLocal(0, 0)),
        ],
    )
    def test_ports_with_backends_elsewhere_only(
        self, internal: bool, external: bool, slices: tuple[EndpointSlice, ...], expected: WithoutLocal
    ) -> None:
        each = service(type=ServiceType.NODE_PORT, ports=[NODE_HTTP], internal_local=internal, external_local=external)
        compiled = compile_tables(snapshot(each, *slices), V4, Allocation(), ROOMY)
        assert count_without_local(compiled.tables) == expected

    def test_many_frontends_of_a_port_count_once(self) -> None:
        each = service(
            type=ServiceType.NODE_PORT,
            ports=[NODE_HTTP],
            external_local=True,
            external_ips=(parse_address("192.0.2.9"),),
        )
        compiled = compile_tables(snapshot(each, REMOTE), V4, Allocation(), ROOMY)
        assert count_without_local(compiled.tables) == WithoutLocal(0, 1)


class TestChanges:
    SLICE = replace(REMOTE, triggered_at="2026-01-02T03:04:05Z")
    MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def test_what_is_new_different_or_gone_is_found(self) -> None:
        before = snapshot(service("a"), service("b"), service("c"), endpoint_slice(name="s"), endpoint_slice(name="t"))
        after = snapshot(
            service("b", ip="10.96.0.7"),
            before.services["shop", "c"],
            service("d"),
            service("e"),
            before.slices["shop", "s"],
        )
        found = changes_between(before, after)
        assert found.services.keys() == {("shop", name) for name in "abde"}
        assert found.services.before == {key: before.services[key] for key in [("shop", "a"), ("shop", "b")]}
        assert found.services.after == {key: after.services[key] for key in after.services if key[1] != "c"}
        assert found.slices.before == {("shop", "t"): before.slices["shop", "t"]}
        assert found.slices.after == {}

    def test_equal_objects_of_a_relist_are_no_change(self) -> None:
        found = changes_between(snapshot(service(), REMOTE), snapshot(service(), replace(REMOTE)))
        assert (found.services.keys(), found.slices.keys()) == (set(), set())

    def test_of_the_same_objects_the_one_that_was_replaced_is_found(self) -> None:
        before = snapshot(service("a"), service("b"), REMOTE)
        after = replace(before, services=dict(before.services), slices=dict(before.slices))
        assert changes_between(before, after).services.keys() == set()
        assert isinstance(after.services, dict)
        after.services["shop", "b"] = service("b", ip="10.96.0.7")
        assert changes_between(before, after).services.keys() == {("shop", "b")}

    def test_changed_slices_say_when_it_came_true(self) -> None:
        found = changes_between(snapshot(REMOTE), snapshot(self.SLICE))
        assert found.trigger_times(V4) == {self.SLICE.key: self.MOMENT}
        assert found.trigger_times(V6) == {}
        assert (found.slices_of(V4), found.slices_of(V6)) == ({self.SLICE.key}, set())
        gone = changes_between(snapshot(self.SLICE), snapshot())
        assert (gone.slices_of(V4), gone.trigger_times(V4)) == ({self.SLICE.key}, {})

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("2026-01-02T03:04:05Z", MOMENT),
            ("2026-01-02T04:04:05.000000+01:00", MOMENT),
            ("2026-01-02T03:04:05.123456789Z", MOMENT.replace(microsecond=123456)),
            ("2026-01-02T03:04:05", None),
            ("yesterday", None),
            ("", None),
        ],
    )
    def test_trigger_times(self, text: str, expected: datetime | None) -> None:
        assert trigger_time(text) == expected
