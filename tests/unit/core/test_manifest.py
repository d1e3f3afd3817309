"""The shared reading of API objects: rules of semantics §1.1 to §1.3, and nothing but ObjectError for the rest."""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflb.core.abi import SERVICE_NAME_BYTES, Algorithm, Family, Protocol
from ebpflb.core.manifest import (
    Invisible,
    convert,
    convert_node,
    convert_pod,
    convert_service,
    convert_service_cidr,
    convert_slice,
    identify,
)
from ebpflb.core.model import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Node,
    Pod,
    Service,
    ServiceCIDR,
    ServicePort,
    ServiceType,
)
from ebpflb.errors import ObjectError
from tests.unit.core.factories import expanded


def ip(text: str) -> bytes:
    return bytes(int(part) for part in text.split("."))


IPV6 = bytes.fromhex("fd00" + "00" * 13 + "0a")


def service(*, metadata: Mapping[str, Any] | None = None, status: Any = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "demo", **(metadata or {})},
        "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}], **spec},
        "status": status,
    }


def endpoint_slice(*, metadata: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "web-1",
            "namespace": "demo",
            "labels": {"kubernetes.io/service-name": "web"},
            **(metadata or {}),
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": ["10.244.1.11"]}],
        **fields,
    }


def read_service(document: Mapping[str, Any]) -> Service:
    """Read from JSON bytes and from the mapping: both must say the same."""
    converted = convert_service(json.dumps(document).encode())
    assert converted == convert(document)
    assert isinstance(converted, Service)
    return converted


def read_slice(document: Mapping[str, Any]) -> EndpointSlice:
    converted = convert_slice(json.dumps(document).encode())
    assert converted == convert(document)
    assert isinstance(converted, EndpointSlice)
    return converted


def invisible(document: Mapping[str, Any]) -> str:
    converted = convert(document)
    assert isinstance(converted, Invisible)
    return converted.reason


def refused(document: Any) -> ObjectError:
    with pytest.raises(ObjectError) as caught:
        convert(document)
    assert caught.value.remedy
    return caught.value


