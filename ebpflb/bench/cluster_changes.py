"""Changes endpoints in a cluster, a process of its own: ``python -m ebpflb.bench.cluster_changes --kubeconfig ...``.

What it costs to send a request is not what it costs to see its effect in a map. A line ``change ORDER N`` on stdin
exchanges the first endpoint of Service N, or brings it back; the answer says when the request was sent.

    stdin: change ORDER N --> PATCH          stdout: changed ORDER NANOSECONDS
"""

import argparse
import sys
import time
from pathlib import Path

from ebpflb.bench.apiserver_objects import service_name
from ebpflb.bench.cluster_objects import slice_change_json, slices_path
from ebpflb.bench.cluster_requests import Requests
from ebpflb.errors import EbpflbError


def main() -> int:
    """Change what stdin says until it ends."""
    parser = argparse.ArgumentParser(description="Changes endpoints of a benchmark's own Services.")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--endpoints", type=int, required=True)
    asked = parser.parse_args()
    is_changed: dict[int, bool] = {}
    try:
        requests = Requests(asked.kubeconfig)
        for line in sys.stdin:
            order, number = (int(word) for word in line.split()[1:])
            is_changed[number] = not is_changed.get(number, False)
            body = slice_change_json(number, asked.endpoints, is_changed=is_changed[number])
            sent_ns = time.monotonic_ns()
            requests.patch(f"{slices_path(asked.namespace)}/{service_name(number)}", body)
            sys.stdout.write(f"changed {order} {sent_ns}\n")
            sys.stdout.flush()
    except EbpflbError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
