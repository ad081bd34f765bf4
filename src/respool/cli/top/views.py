"""What there is to look at: for each view its rows, its columns, and all that is known of one row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import time
from typing import Any, NamedTuple

from respool.cli.top.words import clean, span
from respool.observe.format import Merged

__all__ = ["VIEWS", "Column", "Row", "View", "matching", "ordered"]

Row = dict[str, Any]

#: More seconds than anything lasts.
_AGES = 1e9


class Column(NamedTuple):
    """A column of a view."""

    title: str
    show: Callable[[Row], str]
    value: Callable[[Row], Any]  #: what rows are sorted by
    letter: str = ""  #: the key that sorts by it
    right: bool = False


class View(NamedTuple):
    """One kind of rows."""

    name: str
    columns: tuple[Column, ...]
    rows: Callable[[Merged], list[Row]]
    key: Callable[[Row], str]  #: what a row is known by at the next look
    details: Callable[[Row], Iterable[str]]
    first: str  #: the title of the column that it is sorted by at first
    nothing: str  #: what is said when there are no rows

    def column(self, title: str) -> Column:
        """The column of a title."""
        return next(column for column in self.columns if column.title == title)


def _text(title: str, name: str, letter: str = "") -> Column:
    return Column(title, lambda row: clean(row[name]), lambda row: clean(row[name]), letter)


def _time(title: str, name: str, letter: str = "") -> Column:
    return Column(title, lambda row: span(row[name]), lambda row: row[name] or 0.0, letter, True)


def _count(title: str, name: str, letter: str = "") -> Column:
    return Column(title, lambda row: str(row[name]), lambda row: row[name], letter, True)


def ordered(rows: Sequence[Row], column: Column, *, ascending: bool) -> list[Row]:
    """Rows sorted by a column: numbers from the largest, words from A, unless it is turned round.

    Args:
        rows: those of a view.
        column: one of its columns.
        ascending: whether to turn it round.
    """
    return sorted(rows, key=column.value, reverse=column.right != ascending)


def matching(rows: Sequence[Row], view: View, wanted: str) -> list[Row]:
    """The rows in whose columns or details a text is found, in any case."""
    wanted = wanted.casefold()
    if not wanted:
        return list(rows)
    return [
        row
        for row in rows
        if any(wanted in text.casefold() for text in (*(each.show(row) for each in view.columns), *view.details(row)))
    ]


def _each(kind: str) -> Callable[[Merged], list[Row]]:
    """The rows of a kind, of all databases."""

    def rows(seen: Merged) -> list[Row]:
        return [
            {**row, "database": database["name"]}
            for database in seen["databases"]
            for row in database[kind]  # type: ignore[literal-required]
        ]

    return rows


def _fields(row: Row, names: Sequence[tuple[str, str]]) -> Iterable[str]:
    """The values that are there, a line each."""
    for title, name in names:
        value = row.get(name)
        if value is not None and value != "" and value != {}:
            yield f"{title:<14} {span(value) if isinstance(value, float) else clean(value)}"


# -- connections ------------------------------------------------------------------------------------------------------


def _state_of(row: Row) -> str:
    """What a connection is doing, in a word or two."""
    if row["state"] != "acquired":
        return str(row["state"])
    return "in SQL" if row["executing"] else clean(row["note"]) or "held"


def _connection_details(row: Row) -> Iterable[str]:
    yield f"connection {row['number']} of {clean(row['database'])}, process {row['pid']}: {_state_of(row)}"
    yield from _fields(
        row,
        [
            ("held by", "holder"),
            ("works on", "label"),
            ("route", "route"),
            ("is now at", "place"),
            ("taken at", "taken_at"),
            (f"{clean(row['state'])} for", "seconds"),
            ("unused for", "idle"),
            ("in SQL", "in_sql"),
            ("statements", "statements"),
            ("last SQL", "sql"),
            ("age", "age"),
            ("uses", "uses"),
        ],
    )


def _held(row: Row) -> float:
    """How long it is held; those that nobody holds come after all others."""
    return float(row["seconds"]) - (0 if row["state"] == "acquired" else _AGES)


def _work(row: Row) -> str:
    return clean(row["label"] or row["holder"])


def _where(row: Row) -> str:
    return clean(row["place"] or row["taken_at"])


CONNECTIONS = View(
    "connections",
    (
        _count("pid", "pid", "p"),
        _count("no", "number"),
        Column("state", _state_of, _state_of, "x"),
        Column("for", lambda row: span(row["seconds"]), _held, "t", True),
        _time("unused", "idle", "i"),
        Column("line", _where, _where, "l"),
        Column("work", _work, _work, "r"),
        _count("stmts", "statements", "n"),
        _text("last SQL", "sql"),
    ),
    _each("connections"),
    lambda row: f"{row['pid']}/{row['database']}/{row['number']}",
    _connection_details,
    "for",
    "no connection is open",
)

# -- who waits, and who works -------------------------------------------------------------------------------------------


def _waiter_details(row: Row) -> Iterable[str]:
    yield f"waits for a connection of {clean(row['database'])}, process {row['pid']}"
    yield from _fields(row, [("who", "who"), ("for", "seconds"), ("is now at", "place")])


WAITERS = View(
    "waiters",
    (_count("pid", "pid", "p"), _time("waits", "seconds", "t"), _text("who", "who"), _text("line", "place")),
    _each("waiters"),
    lambda row: f"{row['pid']}/{row['who']}/{row['place']}",
    _waiter_details,
    "waits",
    "nobody waits for a connection",
)


def _scope_state(row: Row) -> str:
    if row["waiting"] is not None:
        return "waits"
    return f"{clean(row['phase'])}, holds" if row["holds_connection"] else clean(row["phase"])


def _scope_details(row: Row) -> Iterable[str]:
    yield f"{clean(row['label'])} on {clean(row['database'])}, process {row['pid']}: {_scope_state(row)}"
    yield from _fields(
        row,
        [
            ("route", "route"),
            ("handler", "handler"),
            ("opened at", "place"),
            ("scope", "state"),
            ("age", "age"),
            ("waits for", "waiting"),
            ("waited", "waited"),
            ("held", "held"),
            ("in SQL", "in_sql"),
            ("statements", "statements"),
        ],
    )
    if row["objects"]:
        yield f"{'objects':<14} " + ", ".join(f"{count} {clean(state)}" for state, count in row["objects"].items())


SCOPES = View(
    "now",
    (
        _count("pid", "pid", "p"),
        Column("state", _scope_state, _scope_state, "x"),
        _time("age", "age", "t"),
        _time("waited", "waited", "w"),
        _time("held", "held", "d"),
        _time("in SQL", "in_sql", "m"),
        _count("stmts", "statements", "n"),
        _text("work", "label"),
        _text("route", "route"),
    ),
    _each("scopes"),
    lambda row: f"{row['pid']}/{row['database']}/{row['label']}/{row['place']}",
    _scope_details,
    "age",
    "no request or block has a session now",
)

# -- what is over -------------------------------------------------------------------------------------------------------


def _request_details(row: Row) -> Iterable[str]:
    status = "" if row["status"] is None else f", status {row['status']}"
    yield f"{clean(row['label'])} on {clean(row['database'])}, process {row['pid']}: {clean(row['outcome'])}{status}"
    yield f"{clean(row['route'])}, {span(max(0.0, time() - row['began']))} ago"
    yield (
        f"took {span(row['seconds'])}: waited {span(row['waited'])}, held a connection {span(row['held'])}, "
        f"of that in SQL {span(row['in_sql'])} and unused {span(row['idle'])}"
    )
    yield f"{row['statements']} statements, {row['leases']} of them leased"
    yield "timeline:"
    for event in sorted(row["events"], key=lambda event: event["start"]):
        at = f"  {clean(event['place'])}" if event["place"] else ""
        yield f"  +{span(event['start']):<9} {event['kind']:<7}{span(event['seconds']):<9} {clean(event['sql'])}{at}"
    if row["dropped"]:
        yield f"  and {row['dropped']} steps more"


REQUESTS = View(
    "requests",
    (
        Column("ago", lambda row: span(max(0.0, time() - row["began"])), lambda row: row["began"], "a", True),
        _time("took", "seconds", "t"),
        _time("waited", "waited", "w"),
        _time("in SQL", "in_sql", "m"),
        _time("unused", "idle", "i"),
        _count("stmts", "statements", "n"),
        _text("outcome", "outcome", "x"),
        _text("work", "label"),
        _text("route", "route"),
        _count("pid", "pid", "p"),
    ),
    _each("requests"),
    lambda row: f"{row['pid']}/{row['label']}/{row['began']:.3f}",
    _request_details,
    "ago",
    "no request has used the database yet",
)


def _mean(row: Row) -> float:
    return float(row["seconds"]) / row["requests"] if row["requests"] else 0.0


def _route_details(row: Row) -> Iterable[str]:
    count = row["requests"] or 1
    yield f"{clean(row['route'])} on {clean(row['database'])}: {row['requests']} times"
    for title, name in (
        ("took", "seconds"),
        ("waited", "waited"),
        ("held", "held"),
        ("in SQL", "in_sql"),
        ("unused", "idle"),
    ):
        yield f"{title:<14} {span(row[name] / count)} each, {span(row[name])} in all"
    yield f"{'slowest':<14} {span(row['slowest'])}; longest unused {span(row['most_idle'])}"
    yield f"{'statements':<14} {row['statements'] / count:.1f} each; {row['leases']} of {row['statements']} leased"
    yield f"{'commits':<14} " + ", ".join(f"{number} {clean(name)}" for name, number in row["outcomes"].items())


ROUTES = View(
    "routes",
    (
        _text("route", "route", "r"),
        _count("times", "requests", "c"),
        Column("mean", lambda row: span(_mean(row)), _mean, "t", True),
        _time("slowest", "slowest", "o"),
        _time("waited", "waited", "w"),
        _time("in SQL", "in_sql", "m"),
        _time("unused", "idle", "i"),
        _count("stmts", "statements", "n"),
    ),
    _each("routes"),
    lambda row: f"{row['database']}/{row['route']}",
    _route_details,
    "unused",
    "no request has used the database yet",
)

# -- findings and workers -------------------------------------------------------------------------------------------------


def _finding_details(row: Row) -> Iterable[str]:
    yield f"[{clean(row['code'])}] {clean(row['what'])}"
    yield f"{'line':<14} {clean(row['place']) or 'unknown'}"
    yield from _fields(row, [("route", "route"), ("database", "database"), ("means", "title")])
    yield f"{'seen':<14} {row['count']} times, last {span(max(0.0, time() - row['last']))} ago"
    if row.get("pids"):
        yield f"{'processes':<14} {', '.join(map(str, row['pids']))}"
    yield from (f"  {clean(fact)}" for fact in row["facts"])
    yield "what to do:"
    yield from (f"  {number}. {clean(advice)}" for number, advice in enumerate(row["advice"], 1))


FINDINGS = View(
    "findings",
    (
        _text("code", "code", "x"),
        _text("line", "place", "l"),
        Column("ago", lambda row: span(max(0.0, time() - row["last"])), lambda row: row["last"], "t", True),
        _count("times", "count", "c"),
        _text("what", "what"),
        _text("route", "route", "r"),
    ),
    lambda seen: [dict(row) for row in seen["findings"]],
    lambda row: f"{row['code']}/{row['database']}/{row['place'] or row['route'] or row['what']}",
    _finding_details,
    "ago",
    "nothing wrong was found",
)


def _workers(seen: Merged) -> list[Row]:
    rows: list[Row] = []
    for process in seen["processes"]:
        pools = list(process["pools"].values())
        numbers = {
            name: sum(pool.get(name) or 0 for pool in pools) for name in ("acquired", "max_size", "waiting", "idle")
        }
        rows.append(
            {**process, **numbers, "oldest_wait": max((pool.get("oldest_wait") or 0.0 for pool in pools), default=0.0)}
        )
    empty = {
        "acquired": 0,
        "max_size": 0,
        "waiting": 0,
        "idle": 0,
        "oldest_wait": 0.0,
        "started": time(),
        "command": "",
    }
    rows += [{**empty, "pid": each["pid"], "verdict": f"no answer: {each['error']}"} for each in seen["silent"]]
    return rows


def _worker_details(row: Row) -> Iterable[str]:
    yield f"process {row['pid']}: {clean(row['command'])}"
    yield clean(row["verdict"])
    yield from _fields(row, [("application", "application"), ("Python", "python"), ("SQLAlchemy", "sqlalchemy")])
    yield f"{'runs for':<14} {span(max(0.0, time() - row['started']))}"
    for name, pool in row.get("pools", {}).items():
        yield f"pool {clean(name)}: " + ", ".join(
            f"{clean(key)} {span(value) if isinstance(value, float) else clean(value)}"
            for key, value in pool.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        )


WORKERS = View(
    "workers",
    (
        _count("pid", "pid", "p"),
        _count("held", "acquired", "d"),
        _count("of", "max_size"),
        _count("wait", "waiting", "w"),
        _time("oldest", "oldest_wait", "o"),
        Column("runs", lambda row: span(max(0.0, time() - row["started"])), lambda row: -row["started"], "t", True),
        _text("state", "verdict"),
    ),
    _workers,
    lambda row: str(row["pid"]),
    _worker_details,
    "held",
    "no process answers",
)

#: In the order of their keys, from 2; 1 is the overview.
VIEWS = (CONNECTIONS, WAITERS, SCOPES, REQUESTS, ROUTES, FINDINGS, WORKERS)
