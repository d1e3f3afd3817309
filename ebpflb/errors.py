"""The one tree of errors: each names the object, the field and the remedy, so that a user never sees a traceback.

Raised everywhere, caught broadly only by the reconcile loop (which retries and records) and by the
command line (which prints one line and exits with the error's code).
"""


class EbpflbError(Exception):
    """Base of every error this package raises on purpose.

    ``exit_code`` is what the process exits with when the error reaches the command line.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """Return one line: what is wrong, then what to do."""
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class UsageError(EbpflbError):
    """A flag, a file or a value that the user gave cannot be used."""

    exit_code = 2


class ObjectError(EbpflbError):
    """One API object violates its schema. It is refused alone; the others are programmed."""

    def __init__(self, kind: str, name: str, field: str, problem: str, remedy: str) -> None:
        super().__init__(f"{kind} {name}: {field}: {problem}", remedy=remedy)
        self.kind = kind
        self.name = name
        self.field = field


class PrerequisiteError(EbpflbError):
    """The machine lacks something: a privilege, a kernel feature, bcc, bpffs, a cgroup v2 tree."""

    exit_code = 3


class InstanceBusyError(EbpflbError):
    """Another agent already runs this instance."""

    exit_code = 4


class MapError(EbpflbError):
    """A BPF map operation failed; names the operation, the map and the key."""


class MapFullError(MapError):
    """The map has no room for another entry (E2BIG)."""


class BuildError(EbpflbError):
    """The C programs did not compile or did not load; carries the compiler's or the verifier's words."""

    exit_code = 3


class LayoutError(EbpflbError):
    """A pinned map's layout is not the one this version writes."""

    exit_code = 3