class TestService:
    def test_minimal_service_gets_every_default(self) -> None:
        assert read_service(service()) == Service(
            "demo",
            "web",
            ServiceType.CLUSTER_IP,
            ports=(ServicePort("", Protocol.TCP, 80),),
            cluster_ips=(ip("10.96.0.10"),),
        )

    def test_everything_set(self) -> None:
        document = service(
            metadata={"annotations": {"ebpflb.io/algorithm": "maglev"}},
            status={"loadBalancer": {"ingress": [{"ip": "198.51.100.7"}]}},
            type="LoadBalancer",
            clusterIPs=["10.96.0.10", "fd00::a"],
            ipFamilies=["IPv4", "IPv6"],
            externalIPs=["203.0.113.9", "203.0.113.9"],
            ports=[
                {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053, "targetPort": "dns"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "nodePort": 0},
                {"name": "sig", "port": 2905, "protocol": "SCTP"},
            ],
            sessionAffinity="ClientIP",
            sessionAffinityConfig={"clientIP": {"timeoutSeconds": 600}},
            internalTrafficPolicy="Local",
            externalTrafficPolicy="Local",
        )
        assert read_service(document) == Service(
            "demo",
            "web",
            ServiceType.LOAD_BALANCER,
            ports=(
                ServicePort("dns", Protocol.UDP, 53, 30053),
                ServicePort("dns-tcp", Protocol.TCP, 53),
                ServicePort("sig", Protocol.SCTP, 2905),
            ),
            cluster_ips=(ip("10.96.0.10"), IPV6),
            external_ips=(ip("203.0.113.9"),),
            load_balancer_ips=(ip("198.51.100.7"),),
            internal_local=True,
            external_local=True,
            affinity_timeout_s=600,
            algorithm=Algorithm.MAGLEV,
        )

    @pytest.mark.parametrize("label", ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"])
    @pytest.mark.parametrize("value", ["", "other"])
    def test_labels_hide_a_service_whatever_their_value(self, label: str, value: str) -> None:
        assert label in invisible(service(metadata={"labels": {label: value}}))

    @pytest.mark.parametrize(
        ("spec", "reason"),
        [
            ({"clusterIP": "None"}, "headless"),
            ({"clusterIP": "None", "clusterIPs": ["None"]}, "headless"),
            ({"clusterIP": ""}, "no spec.clusterIP"),
            ({"clusterIP": None}, "no spec.clusterIP"),
            ({"type": "ExternalName"}, "ExternalName"),
        ],
    )
    def test_services_without_a_cluster_ip_are_skipped_as_a_whole(self, spec: dict[str, Any], reason: str) -> None:
        assert reason in invisible(service(**spec))

    def test_invisible_names_its_key(self) -> None:
        hidden = convert(service(clusterIP="None"))
        assert isinstance(hidden, Invisible)
        assert (hidden.kind, hidden.key) == ("Service", ("demo", "web"))

    def test_namespace_defaults_as_kubectl_does(self) -> None:
        assert read_service(service(metadata={"namespace": None})).key == ("default", "web")

    def test_cluster_ips_without_families_and_only_those_with_a_family(self) -> None:
        both = ["10.96.0.10", "fd00::a"]
        assert read_service(service(clusterIPs=both)).cluster_ips == (ip("10.96.0.10"), IPV6)
        one = read_service(service(clusterIPs=both, ipFamilies=["IPv4"]))
        assert one.cluster_ips == (ip("10.96.0.10"),)

    @pytest.mark.parametrize(
        ("text", "packed"),
        [("010.096.0.010", "10.96.0.10"), (" 10.96.0.10", "10.96.0.10"), ("::ffff:1.2.3.4", "1.2.3.4")],
    )
    def test_addresses_are_parsed_sloppily_and_made_canonical(self, text: str, packed: str) -> None:
        assert read_service(service(clusterIP=text)).cluster_ips == (ip(packed),)

    @pytest.mark.parametrize(
        ("ingress", "expected"),
        [
            ([{"ip": "198.51.100.7", "ipMode": "VIP"}], (ip("198.51.100.7"),)),
            ([{"ip": "198.51.100.7", "ipMode": "Proxy"}], ()),
            ([{"hostname": "lb.example"}], ()),
            ([{"ip": ""}], ()),
            (None, ()),
        ],
    )
    def test_load_balancer_addresses(self, ingress: Any, expected: tuple[bytes, ...]) -> None:
        document = service(type="LoadBalancer", status={"loadBalancer": {"ingress": ingress}})
        assert read_service(document).load_balancer_ips == expected

    @pytest.mark.parametrize(
        ("spec", "expected"),
        [
            ({}, False),
            ({"externalIPs": ["203.0.113.9"]}, True),
            ({"type": "LoadBalancer"}, True),
            ({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}, True),
        ],
    )
    def test_external_local_counts_only_where_traffic_comes_from_outside(
        self, spec: dict[str, Any], expected: bool
    ) -> None:
        assert read_service(service(externalTrafficPolicy="Local", **spec)).external_local is expected
        assert not read_service(service(externalTrafficPolicy="Cluster", **spec)).external_local

    @pytest.mark.parametrize(
        ("config", "seconds"),
        [
            (None, 10800),
            ({}, 10800),
            ({"clientIP": {}}, 10800),
            ({"clientIP": {"timeoutSeconds": 1}}, 1),
            ({"clientIP": {"timeoutSeconds": 86400}}, 86400),
        ],
    )
    def test_affinity_timeout(self, config: Any, seconds: int) -> None:
        document = service(sessionAffinity="ClientIP", sessionAffinityConfig=config)
        assert read_service(document).affinity_timeout_s == seconds
        assert read_service(service(sessionAffinity="None", sessionAffinityConfig=config)).affinity_timeout_s == 0

    @pytest.mark.parametrize(
        ("spec", "field"),
        [
            ({"type": "Fancy"}, "spec.type"),
            ({"ports": []}, "spec.ports"),
            ({"ports": None}, "spec.ports"),
            ({"ports": "80"}, "spec.ports"),
            ({"ports": [{}]}, "spec.ports[0].port"),
            ({"ports": [{"port": 0}]}, "spec.ports[0].port"),
            ({"ports": [{"port": 65536}]}, "spec.ports[0].port"),
            ({"ports": [{"port": 10**5000}]}, "spec.ports[0].port"),
            ({"ports": [{"port": "80"}]}, "spec.ports[0].port"),
            ({"ports": [{"port": 80, "protocol": "tcp"}]}, "spec.ports[0].protocol"),
            ({"ports": [{"port": 80, "name": "No Name"}]}, "spec.ports[0].name"),
            ({"ports": [{"port": 80, "nodePort": 65536}]}, "spec.ports[0].nodePort"),
            ({"type": "NodePort", "ports": [{"port": 80, "nodePort": -1}]}, "spec.ports[0].nodePort"),
            ({"ports": [{"port": 80}, {"port": 81}]}, "spec.ports[0].name"),
            ({"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]}, "spec.ports[1].name"),
            ({"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]}, "spec.ports[1].port"),
            ({"clusterIP": "10.96.0"}, "spec.clusterIP"),
            ({"clusterIP": "fd00::1%eth0"}, "spec.clusterIP"),
            ({"clusterIP": "0.0.0.0"}, "spec.clusterIP"),
            ({"clusterIPs": ["10.96.0.1", "10.96.0.2"]}, "spec.clusterIPs"),
            ({"clusterIPs": ["10.96.0.1"], "ipFamilies": ["IPv6"]}, "spec.clusterIPs[0]"),
            ({"clusterIPs": ["10.96.0.1"], "ipFamilies": ["IPX"]}, "spec.ipFamilies[0]"),
            ({"externalIPs": ["127.0.0.1"]}, "spec.externalIPs[0]"),
            ({"externalIPs": ["169.254.1.1"]}, "spec.externalIPs[0]"),
            ({"externalIPs": ["224.0.0.1"]}, "spec.externalIPs[0]"),
            ({"externalIPs": ["255.255.255.255"]}, "spec.externalIPs[0]"),
            ({"externalIPs": ["1.2.3.4", "::"]}, "spec.externalIPs[1]"),
            ({"externalIPs": ["::1"]}, "spec.externalIPs[0]"),
            ({"externalIPs": ["fe80::1"]}, "spec.externalIPs[0]"),
            ({"externalIPs": ["ff02::1"]}, "spec.externalIPs[0]"),
            ({"externalIPs": [7]}, "spec.externalIPs[0]"),
            ({"sessionAffinity": "Cookie"}, "spec.sessionAffinity"),
            ({"internalTrafficPolicy": "local"}, "spec.internalTrafficPolicy"),
            ({"externalTrafficPolicy": "None"}, "spec.externalTrafficPolicy"),
        ],
    )
    def test_violations_name_the_field(self, spec: dict[str, Any], field: str) -> None:
        error = refused(service(**spec))
        assert (error.kind, error.name, error.field) == ("Service", "demo/web", field)

    @pytest.mark.parametrize("seconds", [0, -1, 86401])
    def test_affinity_timeout_out_of_range(self, seconds: int) -> None:
        config = {"clientIP": {"timeoutSeconds": seconds}}
        error = refused(service(sessionAffinity="ClientIP", sessionAffinityConfig=config))
        assert error.field == "spec.sessionAffinityConfig.clientIP.timeoutSeconds"

    def test_algorithm_annotation(self) -> None:
        annotated = service(metadata={"annotations": {"ebpflb.io/algorithm": "random"}})
        assert read_service(annotated).algorithm is Algorithm.RANDOM
        error = refused(service(metadata={"annotations": {"ebpflb.io/algorithm": "best"}}))
        assert error.field == "metadata.annotations[ebpflb.io/algorithm]"
        assert error.remedy == "use one of random, maglev"

    def test_source_ranges_are_kept_as_written(self) -> None:
        ranged = read_service(service(loadBalancerSourceRanges=[" 192.0.2.0/24 ", "", "fd00::/8"]))
        assert ranged.source_ranges == ("192.0.2.0/24", "fd00::/8")

    @pytest.mark.parametrize("field", ["name", "namespace"])
    def test_names_that_the_map_has_no_room_for(self, field: str) -> None:
        error = refused(service(metadata={field: "a" * 64}))
        assert error.field == f"metadata.{field}"
        assert error.remedy == "use letters a-z, digits and '-', at most 63 of them"
        longest = "a" * 63
        document = service(metadata={"name": longest, "namespace": longest}, ports=[{"port": 80, "name": longest}])
        (exposure,) = expanded(read_service(document))
        assert len(exposure.name) < SERVICE_NAME_BYTES

    def test_wrong_ingress_address(self) -> None:
        status = {"loadBalancer": {"ingress": [{"ip": "x"}]}}
        assert refused(service(status=status)).field == "status.loadBalancer.ingress[0].ip"

    def test_message_says_it_all_on_one_line(self) -> None:
        error = refused(service(ports=[{"port": "http"}]))
        assert str(error) == (
            "Service demo/web: spec.ports[0].port: expected a whole number, got a string; "
            "give it the type that the Kubernetes API gives it"
        )

    def test_origin_is_named(self) -> None:
        with pytest.raises(ObjectError, match=r"is not an IP address \(in web.yaml:7\)"):
            convert(service(clusterIP="x"), "web.yaml:7")


class TestSlice:
    def test_defaults(self) -> None:
        assert read_slice(endpoint_slice()) == EndpointSlice(
            "demo",
            "web-1",
            "web",
            Family.IPV4,
            ports=(EndpointPort("http", Protocol.TCP, 8080),),
            endpoints=(Endpoint(ip("10.244.1.11")),),
        )

    def test_only_the_first_address_counts_and_hints_are_kept(self) -> None:
        document = endpoint_slice(
            endpoints=[
                {
                    "addresses": ["10.244.1.11", "not even an address"],
                    "conditions": {"ready": False, "serving": None, "terminating": True},
                    "nodeName": "node-1",
                    "hints": {"forZones": [{"name": "a"}, {}], "forNodes": [{"name": "node-1"}]},
                },
                {"addresses": ["10.244.1.12"], "conditions": {"ready": None, "serving": False}, "hints": {}},
            ]
        )
        assert read_slice(document).endpoints == (
            Endpoint(
                ip("10.244.1.11"),
                ready=False,
                serving=True,
                terminating=True,
                node_name="node-1",
                for_nodes=("node-1",),
                for_zones=("a",),
            ),
            Endpoint(ip("10.244.1.12"), ready=True, serving=False),
        )

    def test_ports_without_a_number_are_skipped_and_an_absent_name_is_the_unnamed_port(self) -> None:
        """The API server writes "" for an absent name, so a manifest without one means the same."""
        ports = [{"name": "a"}, {"name": "b", "port": 0}, {"port": 1}, {"name": "", "port": 2, "protocol": "UDP"}]
        assert read_slice(endpoint_slice(ports=ports)).ports == (
            EndpointPort("", Protocol.TCP, 1),
            EndpointPort("", Protocol.UDP, 2),
        )

    def test_an_address_of_the_other_family_takes_no_neighbour_along(self) -> None:
        document = endpoint_slice(endpoints=[{"addresses": ["fd00::a"]}, {"addresses": ["10.244.1.11"]}])
        assert read_slice(document).endpoints == (Endpoint(IPV6), Endpoint(ip("10.244.1.11")))

    def test_empty_lists_may_be_null(self) -> None:
        empty = read_slice(endpoint_slice(ports=None, endpoints=None))
        assert (empty.ports, empty.endpoints) == ((), ())

    def test_ipv6(self) -> None:
        document = endpoint_slice(addressType="IPv6", endpoints=[{"addresses": ["fd00::a"]}])
        assert read_slice(document).endpoints == (Endpoint(IPV6),)

    @pytest.mark.parametrize(
        ("metadata", "fields", "reason"),
        [
            ({"labels": None}, {}, "kubernetes.io/service-name"),
            ({"labels": {"kubernetes.io/service-name": ""}}, {}, "kubernetes.io/service-name"),
            (
                {"labels": {"kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""}},
                {},
                "service.kubernetes.io/headless",
            ),
            ({}, {"addressType": "FQDN", "endpoints": [{"addresses": ["web.example"]}]}, "FQDN"),
        ],
    )
    def test_invisible_slices(self, metadata: dict[str, Any], fields: dict[str, Any], reason: str) -> None:
        assert reason in invisible(endpoint_slice(metadata=metadata, **fields))

    def test_a_foreign_proxys_label_hides_the_service_not_its_slices(self) -> None:
        labels = {"kubernetes.io/service-name": "web", "service.kubernetes.io/service-proxy-name": "other"}
        assert read_slice(endpoint_slice(metadata={"labels": labels})).service_name == "web"

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"addressType": None}, "addressType"),
            ({"addressType": "IPX"}, "addressType"),
            ({"ports": [{"name": "a", "port": 70000}]}, "ports[0].port"),
            ({"ports": [{"name": "a", "port": 1, "protocol": "ICMP"}]}, "ports[0].protocol"),
            ({"ports": [{"name": "A B", "port": 1}]}, "ports[0].name"),
            ({"endpoints": [{}]}, "endpoints[0].addresses"),
            ({"endpoints": [{"addresses": []}]}, "endpoints[0].addresses"),
            ({"endpoints": [{"addresses": ["x"]}]}, "endpoints[0].addresses[0]"),
            ({"endpoints": [{"addresses": ["127.0.0.1"]}]}, "endpoints[0].addresses[0]"),
            ({"endpoints": [{"addresses": ["1.1.1.1"]}, {"addresses": ["::1"]}, {}]}, "endpoints[1].addresses[0]"),
            (
                {"endpoints": [{"addresses": ["1.1.1.1"], "conditions": {"ready": "yes"}}]},
                "endpoints[0].conditions.ready",
            ),
        ],
    )
    def test_violations_name_the_field(self, fields: dict[str, Any], field: str) -> None:
        error = refused(endpoint_slice(**fields))
        assert (error.kind, error.name, error.field) == ("EndpointSlice", "demo/web-1", field)

    def test_service_name_must_be_a_name(self) -> None:
        error = refused(endpoint_slice(metadata={"labels": {"kubernetes.io/service-name": "a/b"}}))
        assert error.field == "metadata.labels[kubernetes.io/service-name]"


class TestNode:
    def test_everything(self) -> None:
        document = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "node-1", "labels": {"topology.kubernetes.io/zone": "a"}},
            "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:1::/64"]},
            "status": {
                "addresses": [
                    {"type": "ExternalIP", "address": "203.0.113.1"},
                    {"type": "Hostname", "address": "node-1"},
                    {"type": "InternalIP", "address": "192.168.100.1"},
                    {"type": "InternalIP", "address": "192.168.100.1"},
                ]
            },
        }
        assert convert_node(document) == Node(
            "node-1", "a", (ip("192.168.100.1"), ip("203.0.113.1")), ("10.244.1.0/24", "fd00:1::/64")
        )

    @pytest.mark.parametrize(("spec", "cidrs"), [({"podCIDR": "10.1.2.3/16"}, ("10.1.0.0/16",)), ({}, ()), (None, ())])
    def test_single_prefix(self, spec: Any, cidrs: tuple[str, ...]) -> None:
        converted = convert({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": spec})
        assert converted == Node("n", pod_cidrs=cidrs)

    @pytest.mark.parametrize(
        ("document", "field"),
        [
            ({"spec": {"podCIDRs": ["here"]}}, "spec.podCIDRs[0]"),
            ({"status": {"addresses": [{"type": "InternalIP"}]}}, "status.addresses[0].address"),
        ],
    )
    def test_violations(self, document: dict[str, Any], field: str) -> None:
        error = refused({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, **document})
        assert (error.kind, error.name, error.field) == ("Node", "n", field)


def service_cidr(*cidrs: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": list(cidrs)},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Terminating"}]},
    }


