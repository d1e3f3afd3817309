"""What the loop makes of the node's own state: shown as it is, and a device without its programs is ill health."""

from dataclasses import replace

from ebpflb.core.abi import Family
from ebpflb.reconcile.fake import FakeMapStore
from ebpflb.reconcile.loop import ReconcileLoop
from ebpflb.reconcile.status import FailedDevice, NodeStatus, RoleHooks, Status
from tests.unit.reconcile.world import NODE, WEB, Agent

NODE_STATUS = NodeStatus(
    cgroup="/cg",
    socket_programs=("lb_connect4",),
    devices=(RoleHooks("uplink", ("lb_out4",), ("eth0",)),),
    repairs=1,
    warnings=("no device matches",),
)


def test_a_device_that_is_not_served_is_ill_health() -> None:
    node = NODE_STATUS
    agent = Agent(FakeMapStore(Family.IPV4))
    statuses: list[Status] = []
    agent.loop = ReconcileLoop(
        {Family.IPV4: agent.store},
        agent.inbox,
        NODE.name,
        clock=agent.time.clock(),
        on_status=statuses.append,
        node_status=lambda: node,
    )
    agent.apply(WEB)
    assert statuses[-1].healthy
    assert Status.from_json(statuses[-1].to_json()).node == NODE_STATUS
    node = replace(node, failed=(FailedDevice("eth1", "uplink", "refused", "look"),))
    agent.loop.step()
    assert (statuses[-1].healthy, statuses[-1].node) == (False, node)
    node = NODE_STATUS
    agent.inbox.source_error("the API server is gone")
    agent.loop.step()
    assert (statuses[-1].healthy, statuses[-1].source_error) == (True, "the API server is gone")
