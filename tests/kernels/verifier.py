"""The compile child, made to say what the verifier did: ``ebpflb.datapath.compiler`` with the verifier's statistics.

    job (JSON on stdin) --> compiler --> pins;  "processed N insns" of each program --> JSON, the last line of stderr

Newer kernels tell this of a loaded program; 5.10 tells it only in the log of the load.
"""

import ctypes
import json
import re
import sys
from typing import Any

from ebpflb.datapath import compiler

_BPF_LOG_STATS = 4
_LOG_BYTES = 1 << 16
_NAME, _LOG_LEVEL, _LOG_BUFFER, _LOG_SIZE = 2, 7, 8, 9
"""Positions among the arguments of ``bcc_func_load``."""


def main() -> int:
    """Run one job as the compiler does."""
    from bcc import lib  # noqa: PLC0415 - bcc reads its environment later, when it compiles

    verified: dict[str, int] = {}
    load = lib.bcc_func_load

    def observed(*arguments: Any) -> int:
        log = ctypes.create_string_buffer(_LOG_BYTES)
        words = list(arguments)
        words[_LOG_LEVEL], words[_LOG_BUFFER], words[_LOG_SIZE] = _BPF_LOG_STATS, log, _LOG_BYTES
        descriptor: int = load(*words)
        if descriptor < 0:  # bcc asks again, and shows the whole log
            descriptor = load(*arguments)
        elif match := re.search(rb"processed (\d+) insns", log.value):
            verified[arguments[_NAME].decode()] = int(match[1])
        return descriptor

    lib.bcc_func_load = observed
    code = compiler.main()
    if code == 0:
        sys.stderr.write(f"\n{json.dumps(verified)}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