class TestServiceCIDR:
    def test_ranges_are_made_canonical(self) -> None:
        document = service_cidr("10.96.0.1/12", " 010.96.0.0/12", "fd00:0::/108")
        expected = ServiceCIDR("kubernetes", ("10.96.0.0/12", "fd00::/108"))
        assert convert(document) == convert_service_cidr(json.dumps(document).encode()) == expected
        assert expected.key == ("", "kubernetes")

    @pytest.mark.parametrize("spec", [None, {}, {"cidrs": None}, {"cidrs": []}])
    def test_without_ranges(self, spec: Any) -> None:
        assert convert(service_cidr() | {"spec": spec}) == ServiceCIDR("kubernetes", ())

    @pytest.mark.parametrize(
        "text", ["x", "10.96.0.0", "10.96.0.0/", "10.96.0.0/33", "fe80::1%eth0/64", "0.0.0.0/0", "::/0"]
    )
    def test_violations_name_the_field(self, text: str) -> None:
        error = refused(service_cidr("10.96.0.0/12", text))
        assert (error.kind, error.name, error.field) == ("ServiceCIDR", "kubernetes", "spec.cidrs[1]")

    def test_other_versions_are_refused(self) -> None:
        error = refused(service_cidr() | {"apiVersion": "networking.k8s.io/v1beta1"})
        assert (error.name, error.remedy) == ("kubernetes", "use networking.k8s.io/v1")


