"""Which of a decoded map's fields a table shows, and how: the layout of ``dump-maps -o table``.

Pure. Knows rows as the ``*_maps`` modules return them; not how they were read, nor how a table is drawn.

    Row -> cells
"""

from collections.abc import Callable, Mapping, Sequence

from ebpflb.cli.words import Row

Column = tuple[str, Callable[[Row], str]]
"""Header and cell."""

_FEW = 3
"""Backends that a cell names before it counts the rest."""
_GONE = "gone"
_NONE = "-"


def _field(name: str) -> Column:
    return name, lambda row: str(row[name])


def _yes(name: str) -> Column:
    return name, lambda row: "yes" if row[name] else "no"


def _maybe(name: str) -> Column:
    return name, lambda row: _NONE if row[name] is None else str(row[name])


def _list(name: str) -> Column:
    return name, lambda row: ",".join(row[name]) or _NONE


def _service(row: Row) -> str:
    if row["service_id"] is None:
        return _NONE
    return row["service"] or f"unknown (id {row['service_id']})"


def _remembered_backend(row: Row) -> str:
    return row["backend"] or f"{_GONE} (id {row['backend_id']})"


def _flow_backend(row: Row) -> str:
    return str(row["backend"]) if row["backend_alive"] else f"{row['backend']} ({_GONE})"


def _range(name: str) -> Column:
    return f"{name} backends", lambda row: _few([text or _GONE for text in row[name]["backends"]])


def _few(texts: Sequence[str]) -> str:
    rest = len(texts) - _FEW
    shown = ", ".join(texts[:_FEW]) or _NONE
    return f"{shown} and {rest} more" if rest > 0 else shown


def _affinity_timeout(row: Row) -> str:
    return f"{row['affinity_timeout_s']}s" if row["affinity_timeout_s"] else _NONE


def _distribution(row: Row) -> str:
    return ", ".join(
        f"{share['backend'] or _GONE} {share['slots']} ({share['slots'] / row['length']:.1%})"
        for share in row["distribution"]
    )


def _client(row: Row) -> str:
    return row["client_address"] or f"sockets of netns {row['client_netns_cookie']}"


def _seconds_left(row: Row) -> str:
    return f"{row['seconds_left']:.0f}s" if row["seconds_left"] else "expired"


def _flow_state(row: Row) -> str:
    return row["state"] if row["paired"] else f"{row['state']} (half)"


_SERVICE: Column = ("service", _service)
_AGE: Column = ("age", lambda row: f"{row['age_s']:.1f}s")
_FLOW: Sequence[Column] = (
    _field("protocol"),
    ("on the wire", lambda row: f"{row['source']} > {row['destination']}"),
    ("becomes", lambda row: f"{row['to_source']} > {row['to_destination']}"),
    _field("direction"),
    ("state", _flow_state),
    _AGE,
    _list("flags"),
    _SERVICE,
    ("backend", _flow_backend),
)
_DATAGRAM: Sequence[Column] = (_field("source"), _field("destination"), _field("protocol"), _field("id"))

COLUMNS: Mapping[str, Sequence[Column]] = {
    "frontends": (
        _field("frontend"),
        _field("kind"),
        _SERVICE,
        _maybe("algorithm"),
        _maybe("policy"),
        _list("options"),
        ("affinity", _affinity_timeout),
        _range("cluster"),
        _range("local"),
    ),
    "backends": (_field("backend_id"), _field("backend"), _field("state"), _yes("local"), _field("generation")),
    "slots": (
        _field("offset"),
        _field("length"),
        ("frontends", lambda row: _few(row["frontends"])),
        ("slots of each backend", _distribution),
    ),
    "services": (_field("service_id"), _field("service"), _field("frontends")),
    "members": (_SERVICE, ("backend", _remembered_backend), _list("sets")),
    "affinity": (_SERVICE, ("client", _client), ("backend", _remembered_backend), ("left", _seconds_left)),
    "flows": _FLOW,
    "pending": _FLOW,
    "sock_origins": (_field("socket_cookie"), _field("frontend"), _SERVICE, ("backend", _flow_backend)),
    "sock_choices": (_field("socket_cookie"), _field("frontend"), _SERVICE, ("backend", _remembered_backend)),
    "node_addrs": (_field("address"), _list("flags")),
    "devices": (
        _field("ifindex"),
        _maybe("device"),
        _maybe("snat_address"),
        _field("mtu"),
        _list("flags"),
    ),
    "local_backends": (_SERVICE, _field("address"), ("backend", _remembered_backend)),
    "source_ranges": (_SERVICE, _field("range")),
    "opt_outs": (_field("netns_cookie"),),
    "service_cidrs": (_field("range"),),
    "config": (_list("flags"), _maybe("pods"), _field("guard")),
    "datagrams": (*_DATAGRAM, _maybe("source_port"), _maybe("destination_port"), _field("waiting"), _AGE),
    "held_fragments": (*_DATAGRAM, _field("number"), _field("length")),
    "counters": (_field("counter"), _field("value")),
    "marks": (_field("bit"),),
    "changes": (_field("taken_back"), _field("written"), _field("swept")),
}
"""By the map's name."""


def cells(map_name: str, rows: Sequence[Row]) -> list[list[str]]:
    """Return the cells of every row."""
    return [[cell(row) for _header, cell in COLUMNS[map_name]] for row in rows]


def headers(map_name: str) -> list[str]:
    """Return the headers of a map's table."""
    return [header.replace("_", " ") for header, _cell in COLUMNS[map_name]]
