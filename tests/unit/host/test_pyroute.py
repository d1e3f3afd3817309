"""pyroute2 in parts is pyroute2: each case in a process of its own, as it is about what is imported first."""

import subprocess
import sys

import pytest

IS_SAME = """
from pyroute2.netlink import nlmsg, rtnl
from ebpflb.host import pyroute
assert pyroute2.IPRSocket is pyroute.IPRSocket, "the package's own"
assert pyroute2.NetlinkError is pyroute.NetlinkError
assert pyroute2.iproute.IPRoute is pyroute2.IPRoute, "a part, by the package"
assert nlmsg is pyroute.nlmsg and issubclass(pyroute.tcmsg, nlmsg)
with pyroute2.IPRSocket() as socket:
    parsers = socket.marshal.msg_map
for event, message in (("LINK", "ifinfmsg"), ("ADDR", "ifaddrmsg"), ("TFILTER", "tcmsg")):
    assert parsers[getattr(rtnl, f"RTM_NEW{event}")] is getattr(pyroute, message), message
"""
IN_PARTS = "assert 'pyroute2' in sys.modules and 'pyroute2.ndb.main' not in sys.modules\n"
WHOLE = "assert 'pyroute2.ndb.main' in sys.modules\n"


def run(program: str) -> None:
    command = [sys.executable, "-c", f"import sys\n{program}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_an_agent_has_parts_and_who_asks_for_more_gets_the_same_package() -> None:
    agent = "import ebpflb.host.netlink, ebpflb.host.tc, ebpflb.host.xdp, ebpflb.host.direct_pods\n"
    run(f"{agent}{IN_PARTS}import pyroute2\n{IN_PARTS}pyroute2.NDB\n{WHOLE}{IS_SAME}")


def test_more_is_had_by_name() -> None:
    run(f"import ebpflb.host.pyroute\n{IN_PARTS}from pyroute2 import WireGuard\n{WHOLE}import pyroute2\n{IS_SAME}")


def test_a_name_that_it_has_not_is_told_as_ever() -> None:
    run(
        "import ebpflb.host.pyroute, pyroute2\n"
        "try: pyroute2.nothing\n"
        "except AttributeError as error: assert 'nothing' in str(error)\n"
        f"else: raise SystemExit('there is none')\n{WHOLE}{IS_SAME}"
    )


def test_a_package_that_is_loaded_already_stays_as_it_is() -> None:
    run(
        f"import pyroute2\n{WHOLE}"
        f"from ebpflb.host import lean_pyroute2\nassert not lean_pyroute2.load_parts()\n{IS_SAME}"
    )


def test_a_version_that_nobody_has_tried_is_loaded_whole() -> None:
    run(
        "from ebpflb.host import lean_pyroute2\n"
        "lean_pyroute2._forget(); lean_pyroute2._KNOWN_VERSION = '0.0.'\n"
        "assert not lean_pyroute2.load_parts()\n"
        "assert not [name for name in sys.modules if name.startswith('pyroute2')]\n"
        f"import pyroute2\n{WHOLE}{IS_SAME}"
    )


@pytest.mark.parametrize("part", ["pyroute2.config.version", "pyroute2.iproute", "pyroute2.netlink.rtnl.iprsocket"])
def test_parts_that_cannot_be_had_alone_are_loaded_with_the_rest(part: str) -> None:
    refusing = f"""
from importlib.abc import MetaPathFinder
class Refusing(MetaPathFinder):
    asked = 0
    def find_spec(self, name, path, target=None):
        if name == {part!r} and not self.asked:
            self.asked += 1
            raise ImportError(name)
refusing = Refusing()
sys.meta_path.insert(0, refusing)
import ebpflb.host.netlink
assert refusing.asked
"""
    run(f"{refusing}{WHOLE}import pyroute2\n{IS_SAME}")
