"""Attaches the socket programs to a cgroup by pinned links, and adopts the links of an earlier run.

Decides, for each program, whether its link is made, updated, made anew or left alone. A link lives by its pin: the
agent may die, the hooks stay; removing the pin detaches. Knows nothing of what the programs do.

    pinned programs + cgroup folder + links folder --attach_cgroup--> what was done, in words
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ebpflb.core.abi import Family
from ebpflb.datapath import bpfabi, libbpf
from ebpflb.datapath.libbpf import Handle
from ebpflb.datapath.programs import SOCKET_PROGRAMS, programs_of
from ebpflb.errors import MapError, PrerequisiteError

_ATTACH_TYPES = {
    program.name(family): program.attach_type(family)
    for family in Family
    for program in programs_of(family, SOCKET_PROGRAMS)
}


def attach_cgroup(programs: Mapping[str, Path], cgroup: Path, links: Path) -> list[str]:
    """Attach programs (name, as ``lb_connect4`` -> pin) to a cgroup v2 folder; return what was done to each, in words.

    A link pinned at ``links/<name>`` by an earlier run is kept: updated in place, atomically, when the program is
    another one; made anew when it belongs to another cgroup, or to one that is gone. Other links are left alone.
    """
    with _open_cgroup(cgroup) as target:
        return [_attach(name, pin, target, links / name) for name, pin in sorted(programs.items())]


def require_cgroup(cgroup: Path) -> None:
    """Raise ``PrerequisiteError`` unless programs can be attached to a folder: asked before anything is built."""
    with _open_cgroup(cgroup):
        pass


def detach_cgroup(names: Iterable[str], links: Path) -> list[str]:
    """Detach by removing pins; return what was done, in words. Programs that are not attached are not mentioned."""
    done = []
    for name in sorted(names):
        try:
            (links / name).unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise MapError(f"detach {name}: {error.strerror}", remedy="run as root") from error
        done.append(f"{name}: detached")
    return done


def _attach(name: str, pin: Path, target: Handle, link_pin: Path) -> str:
    attach_type = _ATTACH_TYPES[name]
    with libbpf.obj_get(pin) as program:
        if not link_pin.exists():
            _create(program, target, attach_type, link_pin)
            return f"{name}: attached to {target.subject}"
        with libbpf.obj_get(link_pin) as link:
            info = _link_info(link)
            # A link whose cgroup was removed shows 0, which is no cgroup's id.
            if (info.cgroup_id, info.attach_type) == (_cgroup_id(target), attach_type):
                return _adopt(name, link, info.prog_id, program)
        _replace(program, target, attach_type, link_pin)
        return f"{name}: attached anew to {target.subject} (its link was of another cgroup or of one that is gone)"


def _adopt(name: str, link: Handle, linked_id: int, program: Handle) -> str:
    if linked_id == libbpf.prog_info(program).id:
        return f"{name}: adopted"
    result = libbpf.call("bpf_link_update", link.fileno(), program.fileno(), None)
    if result < 0:
        raise libbpf.failure("update", link.subject, -result)
    return f"{name}: adopted, program replaced"


def _create(program: Handle, target: Handle, attach_type: int, pin: Path) -> None:
    result = libbpf.call("bpf_link_create", program.fileno(), target.fileno(), attach_type, None)
    with libbpf.own("attach", f"{program.subject} to {target.subject}", result) as link:
        libbpf.obj_pin(link, pin)


def _replace(program: Handle, target: Handle, attach_type: int, pin: Path) -> None:
    """Attach first, then let the old link go: a rename over the old pin leaves no moment without either."""
    fresh = pin.with_name(f"{pin.name}-new")
    fresh.unlink(missing_ok=True)  # of a run that died between the two steps
    _create(program, target, attach_type, fresh)
    fresh.rename(pin)


def _link_info(link: Handle) -> bpfabi.CgroupLinkInfo:
    info = bpfabi.CgroupLinkInfo()
    libbpf.read_info(link, info)
    return info


def _cgroup_id(cgroup: Handle) -> int:
    """Return the kernel's id of a cgroup: on 64-bit kernels since 5.5 the folder's inode number."""
    return os.fstat(cgroup.fileno()).st_ino


@contextmanager
def _open_cgroup(path: Path) -> Iterator[Handle]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise PrerequisiteError(
            f"cgroup {path} cannot be opened ({error.strerror})",
            remedy="name a folder of the cgroup v2 tree with --cgroup (`findmnt -t cgroup2` shows where it is mounted)",
        ) from error
    with Handle(fd, f"cgroup {path}") as handle:
        if not (path / "cgroup.controllers").exists():  # every folder of v2 has it, none of v1
            raise PrerequisiteError(
                f"{path} is not a folder of a cgroup v2 tree",
                remedy="name one with --cgroup (`findmnt -t cgroup2` shows where it is mounted)",
            )
        yield handle
