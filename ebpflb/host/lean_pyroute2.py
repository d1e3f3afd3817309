"""Loads of pyroute2 what an agent needs. The package's own ``__init__`` loads all of it: sixty modules and 5 MB more.

Decides which parts are loaded, and what becomes of the package: it is there, but its ``__init__`` runs when somebody
asks for a name that it would define. Whoever does gets the package whole, with the parts that are loaded already. Where
anything is not as expected the package is loaded as any other. Imported before pyroute2 itself: by ``pyroute.py``.

    parts --load_parts--> sys.modules;  pyroute2.NAME --the package's __init__--> whatever it is
"""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, Final

_PACKAGE: Final = "pyroute2"
_KNOWN_VERSION: Final = "0.9."
"""Of which it is known that no part needs the package's ``__init__`` to have run."""
_PARTS: Final = ("pyroute2.iproute", "pyroute2.netlink.rtnl.iprsocket")
"""In this order: they import each other in a circle, which can only be entered here."""


def load_parts() -> bool:
    """Load the parts without the package's ``__init__``; return whether that was possible. If not, nothing is loaded.

    Does nothing where the package is loaded already.
    """
    spec = None if _PACKAGE in sys.modules else find_spec(_PACKAGE)
    if spec is None or spec.loader is None:
        return False
    package = sys.modules[_PACKAGE] = module_from_spec(spec)
    try:
        version = str(import_module(f"{_PACKAGE}.config.version").__version__)
        is_loaded = version.startswith(_KNOWN_VERSION)
        if is_loaded:
            for part in _PARTS:
                import_module(part)
    except (ImportError, AttributeError):
        is_loaded = False
    if is_loaded:
        vars(package)["__getattr__"] = _completing(package, spec.loader.exec_module)
    else:
        _forget()
    return is_loaded


def _completing(package: ModuleType, run_init: Callable[[ModuleType], None]) -> Callable[[str], Any]:
    """Return what Python calls for a name that the package does not have (PEP 562)."""

    def complete(name: str) -> Any:
        del vars(package)["__getattr__"]
        run_init(package)
        return getattr(package, name)

    return complete


def _forget() -> None:
    """Have the package imported from its beginning."""
    for name in [each for each in sys.modules if each.partition(".")[0] == _PACKAGE]:
        del sys.modules[name]


load_parts()
