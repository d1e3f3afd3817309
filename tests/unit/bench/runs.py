"""A run of `ebpflb bench` as the tests of its output need it: invented values, every kind of result and of plot."""

from ebpflb.bench.document import Document, Run
from ebpflb.bench.figures import judge, unmeasured
from ebpflb.bench.machine import Machine
from ebpflb.bench.measure import Point, Series

MACHINE = Machine(
    date="2031-05-04T12:00:00+00:00",
    kernel="6.18.1",
    architecture="x86_64",
    cpu="Some <processor>",
    cores=2,
    memory_mb=8_192,
    virtualization="kvm",
    mitigations={"spectre_v2": "Mitigation: Retpolines"},
    bpf_jit="bpf_jit_enable 1, bpf_jit_harden 0",
    load_before=(0.5, 0.25, 0.125),
    tools={"nft": "v1.0.6"},
    ebpflb="0.1.0",
    commit="abc",
)
BEHIND = {"ours_us": 16.6, "direct_us": 16.5, "iptables_nft_us": 149.0}
MET = judge("P1", 1.006, floor=16.5, peer=149.0, spread=0.004, detail=BEHIND)
MISSED = judge("P6", 0.81, note="among & <others>")
UNMEASURED = unmeasured("P10", "there is no nft")
LATENCY = Series(
    "connect_latency",
    "connect() to the last Service",
    "Services",
    "us, median",
    {
        "direct": [Point(10, 16.5, 0.2), Point(1_000, 16.4, 0.2), Point(10_000, 16.5, 0.3)],
        "ebpflb socket": [Point(10, 16.6, 0.2), Point(1_000, 16.6, 0.2), Point(10_000, 16.6, 0.3)],
        "iptables-legacy": [Point(10, 20.1, 0.5), Point(1_000, 21.7, 0.5), Point(10_000, 46.1, 1.0)],
        "iptables-nft": [Point(10, 20.7, 0.5), Point(1_000, 34.1, 1.5), Point(10_000, 149.0, 6.0)],
        "nftables": [Point(10, 19.6, 0.5), Point(1_000, 19.5, 0.5), Point(10_000, 19.5, 0.5)],
    },
    is_log_x=True,
    is_log_y=True,
)
RATES = Series(
    "packet_rates",
    "packets a second on one core",
    "mode",
    "Mpps",
    {"established": [Point(0, 0.56, 0.01), Point(1, 1.2, 0.02), Point(2, 3.05, 0.05)]},
    labels=("iptables-legacy", "ebpflb tc", "ebpflb XDP"),
)
PROGRAMMING = Series(
    "time_to_program",
    "time to program all",
    "Services",
    "s",
    {"nftables": [Point(0, 0.3), Point(1, 19.0)], "ebpflb": [Point(0, 0.04), Point(1, 0.3)]},
    labels=("1,000", "10,000"),
)
RUN = Document(
    machine=MACHINE,
    run=Run("ebpflb bench --quick", quick=True, seconds=171.4, interrupted=False, failures={"requests": "no route"}),
    results=(MET, MISSED, UNMEASURED),
    series=(LATENCY, RATES, PROGRAMMING),
    peers={"ipvs": "this kernel has none"},
)
