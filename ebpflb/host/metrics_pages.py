"""The pages of the metrics server: /metrics, /metrics/slis, /proxyMode, /configz, /healthz.

Decides paths and content types. Must not know what a metric means.

    Request --> Response
"""

from collections.abc import Callable, Mapping

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from ebpflb.host.http_messages import JSON, NOT_FOUND, Request, Response
from ebpflb.host.http_server import Handler
from ebpflb.host.metrics import Metrics

CONFIG_GROUP = "kubeproxy.config.k8s.io"


def metrics_pages(metrics: Metrics, proxy_mode: str, config_text: str) -> Handler:
    """Return the handler of the metrics server; ``config_text`` is the configuration as JSON."""
    text = CONTENT_TYPE_PLAIN_0_0_4
    pages: Mapping[str, Callable[[], Response]] = {
        "/metrics": lambda: Response(metrics.exposition(), content_type=text),
        "/metrics/slis": lambda: Response(metrics.slis(), content_type=text),
        "/proxyMode": lambda: Response(proxy_mode),
        "/configz": lambda: Response(f'{{"{CONFIG_GROUP}": {config_text}}}', content_type=JSON),
        "/healthz": lambda: Response("ok"),
    }

    def handle(request: Request) -> Response:
        page = pages.get(request.path)
        return NOT_FOUND if page is None else page()

    return handle
