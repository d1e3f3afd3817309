"""A process in a cgroup and a fresh network namespace: servers on its addresses, then one client of every kind.

    folder of a cgroup, address family --> answers by name (JSON on stdout)

Run as ``python -m tests.kernels.pod CGROUP 4|6``; nothing here knows how destinations are translated.
"""

import ctypes
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from ebpflb.core.abi import Family
from ebpflb.host.syscalls import CLONE_NEWNET
from tests.kernels.addresses import ADDRESSES, NODE_PORT, TCP_PORT, UDP_PORT

_SECONDS = 30
"""An emulated guest is slow."""


def _serve_tcp(server: socket.socket) -> None:
    while True:
        connection, _peer = server.accept()
        with connection:
            connection.sendall(server.getsockname()[0].encode())


def _serve_udp(server: socket.socket) -> None:
    while True:
        data, peer = server.recvfrom(100)
        server.sendto(data, peer)


def _start(family: socket.AddressFamily, names: dict[str, str]) -> None:
    """Have a namespace with the addresses, and servers on them."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare a network namespace")
    own = [names[name] for name in ("backend", "backend2", "node")]
    nodad = " nodad" if family is socket.AF_INET6 else ""
    batch = ["link set lo up", *(f"address add {address} dev lo{nodad}" for address in own)]
    if family is socket.AF_INET6:  # the kernel makes the routes of such addresses later, by a worker
        batch += [f"route add local {address} dev lo table local metric 1" for address in own]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(batch) + "\n", text=True, check=True)
    for address in own[:2]:
        server = socket.create_server((address, 8080), family=family)
        Thread(target=_serve_tcp, args=(server,), daemon=True).start()
    datagrams = socket.socket(family, socket.SOCK_DGRAM)
    datagrams.bind((own[0], 5353))
    Thread(target=_serve_udp, args=(datagrams,), daemon=True).start()


def _tcp(family: socket.AddressFamily, address: str, port: int) -> list[object]:
    """Return what the server said and whom the client believes to speak to; or the error's number."""
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(_SECONDS)
        try:
            client.connect((address, port))
        except OSError as error:
            return [error.errno]
        return [client.recv(100).decode(), *client.getpeername()[:2]]


def _connected_udp(family: socket.AddressFamily, address: str, port: int) -> list[object]:
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(_SECONDS)
        client.connect((address, port))
        client.send(b"connected")
        return [client.recv(100).decode(), *client.getpeername()[:2]]


def _unconnected_udp(family: socket.AddressFamily, address: str, port: int) -> list[object]:
    """The address is the one that recvfrom() shows."""
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(_SECONDS)
        client.sendto(b"unconnected", (address, port))
        data, peer = client.recvfrom(100)
        return [data.decode(), *peer[:2]]


def _initial_namespace(family: socket.AddressFamily, names: dict[str, str]) -> list[object]:
    """Connect a UDP socket, which sends nothing, to the NodePort on the loopback address."""
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.connect((names["loopback"], NODE_PORT))
        return list(client.getpeername()[:2])


def _bind_node_port(family: socket.AddressFamily, names: dict[str, str]) -> list[object]:
    """Return the error (0: none) of bind() to the NodePort on every address, and on IPv6's, for both families."""
    ends = ((family, names["any"]), (socket.AF_INET6, "::"))
    return [_bind(kind, address) for kind, address in ends]


def _bind(family: socket.AddressFamily, address: str) -> int | None:
    with socket.socket(family, socket.SOCK_STREAM) as server:
        if family is socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            server.bind((address, NODE_PORT))
        except OSError as error:
            return error.errno
        return 0


def _kernel_socket(names: dict[str, str]) -> list[object]:
    """Have the kernel itself connect to the Service, as the client of a file system; no such server answers there."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "9p", "-o", f"trans=tcp,port={TCP_PORT}", names["cluster"], folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
        return [done.returncode, done.stderr]


def main() -> int:
    """Print what each client saw."""
    folder, number = sys.argv[1:]
    (Path(folder) / "cgroup.procs").write_text(str(os.getpid()))
    names = ADDRESSES[Family(int(number))]
    family = socket.AF_INET if Family(int(number)) is Family.IPV4 else socket.AF_INET6
    answers = {
        "in the initial namespace": _initial_namespace(family, names),
        "bind in the initial namespace": _bind_node_port(family, names),
    }
    _start(family, names)
    answers["bind in a pod"] = _bind_node_port(family, names)
    answers |= _clients(family, names)
    if family is socket.AF_INET:
        by_ipv6 = {name: f"::ffff:{address}" for name, address in names.items()}
        answers |= {f"mapped {name}": answer for name, answer in _clients(socket.AF_INET6, by_ipv6).items()}
        if "9p" in Path("/proc/filesystems").read_text(encoding="ascii").split():
            answers["kernel socket"] = _kernel_socket(names)
    print(json.dumps(answers))  # noqa: T201 - the result
    return 0


def _clients(family: socket.AddressFamily, names: dict[str, str]) -> dict[str, list[object]]:
    """Return what one client of every kind saw."""
    clients: dict[str, tuple[Callable[[socket.AddressFamily, str, int], list[object]], str, int]] = {
        "TCP": (_tcp, "cluster", TCP_PORT),
        "connected UDP": (_connected_udp, "cluster", UDP_PORT),
        "unconnected UDP": (_unconnected_udp, "cluster", UDP_PORT),
        "NodePort": (_tcp, "node", NODE_PORT),
        "NodePort on a pod's loopback address": (_tcp, "loopback", NODE_PORT),
        "no backends": (_tcp, "empty", TCP_PORT),
    }
    return {name: client(family, names[address], port) for name, (client, address, port) in clients.items()}


if __name__ == "__main__":
    sys.exit(main())
