"""A pool's rows: one for each connection, one for each caller in line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from respool.pool.core.entries import EntryState, PoolEntry
from respool.pool.core.state import PoolState
from respool.pool.telling.stats import PoolStats
from respool.whereabouts import Holder, Who

__all__ = ["ConnectionRow", "PoolSnapshot", "WaiterRow", "connection_rows", "copy_of", "waiter_rows"]

Note = Callable[[Any], str | None]


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """One connection. Times are in seconds."""

    number: int
    state: str  #: connecting, idle or acquired
    seconds: float  #: for how long it has been in this state
    age: float
    uses: int
    holder: str | None  #: who has it: the request, the thread or task
    place: str | None  #: the line of the user's code that the holder is at now
    note: str | None  #: what the driver says of it: "in transaction"

    def __str__(self) -> str:
        verb = "held" if self.state == "acquired" else self.state
        text = f"connection {self.number} {verb} for {self.seconds:.1f} s"
        if self.holder is not None:
            text += f" by {self.holder}"
        if self.place is not None:
            text += f", now at {self.place}"
        return text if self.note is None else f"{text}, {self.note}"


@dataclass(frozen=True, slots=True)
class WaiterRow:
    """One caller in line."""

    seconds: float
    who: str
    place: str | None  #: the line of the user's code that waits


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """One moment of a pool, with everything in it."""

    stats: PoolStats
    connections: tuple[ConnectionRow, ...]
    waiters: tuple[WaiterRow, ...]  #: in order of service

    def as_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and values, for JSON."""
        return asdict(self)


def copy_of(state: PoolState) -> tuple[float, list[PoolEntry], list[tuple[float, Who]]]:
    """What the rows are made of; the caller holds the pool's lock, and makes the rows without it."""
    return (
        state.now,
        list(state.entries.values()),
        [(waiter.since, waiter.who) for waiter in state.line],
    )


def connection_rows(now: float, entries: list[PoolEntry], note: Note) -> list[ConnectionRow]:
    """One row for each connection; ``note`` asks the driver about one that is held."""
    return [_row(now, entry, note) for entry in entries]


def waiter_rows(now: float, waiters: list[tuple[float, Who]]) -> list[WaiterRow]:
    """One row for each caller in line."""
    rows = []
    for since, who in waiters:
        holder = Holder(*who)
        rows.append(WaiterRow(now - since, holder.name(), holder.place()))
    return rows


def _row(now: float, entry: PoolEntry, note: Note) -> ConnectionRow:
    state = entry.state
    holder = Holder(*entry.holder) if state is EntryState.ACQUIRED and entry.holder is not None else None
    since = {EntryState.CONNECTING: entry.created_at, EntryState.ACQUIRED: entry.acquired_at}.get(
        state, entry.idle_since
    )
    return ConnectionRow(
        entry.number,
        state.value,
        now - since,
        now - entry.created_at,
        entry.uses,
        None if holder is None else holder.name(),
        None if holder is None else holder.place(),
        note(entry.resource) if state is EntryState.ACQUIRED else None,
    )
