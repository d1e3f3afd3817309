"""What ends an agent so that another one starts, and what does not."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ebpflb.agent import restart as module
from ebpflb.agent.config import AgentConfig
from ebpflb.agent.restart import NodeGuard, Restart, RestartError, restart_parts
from ebpflb.core.model import Host, Node
from ebpflb.core.options import DetectLocal, Options
from ebpflb.errors import EbpflbError, ObjectError
from ebpflb.reconcile.inbox import Inbox
from ebpflb.reconcile.ports import Kind

SECONDS = 60.0
FIRST, SECOND, SIXTH = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2]), bytes(15) + b"\1"
NODE = Node("node-1", zone="a", addresses=(FIRST, SIXTH), pod_cidrs=("10.244.1.0/24",))
PLAIN = AgentConfig("node-1")
NODE_CIDR = replace(PLAIN, options=Options(detect_local=DetectLocal.NODE_CIDR))


class World:
    """A guard between nothing and an inbox."""

    def __init__(self, config: AgentConfig = PLAIN) -> None:
        self.restart = Restart()
        self.inbox = Inbox("node-1")
        self.guard = NodeGuard(self.inbox, config, self.restart)
        self.inbox.host(Host())

    @property
    def node(self) -> Node | None:
        node: Node | None = self.inbox._objects[Kind.NODE].get(("", "node-1"))
        return node

    def run(self, stop: threading.Event | None = None) -> "Future[None]":
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self.restart.run, stop or ended())


def ended() -> threading.Event:
    stop = threading.Event()
    stop.set()
    return stop


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda guard: guard.upsert(Kind.NODE, replace(NODE, addresses=(SECOND, SIXTH))),
            "from 192.0.2.1,::1 to 192.0.2.2,::1",
        ),
        (lambda guard: guard.upsert(Kind.NODE, replace(NODE, addresses=(FIRST,))), "addresses of Node node-1 have ch"),
        (lambda guard: guard.replace(Kind.NODE, [replace(NODE, addresses=(SECOND,))]), "to 192.0.2.2"),
        (lambda guard: guard.delete(Kind.NODE, ("", "node-1")), "Node node-1 is gone"),
        (lambda guard: guard.replace(Kind.NODE, []), "Node node-1 is gone"),
        (lambda guard: guard.upsert(Kind.NODE, Node("node-1")), "Node node-1 is gone"),
    ],
)
def test_another_node_ends_the_agent(change: Callable[[NodeGuard], None], words: str) -> None:
    world = World()
    world.guard.replace(Kind.NODE, [NODE])
    change(world.guard)
    assert world.restart.is_demanded
    with pytest.raises(RestartError) as caught:
        world.run().result(SECONDS)
    assert words in caught.value.message
    assert (caught.value.exit_code, "traffic goes on" in caught.value.remedy) == (1, True)
    assert world.node == NODE, "what has changed is left to the next agent"


@pytest.mark.parametrize(
    "change",
    [
        lambda guard: guard.upsert(Kind.NODE, replace(NODE, zone="b")),
        lambda guard: guard.upsert(Kind.NODE, replace(NODE, addresses=(FIRST, SIXTH, SECOND))),
        lambda guard: guard.upsert(Kind.NODE, replace(NODE, addresses=())),
        lambda guard: guard.upsert(Kind.NODE, replace(NODE, pod_cidrs=("10.244.2.0/24",))),
        lambda guard: guard.upsert(Kind.NODE, replace(NODE, is_eligible=False)),
        lambda guard: guard.replace(Kind.NODE, [NODE]),
        lambda guard: guard.replace(Kind.NODE, [], [ObjectError("Node", "node-1", "x", "y", "z")]),
        lambda guard: guard.delete(Kind.NODE, ("", "node-2")),
        lambda guard: guard.replace(Kind.SERVICE, []),
    ],
)
def test_what_does_not_end_it(change: Callable[[NodeGuard], None]) -> None:
    world = World()
    world.guard.replace(Kind.NODE, [NODE])
    change(world.guard)
    assert not world.restart.is_demanded
    world.run().result(SECONDS)


@pytest.mark.parametrize("first", [[], [Node("node-1")]])
def test_a_node_that_was_never_there_is_not_gone(first: list[Node]) -> None:
    world = World()
    world.guard.replace(Kind.NODE, first)
    world.guard.replace(Kind.NODE, [])
    world.guard.delete(Kind.NODE, ("", "node-1"))
    assert not world.restart.is_demanded
    world.guard.upsert(Kind.NODE, NODE)
    assert (world.restart.is_demanded, world.node) == (False, NODE)


def test_addresses_that_come_later_are_no_change() -> None:
    world = World()
    world.guard.upsert(Kind.NODE, replace(NODE, addresses=()))
    world.guard.upsert(Kind.NODE, NODE)
    assert not world.restart.is_demanded
    world.guard.upsert(Kind.NODE, replace(NODE, addresses=(SECOND,)))
    assert world.restart.is_demanded


def test_other_pod_cidrs_end_the_agent_in_their_mode() -> None:
    world = World(NODE_CIDR)
    world.guard.replace(Kind.NODE, [NODE])
    world.guard.upsert(Kind.NODE, replace(NODE, zone="b"))
    assert not world.restart.is_demanded
    world.guard.upsert(Kind.NODE, replace(NODE, pod_cidrs=()))
    with pytest.raises(RestartError, match=r"podCIDRs of Node node-1 have changed from 10.244.1.0/24 to none"):
        world.run().result(SECONDS)


def test_in_their_mode_nothing_begins_without_pod_cidrs() -> None:
    world = World(NODE_CIDR)
    bare = replace(NODE, pod_cidrs=())
    world.guard.replace(Kind.NODE, [bare], [ObjectError("Node", "node-1", "x", "y", "z")])
    world.guard.upsert(Kind.NODE, bare)
    world.guard.delete(Kind.NODE, ("", "other"))
    assert world.node is None
    assert "Node" in world.inbox.view().missing
    assert [error.name for error in world.inbox.view().refused] == ["node-1"]
    world.guard.upsert(Kind.NODE, NODE)
    assert world.node == NODE
    assert "Node" not in world.inbox.view().missing


def test_pod_cidrs_are_not_awaited_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POD_CIDRS_WAIT_S", 0.01)
    with pytest.raises(
        EbpflbError, match="Node node-1: its podCIDRs are missing after 0 s; have kube-controller"
    ) as error:
        World(NODE_CIDR).run(threading.Event()).result(SECONDS)
    assert not isinstance(error.value, RestartError)


def test_pod_cidrs_that_arrive_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POD_CIDRS_WAIT_S", SECONDS)
    world, stop = World(NODE_CIDR), threading.Event()
    thread = threading.Thread(target=world.restart.run, args=(stop,))
    thread.start()
    world.guard.upsert(Kind.NODE, NODE)
    stop.set()
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_everything_else_is_passed_on() -> None:
    world = World()
    world.guard.refuse(Kind.SERVICE, ("a", "b"), ObjectError("Service", "a/b", "x", "y", "z"))
    world.guard.incomplete(is_incomplete=True)
    world.guard.source_error("down")
    world.guard.host(Host(frozenset([FIRST])))
    view = world.inbox.view()
    assert (view.error, [error.name for error in view.refused]) == ("down", ["a/b"])
    assert world.inbox._host == Host(frozenset([FIRST]))
    assert world.inbox._unread().has_unknown


def test_the_first_reason_counts() -> None:
    restart = Restart()
    restart.demand("one")
    restart.demand("two")
    with pytest.raises(RestartError, match=r"^one; start the agent again"):
        restart.run(threading.Event())


def test_another_file_ends_the_agent(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("a: 1")
    restart = Restart()
    parts = restart_parts(replace(PLAIN, config_file=path, config_bytes=b"a: 1"), restart)
    stop = threading.Event()
    threads = [threading.Thread(target=parts["configuration"], args=(stop,))]
    threads[0].start()
    path.write_text("a: 2")
    with pytest.raises(RestartError, match=f"the configuration file {path} has changed"):
        parts["restart"](stop)
    stop.set()
    threads[0].join(SECONDS)
    assert not threads[0].is_alive()


def test_without_a_file_none_is_watched() -> None:
    assert list(restart_parts(PLAIN, Restart())) == ["restart"]