class TestConvert:
    @pytest.mark.parametrize(
        ("version", "kind"),
        [("v1", "Secret"), ("serving.knative.dev/v1", "Service"), ("apps/v1", "Deployment"), (None, None)],
    )
    def test_other_kinds_are_none_of_our_business(self, version: Any, kind: Any) -> None:
        assert "no kind" in invisible({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}})

    def test_other_versions_of_our_kinds_are_refused(self) -> None:
        error = refused({**endpoint_slice(), "apiVersion": "discovery.k8s.io/v1beta1"})
        assert (error.field, error.remedy) == ("apiVersion", "use discovery.k8s.io/v1")
        assert refused({**service(), "apiVersion": "v2"}).remedy == "use v1"

    @pytest.mark.parametrize("name", [None, "", "A", "a/b", "-a", "a" * 254, "\x1b[31m", "\ud800"])
    def test_names_must_be_dns_names(self, name: Any) -> None:
        error = refused(service(metadata={"name": name}))
        assert error.field == "metadata.name"
        assert str(error).isprintable()

    def test_namespace_must_be_a_dns_name_and_is_shown_safely(self) -> None:
        error = refused(service(metadata={"namespace": "\n"}))
        assert (error.name, error.field) == ("default/web", "metadata.namespace")

    @pytest.mark.parametrize(
        "raw",
        [b"", b"{", b"[]", b"1", b'"\xff"', b'{"metadata":{"name":"\xff"}}', b"[" * 100_000, b'{"a":' + b"[" * 100_000],
    )
    def test_bytes_that_are_no_object(self, raw: bytes) -> None:
        for convert_kind in (convert_service, convert_slice, convert_node, convert_service_cidr, convert_pod):
            with pytest.raises(ObjectError) as caught:
                convert_kind(raw)
            assert caught.value.field == "document"

    def test_keys_that_are_no_strings(self) -> None:
        """YAML 1.1 reads ``on:`` as true."""
        error = refused({**service(), "metadata": {"name": "web", "labels": {True: "x"}}})
        assert (error.name, error.field) == ("default/web", "metadata.labels")
        assert error.message.endswith("a key in it: expected a string, got true or false")

    @pytest.mark.parametrize(("half", "name"), [({"spec": "\ud800"}, "web"), ({"metadata": "\udfff"}, "(unnamed)")])
    def test_half_a_surrogate_pair_out_of_a_json_file(self, half: dict[str, Any], name: str) -> None:
        error = refused({**service(), **half})
        assert (error.name.partition("/")[2], error.field) == (name, "document")
        assert "surrogate" in error.message

    def test_identify_takes_what_it_can(self) -> None:
        who = identify({"kind": 7, "apiVersion": "v1", "metadata": {"name": "web", "namespace": 3}})
        assert (who.api_version, who.kind, who.namespace, who.name) == ("v1", "", "", "web")
        raw = msgspec.Raw(b'{"metadata":{"name":"web","resourceVersion":"7","labels":3}}')
        assert identify(raw).resource_version == "7"
        assert identify({"metadata": [1], "kind": 3}).name == ""
        assert identify(b"[1]").name == ""


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        [
            "IPv4",
            "None",
            "ClientIP",
            "Local",
            "NodePort",
            "TCP",
            "10.0.0.1",
            "fd00::1",
            "web",
            "kubernetes.io/service-name",
        ]
    )
)
KEYS = st.sampled_from(
    re.findall(
        r"\S+",
        """
        metadata name namespace labels annotations spec status type ports port protocol nodePort clusterIP clusterIPs
        ipFamilies externalIPs sessionAffinity sessionAffinityConfig clientIP timeoutSeconds loadBalancer ingress ip
        ipMode addressType endpoints addresses conditions ready hints forZones address podCIDR podCIDRs
        kubernetes.io/service-name nodeName hostNetwork runtimeClassName phase uid ebpflb.io/socket-lb
        """,
    )
)
RANDOM = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | SCALARS, inner, max_size=6),
    max_leaves=25,
)


