"""A sink that keeps what a source delivered, lets a test await it, and checks the protocol's promises on the way."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ebpflb.core.model import Host, ObjectKey
from ebpflb.errors import ObjectError
from ebpflb.reconcile.ports import Kind, ModelObject, Sink, Source

DEADLINE_S = 60.0
"""For what comes in any case."""


class RecordingSink:
    """Implements ``reconcile.ports.Sink``."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self.objects: dict[Kind, dict[ObjectKey, ModelObject]] = {}
        self.refused: dict[str, ObjectError] = {}
        self.replaced: list[Kind] = []
        self.upserts: list[ModelObject] = []
        self.errors: list[str] = []
        self.is_incomplete = False

    def replace(self, kind: Kind, objects: Iterable[ModelObject], refused: Iterable[ObjectError] = ()) -> None:
        with self._news:
            self.replaced.append(kind)
            self.objects[kind] = {obj.key: obj for obj in objects}
            self.refused = {name: error for name, error in self.refused.items() if error.kind != kind.value}
            self.refused.update({error.name: error for error in refused})
            self._news.notify_all()

    def upsert(self, kind: Kind, obj: ModelObject) -> None:
        with self._news:
            assert kind in self.objects, "an event came before its list"
            self.upserts.append(obj)
            self.objects[kind][obj.key] = obj
            self.refused.pop("/".join(filter(None, obj.key)), None)
            self._news.notify_all()

    def delete(self, kind: Kind, key: ObjectKey) -> None:
        with self._news:
            assert kind in self.objects, "an event came before its list"
            self.objects[kind].pop(key, None)
            self.refused.pop("/".join(filter(None, key)), None)
            self._news.notify_all()

    def refuse(self, kind: Kind, key: ObjectKey, error: ObjectError) -> None:
        with self._news:
            assert kind in self.objects, "an event came before its list"
            self.refused[error.name] = error
            self._news.notify_all()

    def incomplete(self, *, is_incomplete: bool) -> None:
        with self._news:
            self.is_incomplete = is_incomplete
            self._news.notify_all()

    @contextmanager
    def together(self) -> Iterator[None]:
        with self._news:
            yield

    def host(self, host: Host) -> None:
        raise AssertionError("no source of objects knows the host")

    def source_error(self, message: str) -> None:
        with self._news:
            self.errors.append(message)
            self._news.notify_all()

    @property
    def error(self) -> str:
        """The present complaint."""
        return self.errors[-1] if self.errors else ""

    def names(self, kind: Kind) -> set[str]:
        return {key[1] for key in self.objects.get(kind, {})}

    def wait(self, ready: Callable[[], object], what: str) -> None:
        """Wait until ``ready`` is true after some delivery."""
        with self._news:
            assert self._news.wait_for(lambda: bool(ready()), DEADLINE_S), (
                f"no {what}: objects {self.objects}, refused {self.refused}, errors {self.errors}"
            )

    def wait_listed(self) -> None:
        self.wait(lambda: set(self.objects) == set(Kind), "complete first list")

    def wait_name(self, kind: Kind, name: str, *, present: bool = True) -> None:
        self.wait(lambda: (name in self.names(kind)) is present, f"{kind} {name} present={present}")


@contextmanager
def running(source: Source, sink: Sink, stop: threading.Event | None = None) -> Iterator[None]:
    """Run a source in a thread, stop it at the end and make sure that it ends without an error."""
    stop = stop or threading.Event()
    raised: list[BaseException] = []

    def target() -> None:
        try:
            source.run(sink, stop)
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread below
            raised.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(DEADLINE_S)
    assert not thread.is_alive(), "run did not return after stop"
    assert not raised, raised
