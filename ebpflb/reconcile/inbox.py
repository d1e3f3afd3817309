"""Where sources put what they see, and where the loop takes it in batches.

Decides when a batch is complete: a lone change within milliseconds, a storm coalesced. Must not know what objects
mean, nor that maps exist.

    Source threads --replace, upsert, delete, refuse, host--> Inbox --take--> Batch --> loop
                                                                    --on_pods--> who finds their network namespaces
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from ebpflb.core.changes import Changes, Present
from ebpflb.core.kept import Unread
from ebpflb.core.model import Host, Node, ObjectKey, Pod, Snapshot
from ebpflb.errors import ObjectError
from ebpflb.reconcile.batch import Batch, Followed, can_go_at_once, key_of, replace_all
from ebpflb.reconcile.clock import Clock
from ebpflb.reconcile.ports import Kind, ModelObject
from ebpflb.reconcile.source_view import SourceView

__all__ = ["Inbox", "SourceView"]

QUIET_S = 0.001
"""A batch is complete when nothing has changed for so long: what a source says in one breath arrives within this."""
MAX_DELAY_S = 0.050
"""A storm never holds a change back for longer."""

_UNAWAITED = (Kind.POD,)
"""Who may not list these has the Services programmed all the same. (ServiceCIDRs are then delivered as none.)"""

OnPods = Callable[[tuple[Pod, ...]], None]
"""Called with all Pods of this node whenever they have changed, and once when they are first listed. Must not block."""


class _Instant(NamedTuple):
    """One moment on both clocks."""

    monotonic: float
    date: datetime


class Inbox:
    """A ``Sink``. Sources call it from their threads; one loop takes from it."""

    def __init__(
        self,
        node_name: str,
        clock: Clock | None = None,
        *,
        on_pods: OnPods | None = None,
        tells_together: bool = True,
        quiet_s: float = QUIET_S,
        max_delay_s: float = MAX_DELAY_S,
    ) -> None:
        """``tells_together``: the source tells in one breath of objects that shall change together, as files do; an
        API server tells of each when it was written, and nobody writes two at once.
        """
        self._node_name = node_name
        self._clock = clock or Clock()
        self._on_pods, self._tells_together = on_pods, tells_together
        self._quiet_s, self._max_delay_s = quiet_s, max_delay_s
        self._condition = threading.Condition()
        self._objects: dict[Kind, dict[ObjectKey, Any]] = {kind: {} for kind in Kind}
        self._refused: dict[tuple[Kind, ObjectKey], ObjectError] = {}
        self._followed = {kind: Followed(self._objects[kind]) for kind in (Kind.SERVICE, Kind.ENDPOINT_SLICE)}
        """The kinds of which there are very many: a batch says which of them changed."""
        self._present = Present(self._followed[Kind.SERVICE].taken)
        self._is_urgent = False
        self._listed: set[Kind] = set()
        self._host: Host | None = None
        self._is_incomplete, self._source_error = False, ""
        self._first_change: _Instant | None = None
        self._last_change: _Instant | None = None
        self._changed_at: datetime | None = None
        self._woken = False

    # -- Sink --------------------------------------------------------------------------------------------------------

    def replace(self, kind: Kind, objects: Iterable[ModelObject], refused: Iterable[ObjectError] = ()) -> None:
        """Take a complete list. An object that the list holds but that was refused keeps its last good state."""
        listed = {obj.key: obj for obj in objects}
        errors = {key_of(error): error for error in refused}
        with self._condition:
            held, unread = self._objects[kind], self._unread()
            kept = {key: held[key] for key in errors if key in held and key not in listed}
            self._refused = {entry: error for entry, error in self._refused.items() if entry[0] is not kind}
            self._refused.update({(kind, key): error for key, error in errors.items()})
            changed = replace_all(held, listed | kept)
            is_news = kind not in self._listed or bool(changed)
            self._touch(kind, changed)
            self._listed.add(kind)
            self._take_news(kind, is_news=is_news, is_unread_news=self._unread() != unread)

    def upsert(self, kind: Kind, obj: ModelObject) -> None:
        """Take one added or changed object."""
        with self._condition:
            self._refused.pop((kind, obj.key), None)
            known = self._objects[kind].get(obj.key)
            if known == obj:
                self._take_news(kind, is_news=False)
                return
            self._objects[kind][obj.key] = obj
            self._touch(kind, (obj.key,))
            is_urgent = can_go_at_once(known, obj, None if self._tells_together else self._present)
            self._take_news(kind, is_news=True, is_urgent=is_urgent)

    def delete(self, kind: Kind, key: ObjectKey) -> None:
        """Forget one object, and its refusal."""
        with self._condition:
            unread = self._unread()
            self._refused.pop((kind, key), None)
            is_news = self._objects[kind].pop(key, None) is not None
            if is_news:
                self._touch(kind, (key,))
            self._take_news(kind, is_news=is_news, is_unread_news=self._unread() != unread)

    def refuse(self, kind: Kind, key: ObjectKey, error: ObjectError) -> None:
        """Record that an object was not understood. Its last good state stays."""
        with self._condition:
            self._refused[kind, key] = error
            self._notify(is_change=False)

    def incomplete(self, *, is_incomplete: bool) -> None:
        """Record whether the source has something that it could never read."""
        with self._condition:
            is_news = is_incomplete != self._is_incomplete
            self._is_incomplete = is_incomplete
            self._notify(is_change=is_news)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Keep the loop from taking half of what is said in the block."""
        with self._condition:
            yield

    def host(self, host: Host) -> None:
        """Take what netlink says of this machine."""
        with self._condition:
            is_news = host != self._host
            self._host = host
            self._notify(is_change=is_news)

    def source_error(self, message: str) -> None:
        """Record why the source is not up to date; empty: it is again."""
        with self._condition:
            self._source_error = message
            self._notify(is_change=False)

    # -- the loop's side ---------------------------------------------------------------------------------------------

    def take(self) -> Batch | None:
        """Return what changed since the last call, all of it at once; ``None`` when no batch is complete."""
        with self._condition:
            delay, first, last = self._delay(), self._first_change, self._last_change
            if first is None or last is None or delay is None or delay > 0:
                return None
            self._first_change, self._is_urgent = None, False
            services, slices = (followed.take() for followed in self._followed.values())
            self._present.take(slices)
            changes = Changes(services, slices, self._present)
            return Batch(self._snapshot(), changes, self._unread(), first.date, last.date)

    def wait(self, timeout_s: float | None) -> None:
        """Return when a batch is complete, when ``status`` has news, when woken, or after ``timeout_s``.

        News and wakes that came before the call count: none is lost between ``take`` and ``wait``.
        """
        deadline = None if timeout_s is None else self._clock.monotonic() + timeout_s
        with self._condition:
            while not self._woken:
                delays = [self._delay(), None if deadline is None else deadline - self._clock.monotonic()]
                delay = min((delay for delay in delays if delay is not None), default=None)
                if delay is not None and delay <= 0:
                    break
                self._condition.wait(delay)
            self._woken = False

    def wake(self) -> None:
        """Make ``wait`` return."""
        with self._condition:
            self._woken = True
            self._condition.notify_all()

    def view(self) -> SourceView:
        """Return what ``status`` shows of the sources."""
        with self._condition:
            return SourceView(
                missing=self._missing(),
                error=self._source_error,
                objects={kind: len(objects) for kind, objects in self._objects.items()},
                refused=tuple(self._refused.values()),
                pending_since=None if self._first_change is None else self._first_change.date,
                last_change_at=self._changed_at,
            )

    # -- inside; the condition is held -------------------------------------------------------------------------------

    def _take_news(self, kind: Kind, *, is_news: bool, is_unread_news: bool = False, is_urgent: bool = False) -> None:
        """Hand Pods on: no row is made of them, so that they begin no batch. Whatever else changed does."""
        if kind is Kind.POD and is_news and self._on_pods is not None:
            self._on_pods(tuple(self._objects[kind].values()))
        self._notify(is_change=is_unread_news or (is_news and kind is not Kind.POD), is_urgent=is_urgent)

    def _touch(self, kind: Kind, keys: Iterable[ObjectKey]) -> None:
        if kind in self._followed:
            self._followed[kind].touched.update(dict.fromkeys(keys))

    def _notify(self, *, is_change: bool, is_urgent: bool = False) -> None:
        """Wake the loop: for a change when the batch is complete, for news of ``status`` at once.

        An urgent change is no batch's first one for nothing if it comes alone: it goes at once. In a storm it waits.
        """
        if is_change:
            before, now = self._last_change, _Instant(self._clock.monotonic(), self._clock.today())
            if self._first_change is None:
                is_lone = before is None or now.monotonic - before.monotonic >= self._quiet_s
                self._first_change, self._is_urgent = now, is_urgent and is_lone
            self._last_change = now
            self._changed_at = now.date
        else:
            self._woken = True
        self._condition.notify_all()

    def _delay(self) -> float | None:
        """Return in how many seconds the batch is complete; ``None`` when there is nothing to take."""
        if self._first_change is None or self._last_change is None or self._missing():
            return None
        if self._is_urgent:
            return 0.0
        complete_at = min(self._last_change.monotonic + self._quiet_s, self._first_change.monotonic + self._max_delay_s)
        return complete_at - self._clock.monotonic()

    def _missing(self) -> tuple[str, ...]:
        """Return what must still arrive. A partial view would remove the rest from the maps, breaking live traffic.

        Without the Host, every NodePort address of an adopted map would vanish.
        """
        is_node_known = ("", self._node_name) in self._objects[Kind.NODE]
        known = {*self._listed, *_UNAWAITED, *([Kind.NODE] if is_node_known else [])}
        return (*(kind.value for kind in Kind if kind not in known), *([] if self._host else ["Host"]))

    def _unread(self) -> Unread:
        """Return what was refused and has no good state from before, and whether there may be more."""
        never_good = [(kind, key) for kind, key in self._refused if key not in self._objects[kind]]
        return Unread(
            services=frozenset(key for kind, key in never_good if kind is Kind.SERVICE),
            slice_namespaces=frozenset(namespace for kind, (namespace, _) in never_good if kind is Kind.ENDPOINT_SLICE),
            has_unknown=self._is_incomplete,
        )

    def _snapshot(self) -> Snapshot:
        objects = self._objects
        return Snapshot(
            objects[Kind.NODE].get(("", self._node_name)) or Node(name=self._node_name),
            services=self._followed[Kind.SERVICE].taken,
            slices=self._followed[Kind.ENDPOINT_SLICE].taken,
            host=self._host or Host(),
            service_cidrs=dict(objects[Kind.SERVICE_CIDR]),
        )