def mutations(document: dict[str, Any]) -> st.SearchStrategy[Any]:
    """One random value at one random place of a good document: reaches deeper than noise does."""
    paths: list[tuple[Any, ...]] = []

    def walk(node: Any, path: tuple[Any, ...]) -> None:
        if path:
            paths.append(path)
        children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, child in children:
            walk(child, (*path, key))

    walk(document, ())

    def put(path: tuple[Any, ...], value: Any) -> Any:
        copy = json.loads(json.dumps(document))
        place = copy
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return copy

    return st.builds(put, st.sampled_from(paths), RANDOM)


GOOD_NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "n"},
    "spec": {"podCIDRs": ["10.0.0.0/24"]},
    "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
}
GOOD_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "uid": "1", "annotations": {"ebpflb.io/socket-lb": "false"}},
    "spec": {"nodeName": "n", "hostNetwork": False, "runtimeClassName": "gvisor"},
    "status": {"phase": "Running"},
}


@settings(max_examples=300, deadline=None)
@given(RANDOM | mutations(service()) | mutations(endpoint_slice()) | mutations(GOOD_NODE) | mutations(GOOD_POD))
def test_anything_at_all_is_an_object_or_an_object_error(document: Any) -> None:
    raw = json.dumps(document, skipkeys=True).encode()
    for convert_kind in (convert_service, convert_slice, convert_node, convert_pod, convert):
        for form in (document, raw) if isinstance(document, dict) else (raw,):
            try:
                outcome: object = convert_kind(form)
            except ObjectError as error:
                outcome = error
            assert isinstance(outcome, Service | EndpointSlice | Node | Pod | Invisible | ObjectError)
            assert str(outcome).isprintable()
