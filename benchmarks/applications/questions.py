"""The workloads as measurements: columns, targets, and the command for each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from benchmarks.applications.peers import ASYNCIO, GROUPS, PEERS, Peer
from benchmarks.applications.sampling import Field
from benchmarks.applications.serving import POOL
from benchmarks.applications.store import Store
from benchmarks.applications.workloads import LOADS, Load
from benchmarks.measures.base import Column, Measurement, Target
from benchmarks.rounds import Budget, Row, Rows, collect
from tests.support.postgres import PostgresServer

__all__ = ["NAMES", "questions"]

NAMES = (*(load.name for load in LOADS), "overload", "cold-start", "restart")

LOAD_COLUMNS = (
    Column("rate", "requests a second", 0, spread=True),
    Column("p50", "p50, ms", 1),
    Column("p99", "p99, ms", 1, spread=True),
    Column("max", "max, ms", 0),
    Column("cpu", "CPU a request, ms", 2),
    Column("trips", "trips", 0),
    Column("connections", "most connections", 0),
    Column("idle", "of them idle in a transaction", 0),
    Column("errors", "errors", 0),
    Column("wrong", "wrong answers", 0),
    Column("later", "saved after the last answer", 0),
    Column("untrue", "200 and never saved", 0),
    Column("memory", "MB", 0),
)
OVERLOAD_COLUMNS = (
    Column("goodput", "answered in time, % of what the pool can serve", 0, spread=True),
    Column("p50", "p50 of these, ms", 0),
    Column("p99", "p99, ms", 0),
    Column("refused", "503 at once", 0),
    Column("gone", "clients gone", 0),
    Column("after", "then one live request, s", 2, spread=True),
    Column("connections", "most connections", 0),
    Column("wrong", "wrong answers", 0),
)
COLD_COLUMNS = (
    Column("first", "first answer after, s", 2, spread=True),
    Column("p50", "burst: p50, ms", 0),
    Column("max", "max, ms", 0, spread=True),
    Column("errors", "errors", 0),
    Column("wrong", "wrong answers", 0),
    Column("attempts", "connects", 0),
    Column("memory", "MB", 0),
)
RESTART_COLUMNS = (
    Column("errors", "errors", 0, spread=True),
    Column("errors_after", "of them when it was back", 0),
    Column("again", "right again after, s", 2, spread=True),
    Column("max", "longest wait, ms", 0),
    Column("attempts", "connects tried", 0),
    Column("wrong", "wrong answers", 0),
)


def questions(field: Field, chosen: list[str]) -> Iterator[Measurement]:
    """The measurements that were asked for."""
    for load in LOADS:
        if load.name in chosen:
            yield _steady(field, load)
    if "overload" in chosen:
        yield _each(
            "overload",
            "Ten times too much",
            "Requests that hold a connection for 200 ms come ten times as fast as five connections can serve them, and"
            " their clients hang up after a second. When the last has left, one more comes and stays, for 2 s at most."
            " `max_waiting` bounds the line (psycopg's pool has a setting of that name, too).",
            OVERLOAD_COLUMNS,
            lambda budget: _rounds("overload", field, 1, partial(_overload, field, budget.pick(1.0, 0.4))),
            compare="loss",
        )
    if "cold-start" in chosen:
        yield _each(
            "cold-start",
            "Cold start",
            "A new process: how long until its first answer (imports are most of that), and then 64 requests at once.",
            COLD_COLUMNS,
            lambda budget: _rounds("cold-start", field, budget.pick(2, 1), lambda peer: field.cold(peer, 64)),
            compare="max",
        )
    if "restart" in chosen:
        yield _each(
            "restart",
            "The database restarts",
            "Sixteen clients read, PostgreSQL is stopped (“fast”), stays away for half a second and is started again."
            " “Connects tried” are counted by a proxy in front of it.",
            RESTART_COLUMNS,
            lambda budget: _restart(field, budget),
            targets=tuple(Target(f"{_kind(group)}: no read fails", partial(_errors, group), 0, "") for group in GROUPS),
        )


def _each(
    name: str,
    title: str,
    text: str,
    columns: tuple[Column, ...],
    run: Callable[[Budget], Rows],
    compare: str | None = None,
    targets: tuple[Target, ...] = (),
) -> Measurement:
    return Measurement(name, title, text, columns, run, targets, compare, repeat=partial(_command, name))


def _command(name: str, row: Row) -> str:
    ours = next(peer.key for peer in PEERS.values() if peer.ours and peer.group == row.case)
    peers = row.key if row.ours else f"{ours},{row.key}"
    return f"python -m benchmarks.applications --only {name} --peers {peers}"


# -- steady loads --------------------------------------------------------------------------------------------------------


def _steady(field: Field, load: Load) -> Measurement:
    columns = tuple(column for column in LOAD_COLUMNS if load.trips or column.figure != "trips")
    text = f"{load.text} {load.clients} clients, {POOL} connections."
    return _each(
        load.name,
        load.title,
        text,
        columns,
        partial(_crowds, field, load),
        "slowdown",
        tuple(_load_targets(load)),
    )


def _crowds(field: Field, load: Load, budget: Budget) -> Rows:
    field.warm_up(load)
    seconds = budget.pick(0.5, 0.3)
    return _rounds(load.name, field, budget.pick(3, 1), lambda peer: field.steady(load, peer, seconds))


def _load_targets(load: Load) -> Iterator[Target]:
    for group in GROUPS:
        kind = _kind(group)
        if load.name == "read-call-read" and group == ASYNCIO:
            claim = f"{kind}: at least 5 × the requests of each peer that keeps its connection across the call"
            yield Target(claim, partial(_worst, group, "slowdown", held=True), 0.2)
        claim = f"{kind}: as many requests as each peer with a session of SQLAlchemy, or more, within 5 %"
        yield Target(claim, partial(_worst, group, "slowdown", held=False), 1.05)
        claim = f"{kind}: p99 that of each peer with a session of SQLAlchemy, or less, within 10 %"
        yield Target(claim, partial(_worst, group, "p99", held=False), 1.1)


def _worst(group: str, figure: str, rows: Rows, *, held: bool) -> float:
    """Ours divided by the peer's, for the peer that is best; ``KeyError`` where none was measured."""
    ours = next((row for row in rows if row.ours and row.case == group), None)
    ratios = [
        rows.ratio(figure, (group, ours.key), (group, row.key))
        for row in rows
        if ours is not None and row.case == group and not row.ours and PEERS[row.key].sqlalchemy
        if not held or row.median("idle") >= POOL
    ]
    if not ratios:
        raise KeyError(group)
    return max(ratios)


