"""``ebpflb run``: flags into an ``AgentConfig``, and the agent until a signal stops it.

Decides which flags go together and their defaults. What the agent does with them is the agent's. Traffic goes on
when it ends: pins and filters stay.

    flags, environment -> AgentConfig -> run_agent
"""

import socket
from pathlib import Path
from typing import Final

import click

from ebpflb.agent import AgentConfig, run_agent
from ebpflb.agent.config import Acceleration
from ebpflb.cli.logs import set_up_logging
from ebpflb.cli.opt_outs import opt_out_runtime_class_option, socket_opt_out_option
from ebpflb.cli.options import (
    bpffs_option,
    cgroup_option,
    instance_option,
    require_root,
    split_patterns,
    state_dir_option,
    uplink_devices_option,
)
from ebpflb.cli.signals import stop_on_signals
from ebpflb.cli.sizes import map_size_option
from ebpflb.cli.verbs import is_debugging
from ebpflb.core.abi import Family
from ebpflb.core.options import Forwarding, Options
from ebpflb.datapath.build import MapSizes
from ebpflb.datapath.stale import TcpSockets
from ebpflb.errors import PrerequisiteError
from ebpflb.host.mounts import cgroup2_mounts, read_mounts

_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

_FAMILIES: Final = {"ipv4": (Family.IPV4,), "ipv6": (Family.IPV6,), "dual": (Family.IPV4, Family.IPV6)}


@click.command()
@click.option(
    "--manifests",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Serve the Services, EndpointSlices and Node in the YAML and JSON files of this folder.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Serve what the API server of this kubeconfig says.  [default in a pod: its service account]",
)
@click.option("--node-name", metavar="NAME", help="Name of the own Node.  [default: the host name, lower case]")
@uplink_devices_option
@click.option(
    "--pod-devices",
    multiple=True,
    metavar="PATTERN,...",
    callback=split_patterns,
    help="The host's side of the pods' veths, as glob patterns. May be repeated.",
)
@click.option(
    "--acceleration",
    type=click.Choice([each.value for each in Acceleration]),
    default=Acceleration.AUTO.value,
    show_default=True,
    help="Whether XDP serves uplinks before tc does: in the driver where it can (auto; not on veths), in the driver or "
    "with a warning (native), in the stack (generic: for drivers without XDP; slow), or not at all (off). A card may "
    "pause for a moment when XDP is switched on or off.",
)
@click.option(
    "--forwarding",
    type=click.Choice([each.value for each in Forwarding]),
    default=Forwarding.SNAT.value,
    show_default=True,
    help="Which way replies go to clients outside: back through the node that they dialled (snat), or directly from "
    "the backend's node (dsr; hybrid: TCP only), which all nodes must be told, and the network must let pass. The "
    "annotation ebpflb.io/forwarding of a Service comes first.",
)
@cgroup_option
@socket_opt_out_option
@opt_out_runtime_class_option
@click.option(
    "--ip-family",
    type=click.Choice(list(_FAMILIES)),
    default="dual",
    show_default=True,
    help="Which IP families are served; one that the kernel lacks is left out.",
)
@bpffs_option
@instance_option
@state_dir_option
@map_size_option
@click.option(
    "--close-tcp-sockets",
    type=click.Choice([each.value for each in TcpSockets]),
    default=TcpSockets.DELETED.value,
    show_default=True,
    help="Which TCP sockets on this node are closed, so that their processes get an error at once: those whose backend "
    "is deleted, also those whose backend takes no new connections, or none. UDP sockets always are.",
)
@click.option(
    "--protect-node-ports/--no-protect-node-ports",
    default=True,
    show_default=True,
    help="Refuse bind() to the port of a NodePort to processes of the host, which would hear nothing there.",
)
@click.option(
    "--answer-ping/--no-answer-ping",
    default=True,
    show_default=True,
    help="Answer a ping to a ClusterIP, load-balancer IP or externalIP while a Service has backends there.",
)
def command(
    *,
    manifests: Path | None,
    kubeconfig: Path | None,
    node_name: str | None,
    uplink_devices: tuple[str, ...],
    pod_devices: tuple[str, ...],
    acceleration: str,
    forwarding: str,
    cgroup: Path | None,
    socket_opt_outs: tuple[str, ...],
    opt_out_runtime_classes: tuple[str, ...],
    ip_family: str,
    bpffs: Path,
    instance: str,
    state_dir: Path,
    sizes: MapSizes,
    close_tcp_sockets: str,
    protect_node_ports: bool,
    answer_ping: bool,
) -> None:
    """Run the agent of this node.

    Ends with SIGTERM or SIGINT; traffic goes on. EBPFLB_DEBUG=1 logs more.
    """
    _check_source(manifests, kubeconfig)
    require_root("run")
    config = AgentConfig(
        manifests=manifests,
        kubeconfig=kubeconfig,
        node_name=_node_name(node_name),
        uplink_devices=uplink_devices,
        pod_devices=pod_devices,
        acceleration=Acceleration(acceleration),
        options=Options(Forwarding(forwarding)),
        cgroup=cgroup or _cgroup_root(),
        socket_opt_outs=socket_opt_outs,
        opt_out_runtime_classes=opt_out_runtime_classes,
        bpffs=bpffs,
        instance=instance,
        state_dir=state_dir,
        families=_FAMILIES[ip_family],
        sizes=sizes,
        close_tcp_sockets=TcpSockets(close_tcp_sockets),
        protect_node_ports=protect_node_ports,
        answer_ping=answer_ping,
    )
    set_up_logging(debug=is_debugging())
    with stop_on_signals() as stop:
        run_agent(config, stop)


def _check_source(manifests: Path | None, kubeconfig: Path | None) -> None:
    if manifests and kubeconfig:
        raise click.UsageError("--manifests and --kubeconfig exclude each other", click.get_current_context())
    if not manifests and not kubeconfig and not _TOKEN.exists():
        raise click.UsageError(
            f"name a source with --manifests or --kubeconfig (this is no pod: there is no {_TOKEN})",
            click.get_current_context(),
        )


def _node_name(given: str | None) -> str:
    """Return the name as kubelet and kube-proxy would: without spaces around it, in lower case."""
    name = (given if given is not None else socket.gethostname()).strip().lower()
    if not name:
        raise click.UsageError("--node-name is empty", click.get_current_context())
    return name


def _cgroup_root() -> Path:
    mounted = cgroup2_mounts(read_mounts())
    if not mounted:
        raise PrerequisiteError(
            "cgroup v2 is not mounted: the sockets of this node cannot be served",
            remedy="mount -t cgroup2 none /sys/fs/cgroup/unified, or boot with systemd.unified_cgroup_hierarchy=1",
        )
    return mounted[0]
