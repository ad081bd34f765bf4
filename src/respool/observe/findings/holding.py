"""Who holds a connection now without using it, or will never give it back: looked at from outside, while it lasts."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

from respool.engine import FairPool
from respool.observe.findings.board import Board
from respool.observe.recording.account import Use, now
from respool.observe.recording.recorder import Recorder, route_of
from respool.pool.core.entries import EntryState, PoolEntry
from respool.whereabouts import Holder

__all__ = ["Holding", "entries_of"]

#: Seconds after its scope's or holder's end in which a connection may still be on its way back.
_GRACE = 1.0
#: Seconds without a statement after which a connection counts as forgotten, where nobody has said ``leak_after``.
_FORGOTTEN = 30.0


def entries_of(pool: object) -> Iterator[PoolEntry]:
    """The connections of a pool of ours that are in somebody's hands now; no lock is taken."""
    for monitor in pool.running_monitors() if isinstance(pool, FairPool) else ():
        for entry in list(monitor.state.entries.values()):
            if entry.state is EntryState.ACQUIRED:
                yield entry


class Holding:
    """Finds connections that are held in vain.

    Args:
        board: where findings go.
        idle_hold: seconds without a statement after which holding a connection is a finding.
    """

    def __init__(self, board: Board, idle_hold: float) -> None:
        self._board = board
        self._idle_hold = idle_hold
        self._idle: weakref.WeakKeyDictionary[Use, str] = weakref.WeakKeyDictionary()
        self._leaked: weakref.WeakSet[Use] = weakref.WeakSet()

    def look(self, recorder: Recorder, *, late: bool = False) -> None:
        """Look at the connections of a database that are held at this moment.

        Args:
            recorder: the database's.
            late: its event loop has not got round to its tasks: what they do not do says nothing about them.
        """
        database = recorder.database
        if database is None:
            return
        for entry in entries_of(database.pool):
            use, who = entry.use, entry.holder
            if not isinstance(use, Use) or use.idle_since is None or who is None:
                continue
            idle = now() - use.idle_since
            if idle < self._idle_hold:
                continue
            holder, limit = Holder(*who), database.pool.config.leak_after or _FORGOTTEN
            ended = holder.ended
            gone = (use.account.ended_at is not None or ended) and idle >= _GRACE
            if gone or now() - use.began > limit:
                self._leak(use, holder, database.name)
            elif not late and not ended and (place := holder.place()) is not None:
                self._held(use, place, idle, database.name)

    def _held(self, use: Use, place: str, idle: float, database: str) -> None:
        line, _, function = place.partition(" in ")
        if self._idle.get(use) == line:
            return
        self._idle[use] = line
        self._board.found(
            "held-idle",
            f"{function or 'a line'} holds a connection and does not use it",
            database=database,
            place=line,
            route=route_of(use.account),
            facts=_facts(use, f"at the time of the finding for {idle:.1f} s, in {use.account.title}"),
            worst=idle,
        )

    def _leak(self, use: Use, holder: Holder, database: str) -> None:
        if use in self._leaked:
            return
        self._leaked.add(use)
        self._board.found(
            "leak",
            f"a connection taken by {holder.name()} is not given back",
            database=database,
            place=None if use.place is None else str(use.place),
            route=route_of(use.account),
            facts=_facts(use, f"taken {now() - use.began:.0f} s ago, in {use.account.title}"),
            worst=now() - use.began,
        )


def _facts(use: Use, first: str) -> list[str]:
    facts = [first]
    if use.place is not None:
        facts.append(f"taken at {use.place} in {use.place.function}()")
    facts.append(f"last statement: {use.text}" if use.text else "nothing was executed on it")
    return facts
