"""Laws among the rules are tried on the same examples on every run, whichever folders take part in it."""

from tests.property import profile

__all__ = ["profile"]
