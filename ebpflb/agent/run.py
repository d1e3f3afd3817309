"""The life of an agent: what is started in which order, and how it ends.

At the end everything stays pinned and attached: traffic goes on. ``ebpflb cleanup`` takes it away.
"""

import logging
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from ebpflb.agent.board import Board, capacity_warnings
from ebpflb.agent.cluster import Cluster, reach_cluster
from ebpflb.agent.config import AgentConfig
from ebpflb.agent.direct_pods import DirectPods
from ebpflb.agent.events import Reporter, tell_of_start
from ebpflb.agent.families import keep_served_families
from ebpflb.agent.hooks import Hooks
from ebpflb.agent.monitoring import Monitoring
from ebpflb.agent.opt_outs import HostFacts, OptOuts
from ebpflb.agent.restart import NodeGuard, Restart, restart_parts
from ebpflb.agent.sweeping import Sweeping
from ebpflb.agent.together import run_together, settle
from ebpflb.agent.tuning import tune_node
from ebpflb.core.abi import Family
from ebpflb.datapath.build import Build, BuildSpec, build_programs, remove_build
from ebpflb.datapath.cgroup import require_cgroup
from ebpflb.datapath.checksums import csum_ipv6_flag
from ebpflb.datapath.clock import JiffiesClock
from ebpflb.datapath.kernel_sockets import socket_bits
from ebpflb.datapath.programs import LATER_PROGRAMS
from ebpflb.datapath.store import PinnedMapStore
from ebpflb.errors import BuildError, PrerequisiteError
from ebpflb.host.features import SET_RETVAL, probe_feature
from ebpflb.host.finding import Level
from ebpflb.host.lock import InstanceLock
from ebpflb.host.mounts import ensure_bpffs
from ebpflb.host.netlink import HostWatcher
from ebpflb.host.netns_cookie import netns_cookie
from ebpflb.reconcile.inbox import Inbox
from ebpflb.reconcile.loop import ReconcileLoop
from ebpflb.reconcile.settings import Settings
from ebpflb.reconcile.status import Status, StatusFile

log = logging.getLogger(__name__)

HAIRPIN_ADDRESSES = {
    Family.IPV4: bytes([169, 254, 77, 1]),
    Family.IPV6: bytes.fromhex("fd65 6270 666c 0062 0000 0000 0000 0001"),
}
"""Nobody has them, and a pod answers them by its default route: of IPv4 a link-local one (RFC 3927), as its pods have
no route for those; of IPv6, whose every device has one, a unique local one with "ebpfl" as its global id (RFC 4193)."""

_SIGNAL_SECONDS = 1.0
"""In which a signal that ended the compiler has certainly reached the agent."""


def run_agent(config: AgentConfig, stop: threading.Event) -> None:
    """Run until ``stop`` is set. Raises ``EbpflbError`` when the agent cannot start or cannot go on."""
    ensure_bpffs(config.bpffs)
    config, warnings = keep_served_families(config)
    with ExitStack() as stack:
        stack.enter_context(InstanceLock(config.instance, config.pins.root))
        forget_status(config)
        cluster = reach_cluster(config, stop)
        if config.cgroup is not None:
            require_cgroup(config.cgroup)
        clock = stack.enter_context(JiffiesClock())
        builds = {} if cluster is None else build_unless_stopped(config, clock.hz, stop)
        if cluster is not None and not stop.is_set():
            tune_node(config)
            _serve(config, cluster, clock, builds, stop, warnings=warnings)
    log.info("stopped instance=%s traffic=goes_on", config.instance)


def _serve(
    config: AgentConfig,
    cluster: Cluster,
    clock: JiffiesClock,
    builds: Mapping[Family, Build],
    stop: threading.Event,
    *,
    warnings: Sequence[str],
) -> None:
    """Attach the programs and keep the maps up to date until ``stop`` is set."""
    with ExitStack() as stack:
        events = cluster.events
        stores = {family: stack.enter_context(PinnedMapStore(config.pins, family)) for family in config.families}
        hooks = Hooks(config, builds)
        hooks.attach_sockets()
        hooks.detach_strays()
        opt_outs = OptOuts(config)
        inbox = Inbox(config.node_name, on_pods=opt_outs.on_pods, tells_together=config.manifests is not None)
        restart = Restart()
        guard = NodeGuard(inbox, config, restart)
        facts = HostFacts(inbox.host)
        board = Board(hooks, inbox.wake, (*warnings, *check_capacities(config)))
        watcher = _watcher(config, facts, hooks, board)
        monitoring = stack.enter_context(Monitoring(config, builds, events, inbox.view, board.on_health))
        meter = monitoring.meter
        sweeping = stack.enter_context(Sweeping(config, clock, meter.on_sweep))
        reporter = Reporter(events, config.families)
        status_file = StatusFile(config.status_path)
        loop = ReconcileLoop(
            stores,
            inbox,
            config.node_name,
            on_applied=sweeping.on_applied,
            on_status=_StatusReport(
                status_file, lambda: finish_start(config, builds), reporter.on_status, meter.on_status
            ),
            node_status=board.node_status,
            settings=Settings(comparison_period_s=config.config_sync_period_s, on_compiled=settle),
            options=config.options,
            observers=[*monitoring.observers, reporter],
        )
        tell_of_start(events, config.node_name)
        run_together(
            stop,
            {
                "netlink": watcher.run,
                "source": lambda end: cluster.source.run(guard, end),
                "events": events.run,
                "opt-outs": lambda end: opt_outs.run([board.on_opt_outs, facts.on_opt_outs], end),
                "sweep": sweeping.run,
                "reconcile": loop.run,
                "health": monitoring.run,
                **restart_parts(config, restart),
            },
        )