def _kind(group: str) -> str:
    return group.split(":", maxsplit=1)[0]


def _errors(group: str, rows: Rows) -> float:
    ours = next((row for row in rows if row.ours and row.case == group), None)
    if ours is None:
        raise KeyError(group)
    return max(ours.samples["errors"])


# -- all the others ------------------------------------------------------------------------------------------------------


def _rounds(name: str, field: Field, rounds: int, sample: Callable[[Peer], dict[str, Any]]) -> Rows:
    """Samples of all peers in turn; a table for each group."""
    peers = [peer for peer in field.peers if not peer.only or name in peer.only]
    rows = collect("", peers, rounds, sample, warm_up=False)
    for row in rows:
        row.case = PEERS[row.key].group
    rows.sort(key=lambda row: GROUPS.index(row.case))
    return rows


def _overload(field: Field, seconds: float, peer: Peer) -> dict[str, float]:
    return field.overload(peer, seconds)


def _restart(field: Field, budget: Budget) -> Rows:
    with _own_server() as (server, store):
        return _rounds("restart", field, 1, lambda peer: field.restart(peer, server, store, 0.5, budget.pick(0.7, 0.3)))


@contextmanager
def _own_server() -> Iterator[tuple[PostgresServer, Store]]:
    """One that may be stopped: the others' applications go on."""
    with PostgresServer() as server:
        yield server, Store(server, "shop")
