"""Byte code for what a run starts: an installed package has it; without, each agent compiles our two hundred modules.

Decides where it is, in a folder that goes with the run, and that an agent's is there before anything is measured. The
environment may forbid Python to write any (PYTHONDONTWRITEBYTECODE), as images of containers like to do.

    bytecode_at_hand --> the environment of whatever is started meanwhile: agents, and peers that are Python, too
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_FORBIDS: Final = "PYTHONDONTWRITEBYTECODE"
_PLACE: Final = "PYTHONPYCACHEPREFIX"
_LOADED: Final = ("ebpflb.cli.run", "ebpflb.cli.run_node", "ebpflb.kube.watch", "ebpflb.kube.events")
"""By an agent, with all that they import."""
_BY_CHILD: Final = "ebpflb.kube.credentials"


@contextmanager
def bytecode_at_hand() -> Iterator[None]:
    """Have what is started meanwhile find its byte code, and write what is not there yet."""
    before = {name: os.environ.get(name) for name in (_FORBIDS, _PLACE)}
    with tempfile.TemporaryDirectory(prefix="ebpflb-bench-") as folder:
        os.environ.pop(_FORBIDS, None)
        os.environ[_PLACE] = folder
        try:
            subprocess.run([sys.executable, "-c", f"import {', '.join((*_LOADED, _BY_CHILD))}"], check=True)
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