def _watcher(config: AgentConfig, facts: HostFacts, hooks: Hooks, board: Board) -> HostWatcher:
    """Return who follows the machine's devices and addresses, and has programs attached to the devices."""
    direct = DirectPods(hooks, config.instance)
    return HostWatcher(
        *(config.uplink_devices, config.pod_devices, facts.on_host, direct.attach_device, direct.detach_device),
        on_view=board.on_view,
        families=config.families,
        xdp_devices=lambda: {**hooks.acceleration.devices(), **direct.by_xdp()},
        direct_pods=direct.by_tc,
    )


def forget_status(config: AgentConfig) -> None:
    """Remove a predecessor's status, which nobody shall take for ours."""
    try:
        config.status_path.unlink(missing_ok=True)
    except OSError as error:
        raise PrerequisiteError(
            f"--state-dir {config.state_dir}: {config.status_path} cannot be removed ({error.strerror})",
            remedy="name a folder that the agent may write to",
        ) from error


def build_unless_stopped(config: AgentConfig, hz: int, stop: threading.Event) -> dict[Family, Build]:
    """Return the pinned programs of every family, built or adopted; not of all when ``stop`` is set meanwhile.

    The compilers run at the same time. Who ends a whole control group ends them, too: their failure is then no failure
    of ours.
    """
    with ThreadPoolExecutor(len(config.families)) as pool:
        tasks = {family: pool.submit(_build, config, family, hz) for family in config.families}
        builds: dict[Family, Build] = {}
        for family, task in tasks.items():
            try:
                builds[family] = task.result()
            except BuildError:
                if not stop.wait(_SIGNAL_SECONDS):
                    raise
    return builds


def check_capacities(config: AgentConfig) -> tuple[str, ...]:
    """Return, and log, which adopted maps have another size than is wanted."""
    warnings = capacity_warnings(config.pins, config.families, config.sizes)
    for text in warnings:
        log.warning("map_size text=%r", text)
    return warnings


def finish_start(config: AgentConfig, builds: Mapping[Family, Build]) -> None:
    """Do what waits until the first snapshot is in the maps."""
    settle()
    remove_other_builds(config, builds)


def remove_other_builds(config: AgentConfig, builds: Mapping[Family, Build]) -> None:
    """Unpin the programs of earlier versions, and all of families that are not served any more.

    Filters and links hold their own references until they are replaced or removed.
    """
    for version in config.pins.remove_other_schemas():
        log.info("schema_removed version=%s", version)
    for family in Family:
        if family not in builds and config.pins.family(family).exists():
            shutil.rmtree(config.pins.family(family))
            log.info("family_removed family=%s", family.name)
    for family, build in builds.items():
        for folder in config.pins.progs(family).iterdir():
            if folder.name != build.key:
                remove_build(folder)
                log.info("build_removed family=%s key=%s", family.name, folder.name)


def _build(config: AgentConfig, family: Family, hz: int) -> Build:
    pins = config.pins
    pins.create_folders(family)
    spec = BuildSpec(
        family=family,
        maps=pins.maps(family),
        progs=pins.progs(family),
        hz=hz,
        host_netns_cookie=netns_cookie(),
        hairpin_address=HAIRPIN_ADDRESSES[family],
        have_set_retval=probe_feature(SET_RETVAL).level is Level.OK,
        protect_node_ports=config.protect_node_ports,
        answer_ping=config.answer_ping,
        csum_ipv6_flag=csum_ipv6_flag() if family is Family.IPV6 else 0,
        socket_bits=socket_bits(),
        sizes=config.sizes,
    )
    build = build_programs(spec, later=LATER_PROGRAMS)
    log.info(
        "build_%s family=%s key=%s seconds=%.2f kernel_sockets=%s",
        "compiled" if build.compiled else "adopted",
        family.name,
        build.key,
        build.seconds,
        "left_alone" if spec.socket_bits.kernel.mask else "not_told_apart",
    )
    return build


class _StatusReport:
    """Writes each status to its file, hands it on, and says once when the first snapshot is in the maps.

    Until then a predecessor's programs may be at work on some device: they need what is pinned with them.
    """

    def __init__(self, file: StatusFile, on_ready: Callable[[], None], *listeners: Callable[[Status], None]) -> None:
        self._file, self._on_ready, self._listeners = file, on_ready, listeners
        self._is_ready = False

    def __call__(self, status: Status) -> None:
        for listener in self._listeners:
            listener(status)
        self._file.write(status)
        if status.last_change_applied_at is not None and not self._is_ready:
            self._is_ready = True
            self._on_ready()
            log.info("ready node=%s services=%d", status.node_name, status.objects.get("Service", 0))
