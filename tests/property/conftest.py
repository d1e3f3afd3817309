"""Laws are tried on the same examples on every run."""

from tests.property import profile

__all__ = ["profile"]
