"""What is refused, by file and by flag: every rule with its field and its remedy, all of them at once."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflb.core.fields import shown
from ebpflb.core.proxy_config import configure
from ebpflb.core.proxy_config_decode import DEFAULTS
from ebpflb.core.proxy_config_fields import FieldType, Treatment
from ebpflb.core.proxy_config_flags import DEPRECATED, FLAGS
from ebpflb.core.proxy_config_gates import unknown_gates
from ebpflb.core.proxy_config_options import flow_seconds, options_of, sync_period_s
from tests.unit.core.proxy_config_documents import document

WRONG: list[tuple[dict[str, Any], str, str, str]] = [
    ({"apiVersion": ""}, "apiVersion", "is missing", "write `apiVersion: kubeproxy.config.k8s.io/v1alpha1`"),
    ({"apiVersion": "v1"}, "apiVersion", "'v1' is not known", "write `apiVersion: kubeproxy.config"),
    ({"kind": "Pod"}, "kind", "'Pod' is not known", "write `kind: KubeProxyConfiguration`"),
    ({"kind": None}, "kind", "is missing", "write `kind: KubeProxyConfiguration`"),
    ({"featureGates": {"A": "yes"}}, "featureGates", "is not valid", "give a mapping, each value true or false"),
    ({"featureGates": ["A"]}, "featureGates", "['A'] is not valid", "give a mapping"),
    ({"clientConnection": []}, "clientConnection", "[] is not an object", "give its fields below it"),
    ({"clientConnection": {"burst": -1}}, "clientConnection.burst", "-1 is not valid", "a whole number from 0 to"),
    ({"clientConnection": {"qps": "5"}}, "clientConnection.qps", "'5' is not valid", "give a number"),
    ({"clientConnection": {"qps": float("nan")}}, "clientConnection.qps", "nan is no number", "give 5, say"),
    ({"clientConnection": {"kubeconfig": 7}}, "clientConnection.kubeconfig", "7 is not valid", "give a text"),
    ({"logging": {"format": "xml"}}, "logging.format", "'xml' is not valid", "give one of (empty), json, text"),
    ({"logging": {"verbosity": -1}}, "logging.verbosity", "-1 is not valid", "a whole number from 0 to"),
    ({"logging": {"flushFrequency": "soon"}}, "logging.flushFrequency", "'soon' is not valid", "a duration such as"),
    ({"logging": {"vmodule": [{"verbosity": 1}]}}, "logging.vmodule", "is not valid", "filePattern, verbosity"),
    ({"bindAddress": "localhost"}, "bindAddress", "'localhost' is not an IP address", "give one, or 0.0.0.0"),
    ({"healthzBindAddress": "0.0.0.0:65536"}, "healthzBindAddress", "is not IP:port", "give it as 0.0.0.0:10256"),
    ({"healthzBindAddress": ":10256"}, "healthzBindAddress", "':10256' is not IP:port", "with a port from 0 to 65535"),
    ({"metricsBindAddress": "host:1"}, "metricsBindAddress", "'host:1' is not IP:port", "give it as"),
    ({"bindAddressHardFail": "true"}, "bindAddressHardFail", "'true' is not valid", "give true or false"),
    ({"bindAddressHardFail": 1}, "bindAddressHardFail", "1 is not valid", "give true or false"),
    ({"mode": "userspace"}, "mode", "'userspace' is not valid", "give one of (empty), ebpf, iptables, ipvs, nftables"),
    ({"mode": "kernelspace"}, "mode", "'kernelspace' is not valid", "give one of"),
    ({"detectLocalMode": "Guess"}, "detectLocalMode", "'Guess' is not valid", "BridgeInterface, ClusterCIDR"),
    (
        *({"detectLocalMode": "BridgeInterface"}, "detectLocal.bridgeInterface"),
        *("is empty", "name the pods' device for detectLocalMode BridgeInterface"),
    ),
    (
        *({"detectLocalMode": "InterfaceNamePrefix"}, "detectLocal.interfaceNamePrefix"),
        *("is empty", "name the pods' device for detectLocalMode InterfaceNamePrefix"),
    ),
    ({"clusterCIDR": "10.0.0.0"}, "clusterCIDR", "'10.0.0.0' is not a prefix", "one of each family as 10.244.0.0/16,"),
    ({"clusterCIDR": "10.0.0.0/8, fd00::/8"}, "clusterCIDR", "' fd00::/8' is not a prefix", "one of each family"),
    ({"clusterCIDR": "10.0.0.0/8,10.1.0.0/16"}, "clusterCIDR", "two prefixes of one family", "one of each family"),
    ({"clusterCIDR": "10.0.0.0/8,fd00::/8,::/0"}, "clusterCIDR", "3 prefixes are too many", "one of each family"),
    ({"nodePortAddresses": ["10.0.0.1"]}, "nodePortAddresses[0]", "'10.0.0.1' is not a prefix", "or `primary` alone"),
    (
        *({"nodePortAddresses": ["10.0.0.0/8", "primary"]}, "nodePortAddresses[1]"),
        *("`primary` stands beside others", "give `primary` alone, or prefixes only"),
    ),
    ({"nodePortAddresses": "primary"}, "nodePortAddresses", "'primary' is not valid", "give a list, each item a text"),
    ({"configSyncPeriod": "-1s"}, "configSyncPeriod", "-1s is not above 0", "give 15m, say"),
    ({"configSyncPeriod": 15}, "configSyncPeriod", "15 is not valid", "give a duration such as 30s"),
    ({"oomScoreAdj": 1001}, "oomScoreAdj", "1001 is not valid", "give a whole number from -1000 to 1000"),
    ({"oomScoreAdj": -1001}, "oomScoreAdj", "-1001 is not valid", "give a whole number from -1000 to 1000"),
    ({"portRange": "300-"}, "portRange", "'300-' is not a range of ports", "give 300-2000, or nothing"),
    ({"showHiddenMetricsForVersion": "v1"}, "showHiddenMetricsForVersion", "is not a version", "give 1.33, say"),
    ({"conntrack": {"maxPerCore": -1}}, "conntrack.maxPerCore", "-1 is not valid", "a whole number from 0"),
    ({"conntrack": {"min": -1}}, "conntrack.min", "-1 is not valid", "a whole number from 0"),
    *(
        ({"conntrack": {name: "-1s"}}, f"conntrack.{name}", "-1s is below 0", "give 0 to leave it as it is")
        for name in ("tcpEstablishedTimeout", "tcpCloseWaitTimeout", "udpTimeout", "udpStreamTimeout")
    ),
    ({"conntrack": {"udpTimeout": "10"}}, "conntrack.udpTimeout", "'10' is not valid", "a duration such as"),
    ({"conntrack": {"udpTimeout": "9999999h"}}, "conntrack.udpTimeout", "'9999999h' is not valid", "a duration such"),
    *(
        ({section: {"masqueradeBit": bit}}, f"{section}.masqueradeBit", f"{bit} is not valid", "from 0 to 31")
        for section in ("iptables", "nftables")
        for bit in (-1, 32)
    ),
    *(
        ({"mode": mode, section: {"syncPeriod": "-1s"}}, f"{section}.syncPeriod", "-1s is not above 0", "give 30s, say")
        for mode, section in (("", "iptables"), ("nftables", "nftables"), ("ipvs", "ipvs"))
    ),
    *(
        ({"mode": mode, section: {"minSyncPeriod": "-1s"}}, f"{section}.minSyncPeriod", "-1s is below 0", "give 1s")
        for mode, section in (("", "iptables"), ("nftables", "nftables"), ("ipvs", "ipvs"))
    ),
    *(
        (
            *({"mode": mode, section: {"minSyncPeriod": "31s"}}, f"{section}.minSyncPeriod"),
            *("31s is longer than syncPeriod 30s", "give at most that"),
        )
        for mode, section in (("", "iptables"), ("nftables", "nftables"), ("ipvs", "ipvs"))
    ),
    ({"mode": "ipvs", "ipvs": {"scheduler": "best"}}, "ipvs.scheduler", "'best' is not known", "use one of rr, wrr"),
    ({"mode": "ipvs", "ipvs": {"excludeCIDRs": ["x"]}}, "ipvs.excludeCIDRs[0]", "'x' is not a prefix", "10.0.0.0/8"),
    *(
        ({"mode": "ipvs", "ipvs": {name: "-1s"}}, f"ipvs.{name}", "-1s is below 0", "give 0 to leave")
        for name in ("tcpTimeout", "tcpFinTimeout", "udpTimeout")
    ),
    (
        *({"clientConnection": {"kubeconfig": "/k"}, "ebpflb": {"manifests": "/m"}}, "ebpflb.manifests"),
        *("clientConnection.kubeconfig is given, too", "give one of them"),
    ),
    ({"ebpflb": {"acceleration": True}}, "ebpflb.acceleration", "True is not valid", "auto, generic, native, off"),
    ({"ebpflb": {"ipFamily": "v4"}}, "ebpflb.ipFamily", "'v4' is not valid", "give one of dual, ipv4, ipv6"),
    ({"ebpflb": {"instance": "UPPER"}}, "ebpflb.instance", "'UPPER' is not valid", "1 to 32 lower-case letters"),
    ({"ebpflb": {"mapSizes": {"flows": 0}}}, "ebpflb.mapSizes", "is not valid", "a whole number from 1 to 67108864"),
    ({"ebpflb": {"socketOptOuts": ["vm"]}}, "ebpflb.socketOptOuts[0]", "no absolute path", "write /run/netns/vm"),
    ({"ebpflb": {"stateDir": ""}}, "ebpflb.stateDir", "is empty", "name a folder"),
    ({"ebpflb": {"bpffs": ""}}, "ebpflb.bpffs", "is empty", "name a folder"),
    ({"oomScoreAdj": 1 << 20_000}, "oomScoreAdj", "a number of too many digits is not valid", "from -1000 to 1000"),
    ({"logging": {"vmodule": [{"filePattern": "a", "verbosity": 1 << 70}]}}, "logging.vmodule", "is not valid", ""),
    ({"logging": {"flushFrequency": 1 << 20_000}}, "logging.flushFrequency", "too many digits is not valid", ""),
    ({"ebpflb": 7}, "ebpflb", "7 is not an object", "give its fields below it"),
]


@pytest.mark.parametrize(("fields", "path", "problem", "remedy"), WRONG, ids=shown)
def test_one_wrong_field_is_named_with_its_remedy(fields: dict[str, Any], path: str, problem: str, remedy: str) -> None:
    (found,) = configure(document(**fields), {}, {}).problems
    assert found.path == path
    assert problem in found.problem
    assert remedy in found.remedy
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    "fields",
    [
        {"iptables": {"syncPeriod": "1s", "minSyncPeriod": "1s"}},
        {"ipvs": {"scheduler": "best", "excludeCIDRs": ["x"], "tcpTimeout": "-1s", "syncPeriod": "-1s"}},
        {"nftables": {"minSyncPeriod": "1h"}},
        {"mode": "ipvs", "ipvs": {"scheduler": "mh", "excludeCIDRs": ["10.0.0.0/8"]}},
        {"healthzBindAddress": "0.0.0.0:0", "conntrack": {"maxPerCore": 0, "min": 0}},
        {"oomScoreAdj": 0, "portRange": "300", "clientConnection": {"qps": -1}},
        {"ebpflb": {"acceleration": False, "socketOptOuts": ["/run/netns/a"], "mapSizes": {"flows": 1}}},
    ],
)
def test_what_kube_proxy_would_start_with(fields: dict[str, Any]) -> None:
    assert configure(document(**fields), {}, {}).problems == ()


def test_off_need_not_be_quoted() -> None:
    assert configure(document(ebpflb={"acceleration": False}), {}, {}).config.ebpflb.acceleration == "off"


def test_all_that_is_wrong_is_named_at_once() -> None:
    wrong = {"mode": "x", "clusterCIDR": "y", "oomScoreAdj": "z", "conntrack": {"min": -1, "udpTimeout": "-1s"}}
    paths = [problem.path for problem in configure(document(**wrong), {}, {}).problems]
    assert paths == ["mode", "oomScoreAdj", "conntrack.min", "clusterCIDR", "conntrack.udpTimeout"]


@pytest.mark.parametrize(
    ("flag", "text", "path", "words"),
    [
        ("--oom-score-adj", "x", "oomScoreAdj", "'x' is not valid; give a whole number from -1000 to 1000"),
        ("--oom-score-adj", "0x7", "oomScoreAdj", "'0x7' is not valid"),
        ("--oom-score-adj", "+-5", "oomScoreAdj", "'+-5' is not valid"),
        ("--oom-score-adj", "-", "oomScoreAdj", "'-' is not valid"),
        ("--oom-score-adj", "9" * 19, "oomScoreAdj", "9999999999999999999 is not valid"),
        ("--oom-score-adj", "\u0661", "oomScoreAdj", "'\\u0661' is not valid"),
        ("--v", "--5", "logging.verbosity", "'--5' is not valid"),
        ("--v", "9" * 5000, "logging.verbosity", "... is not valid"),
        ("--vmodule", f"a={'9' * 5000}", "logging.vmodule", "is not valid"),
        ("--vmodule", "a=-1", "logging.vmodule", "is not valid"),
        ("--metrics-port", "+-1", "metricsBindAddress", "'127.0.0.1:+-1' is not IP:port"),
        ("--healthz-port", "-1", "healthzBindAddress", "'0.0.0.0:-1' is not IP:port"),
        ("--healthz-port", "9" * 5000, "healthzBindAddress", "... is not IP:port"),
        ("--masquerade-all", "yes", "iptables.masqueradeAll", "'yes' is not valid; give true or false"),
        ("--cluster-cidr", "x", "clusterCIDR", "'x' is not a prefix"),
        ("--kube-api-qps", "fast", "clientConnection.qps", "'fast' is not valid; give a number"),
        ("--kube-api-qps", "inf", "clientConnection.qps", "inf is no number"),
        ("--kube-api-burst", "-1", "clientConnection.burst", "-1 is not valid"),
        ("--config-sync-period", "15", "configSyncPeriod", "'15' is not valid; give a duration such as 30s or 1h30m"),
        ("--config-sync-period", "0", "configSyncPeriod", "0s is not above 0"),
        ("--iptables-sync-period", "0", "iptables.syncPeriod", "0s is not above 0"),
        ("--feature-gates", "A=yes", "featureGates", "is not valid; give a mapping, each value true or false"),
        ("--feature-gates", "A", "featureGates", "is not valid; give a mapping, each value true or false"),
        ("--vmodule", "a=b", "logging.vmodule", "is not valid"),
        ("--proxy-mode", "userspace", "mode", "'userspace' is not valid"),
        ("--nodeport-addresses", "10.0.0.0/8,x", "nodePortAddresses[1]", "'x' is not a prefix"),
        ("--bind-address", "", "bindAddress", "'' is not an IP address"),
        ("--healthz-bind-address", "host:1", "healthzBindAddress", "'host:1' is not IP:port"),
        ("--pod-bridge-interface", "", "", ""),
    ],
)
def test_a_wrong_flag_is_named_with_its_field(flag: str, text: str, path: str, words: str) -> None:
    problems = configure(None, {flag: (text,)}, {}).problems
    expected = [f"{flag} ({path})"] if path else []
    assert [problem.path for problem in problems][:1] == expected
    assert all(words in str(problem) for problem in problems[:1])


@pytest.mark.parametrize(
    ("fields", "unknown"),
    [
        ({"clusterCidr": "x"}, "clusterCidr (is clusterCIDR meant?)"),
        ({"udpIdleTimeout": "1s"}, "udpIdleTimeout"),
        ({"conntrack": {"max": 1}}, "conntrack.max"),
        ({"ebpflb": {"uplinkDevice": []}}, "ebpflb.uplinkDevice (is ebpflb.uplinkDevices meant?)"),
        ({7: 1}, "7"),
        ({None: 1}, "None"),
        ({"a\nb": 1}, "'a\\nb'"),
    ],
)
def test_an_unknown_field_is_named_and_does_no_harm(fields: dict[Any, Any], unknown: str) -> None:
    configured = configure({**document(), **fields}, {}, {})
    assert (configured.problems, configured.config) == ((), DEFAULTS)
    (found,) = configured.unknown
    assert found == unknown


def test_unknown_feature_gates_are_named() -> None:
    assert unknown_gates({"AllAlpha": True, "NFTablesProxyMod": True}) == [
        "NFTablesProxyMod (is NFTablesProxyMode meant?)"
    ]
    assert unknown_gates(["qqq"]) == ["qqq"]


FIELD_NAMES = [
    *("iptables", "ipvs", "nftables", "conntrack", "logging", "ebpflb", "clientConnection", "detectLocal", "mode"),
    *("clusterCIDR", "nodePortAddresses", "bindAddress", "healthzBindAddress", "detectLocalMode", "oomScoreAdj"),
    *("syncPeriod", "minSyncPeriod", "masqueradeBit", "qps", "burst", "min", "maxPerCore", "udpTimeout", "format"),
    *("options", "text", "flushFrequency", "vmodule", "mapSizes", "instance", "manifests", "socketOptOuts", "kind"),
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=4)
    | st.sampled_from(
        ["ipvs", "nftables", "primary", "10.0.0.0/8", "::/0", "1m30s", "-1s", "0.0.0.0:80", "[::]:1", "off"]
    )
)
names = st.sampled_from(FIELD_NAMES) | st.text(max_size=8) | scalars
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6), max_leaves=25
)
flags = st.dictionaries(
    st.sampled_from([*(flag.name for flag in FLAGS), *DEPRECATED]),
    st.lists(st.text(max_size=12) | st.sampled_from(["1m", "true", "10.0.0.0/8", "::1", "a=1"]), min_size=1).map(tuple),
    max_size=6,
)


@settings(max_examples=500, deadline=None)
@given(st.none() | st.dictionaries(names, values, max_size=8).map(lambda fields: {**document(), **fields}), flags)
def test_any_document_and_any_flags_are_taken_or_refused(
    fields: dict[Any, Any] | None, given_flags: dict[str, tuple[str, ...]]
) -> None:
    configured = configure(fields, given_flags, {})
    for problem in configured.problems:
        assert problem.path
        assert problem.remedy
        assert "\n" not in str(problem)
    if not configured.problems:
        assert options_of(configured.config).forwarding
        assert sync_period_s(configured.config) > 0
        assert all(seconds is None or seconds > 0 for seconds in flow_seconds(configured.config))
        assert all(note.value for note in configured.notes)


def test_a_type_that_nothing_is_said_of() -> None:
    assert FieldType.of(str) == FieldType(FieldType.of(str).kind, Treatment(), {})
    assert FieldType.of(str).words == "a text"
