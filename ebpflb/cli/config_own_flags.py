"""ebpflb's own flags of ``run``, and the field of the section ``ebpflb:`` that each stands for.

Decides that a flag counts only when it is given: the defaults that ``--help`` shows are the section's.

    argv --> given_own(context) = {"ebpflb.uplinkDevices": ["eth*"]} --> configure
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from ebpflb.agent.config import Acceleration
from ebpflb.cli.opt_outs import opt_out_runtime_class_option, socket_opt_out_option
from ebpflb.cli.options import (
    bpffs_option,
    cgroup_option,
    instance_option,
    split_patterns,
    state_dir_option,
    uplink_devices_option,
)
from ebpflb.cli.sizes import map_size_option
from ebpflb.core.options import Forwarding
from ebpflb.core.proxy_config_own import EbpflbSection
from ebpflb.datapath.stale import TcpSockets

_Command = TypeVar("_Command", bound=Callable[..., Any])
_DEFAULTS: Final = EbpflbSection()

PATHS: Final = {
    "manifests": "ebpflb.manifests",
    "hostname_override": "hostnameOverride",
    "uplink_devices": "ebpflb.uplinkDevices",
    "pod_devices": "ebpflb.podDevices",
    "acceleration": "ebpflb.acceleration",
    "forwarding": "ebpflb.forwarding",
    "masquerade_local_pods": "ebpflb.masqueradeLocalPods",
    "cgroup": "ebpflb.cgroup",
    "socket_opt_outs": "ebpflb.socketOptOuts",
    "opt_out_runtime_classes": "ebpflb.optOutRuntimeClasses",
    "ip_family": "ebpflb.ipFamily",
    "bpffs": "ebpflb.bpffs",
    "instance": "ebpflb.instance",
    "state_dir": "ebpflb.stateDir",
    "sizes": "ebpflb.mapSizes",
    "close_tcp_sockets": "ebpflb.closeTcpSockets",
    "protect_node_ports": "ebpflb.protectNodePorts",
    "answer_ping": "ebpflb.answerPing",
}
"""The parameters of the options below, and their fields."""

_OPTIONS: Final[tuple[Callable[[Any], Any], ...]] = (
    click.option(
        "--manifests",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIR",
        help="Serve the Services, EndpointSlices and Node in the YAML and JSON files of this folder.",
    ),
    click.option(
        "--hostname-override",
        "--node-name",
        metavar="NAME",
        help="Name of the own Node.  [default: the host name, lower case]",
    ),
    uplink_devices_option,
    click.option(
        "--pod-devices",
        multiple=True,
        metavar="PATTERN,...",
        callback=split_patterns,
        help="The host's side of the pods' veths, as glob patterns. May be repeated.",
    ),
    click.option(
        "--acceleration",
        type=click.Choice([each.value for each in Acceleration]),
        default=_DEFAULTS.acceleration,
        show_default=True,
        help="Whether XDP serves uplinks before tc does: in the driver where it can (auto; not on veths), in the "
        "driver or with a warning (native), in the stack (generic: for drivers without XDP; slow), or not at all "
        "(off). A card may pause for a moment when XDP is switched on or off.",
    ),
    click.option(
        "--forwarding",
        type=click.Choice([each.value for each in Forwarding]),
        default=_DEFAULTS.forwarding,
        show_default=True,
        help="Which way replies go to clients outside: back through the node that they dialled (snat), or directly "
        "from the backend's node (dsr; hybrid: TCP only), which all nodes must be told, and the network must let "
        "pass. The annotation ebpflb.io/forwarding of a Service comes first.",
    ),
    click.option(
        "--masquerade-local-pods/--no-masquerade-local-pods",
        default=_DEFAULTS.masquerade_local_pods,
        show_default=True,
        help="Masquerade also what goes to pods of this node, redirected past netfilter's FORWARD chain. Switch it off "
        "where network policies are enforced there (Calico's iptables data plane, kube-router).",
    ),
    cgroup_option,
    socket_opt_out_option,
    opt_out_runtime_class_option,
    click.option(
        "--ip-family",
        type=click.Choice(["ipv4", "ipv6", "dual"]),
        default=_DEFAULTS.ip_family,
        show_default=True,
        help="Which IP families are served; one that the kernel lacks is left out.",
    ),
    bpffs_option,
    instance_option,
    state_dir_option,
    map_size_option,
    click.option(
        "--close-tcp-sockets",
        type=click.Choice([each.value for each in TcpSockets]),
        default=_DEFAULTS.close_tcp_sockets,
        show_default=True,
        help="Which TCP sockets on this node are closed, so that their processes get an error at once: those whose "
        "backend is deleted, also those whose backend takes no new connections, or none. UDP sockets always are.",
    ),
    click.option(
        "--protect-node-ports/--no-protect-node-ports",
        default=_DEFAULTS.protect_node_ports,
        show_default=True,
        help="Refuse bind() to the port of a NodePort to processes of the host, which would hear nothing there.",
    ),
    click.option(
        "--answer-ping/--no-answer-ping",
        default=_DEFAULTS.answer_ping,
        show_default=True,
        help="Answer a ping to a ClusterIP, load-balancer IP or externalIP while a Service has backends there.",
    ),
)


def own_options(command: _Command) -> _Command:
    """Add every flag of ebpflb's own."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def given_own(context: click.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that were given, by the path of their field, as a file would write them."""
    return {
        path: _plain(values[name])
        for name, path in PATHS.items()
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }


def _plain(value: Any) -> Any:
    match value:
        case Path():
            return str(value)
        case tuple():
            return list(value)
    return value
