"""The feature gates that some kube-proxy knows. None has an effect here; any other is likely to be misspelt.

featureGates --unknown_gates--> names for a warning
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_KNOWN: Final = frozenset(
    {
        "AllAlpha",
        "AllBeta",
        "AllowServiceExternalIPs",
        "ComponentFlagz",
        "ComponentSLIs",
        "ComponentStatusz",
        "ContextualLogging",
        "DisableNodeKubeProxyVersion",
        "EndpointSliceProxying",
        "IPv6DualStack",
        "InformerResourceVersion",
        "KubeProxyDrainingTerminatingNodes",
        "KubeProxyIPVS",
        "KubeProxyNFTablesLocalhostNodePorts",
        "LoadBalancerIPMode",
        "LoggingAlphaOptions",
        "LoggingBetaOptions",
        "MinimizeIPTablesRestore",
        "MultiCIDRServiceAllocator",
        "NFTablesProxyMode",
        "PreferSameTrafficDistribution",
        "ProxyTerminatingEndpoints",
        "SCTPSupport",
        "ServiceInternalTrafficPolicy",
        "ServiceTopology",
        "ServiceTrafficDistribution",
        "StructuredLogging",
        "SupportIPVSProxyMode",
        "TopologyAwareHints",
        "WatchListClient",
        "WinDSR",
        "WinOverlay",
    }
)


def unknown_gates(names: Iterable[str]) -> list[str]:
    """Return the gates that no kube-proxy has, with the one that may be meant."""
    found = []
    for name in sorted(set(names) - _KNOWN):
        close = get_close_matches(name, sorted(_KNOWN), n=1)
        found.append(f"{name} (is {close[0]} meant?)" if close else name)
    return found
