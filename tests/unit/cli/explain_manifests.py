"""One small cluster that the tests of ``ebpflb explain`` ask about, as manifests."""

from pathlib import Path

import yaml

SHOP = """
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: a}}
spec: {podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: kubernetes}
spec: {cidrs: [10.96.0.0/12]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10]
  externalTrafficPolicy: Local
  healthCheckNodePort: 32000
  sessionAffinity: ClientIP
  ports:
  - {name: http, port: 80, nodePort: 30080}
  - {name: quic, port: 443, protocol: UDP, nodePort: 30443}
  loadBalancerSourceRanges: [198.51.100.0/24]
status: {loadBalancer: {ingress: [{ip: 203.0.113.7}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: quic, port: 8443, protocol: UDP}]
endpoints:
- {addresses: [10.244.1.5], nodeName: n1, hints: {forZones: [{name: a}]}}
- {addresses: [10.244.2.5], nodeName: n2, hints: {forZones: [{name: b}]}}
- {addresses: [10.244.2.6], nodeName: n2, conditions: {ready: false}}
"""


def write_shop(folder: Path, **config: object) -> list[str]:
    """Write the manifests and a configuration; return the flags that ask about them."""
    (folder / "manifests.yaml").write_text(SHOP)
    head = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"}
    (folder / "config.yaml").write_text(yaml.safe_dump({**head, **config}))
    return ["--manifests", str(folder / "manifests.yaml"), "--node", "n1", "--config", str(folder / "config.yaml")]
