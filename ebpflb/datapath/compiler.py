"""The short-lived child that compiles, loads and pins: ``python -m ebpflb.datapath.compiler < job.json``.

The agent never maps LLVM's memory, and a crash of the compiler cannot take it down. This is the only module that
imports bcc. What bcc warns about (a kernel newer than it knows) goes to stderr, which the parent shows on failure only.
It dies with its parent: one that lived on would pin into the folders of the agent that is started next.

    job (JSON on stdin) --> bcc --> pins --> instruction counts (JSON, the last line of stdout)
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_CLONE_NEWNS: Final = 0x20000
_MS_BIND: Final = 0x1000
_MS_REC_PRIVATE: Final = 0x4000 | 0x40000
_NO_DEBUG_INFO: Final = "-g0"
"""bcc asks for debug info; the last such flag counts."""


def _die_with(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent ends; leave at once if it has ended already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _hide_symbols() -> None:
    """Have bcc find no kernel symbols: it reads all of them for each text, a tenth of a second and more, to learn
    whether a helper is there that no text of ours calls.

    In a mount namespace of our own, which a process may be denied: the symbols are read then.
    """
    libc = ctypes.CDLL(None)
    if libc.unshare(_CLONE_NEWNS) == 0 and libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None) == 0:
        libc.mount(b"/dev/null", b"/proc/kallsyms", None, _MS_BIND, None)


def _build_unit(unit: dict[str, Any], cflags: list[str]) -> dict[str, int]:
    """Compile, load and pin. What the verifier refuses is built again with source lines, so that it can name them."""
    from bcc import BPF  # noqa: PLC0415 - bcc reads its environment when it compiles

    text = unit["text"].encode()
    if unit["has_debug_info"]:
        return _load(BPF(text=text, cflags=cflags), unit["programs"])
    module = BPF(text=text, cflags=[*cflags, _NO_DEBUG_INFO])
    try:
        return _load(module, unit["programs"])
    except Exception:  # noqa: BLE001 - bcc raises bare Exception
        for program in unit["programs"]:
            Path(program["pin"]).unlink(missing_ok=True)
        return _load(BPF(text=text, cflags=cflags), unit["programs"])


def _load(module: Any, programs: list[dict[str, Any]]) -> dict[str, int]:
    from bcc import lib  # noqa: PLC0415

    instructions = {}
    for program in programs:
        name = program["name"].encode()
        function = module.load_func(name, program["type"], attach_type=program["attach_type"])
        if lib.bpf_obj_pin(function.fd, program["pin"].encode()) != 0:
            raise OSError(f"cannot pin {program['name']} at {program['pin']}")
        if program["tail_call"] is not None:
            array, index = program["tail_call"]
            module[array.encode()][ctypes.c_int(index)] = ctypes.c_int(function.fd)
        instructions[program["name"]] = lib.bpf_function_size(module.module, name) // 8
    return instructions


def main() -> int:
    """Run one job; exit code 0 and JSON on stdout, or 1 and the reason on stderr."""
    job = json.load(sys.stdin)
    _die_with(job["parent"])
    os.environ["BCC_KERNEL_SOURCE"] = job["shim"]
    os.environ["BCC_LINUX_VERSION_CODE"] = str(job["kernel"])
    if job["hides_symbols"]:
        _hide_symbols()
    instructions: dict[str, int] = {}
    try:
        for unit in job["units"]:
            instructions |= _build_unit(unit, job["cflags"])
    except Exception as error:  # noqa: BLE001 - bcc raises bare Exception
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"\n{json.dumps(instructions)}\n")
    return 0


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)  # without taking LLVM's structures apart: the parent waits
