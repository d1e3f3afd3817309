"""ebpflb: a kube-proxy replacement whose packets are forwarded by eBPF programs."""

__version__ = "0.1.0"
