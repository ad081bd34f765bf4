"""How opening connections goes: it fails, or it takes long; and what makes a read cost more trips than one."""

from __future__ import annotations

from typing import Any

from respool.engine import FairPool, mask
from respool.observe.findings.board import Board
from respool.pool.core.messages import words_of
from respool.session.reads.begin import rule_of
from respool.whereabouts import definition, handler_name

__all__ = ["Connects"]


class Connects:
    """Looks at the pools' own figures.

    Args:
        board: where findings go.
        slow: seconds that a connect may take.
    """

    def __init__(self, board: Board, slow: float) -> None:
        self._board = board
        self._slow = slow
        self._seen: dict[str, tuple[int, float]] = {}  #: by database: how many connects have failed, the slowest of all

    def look(self, database: Any) -> None:
        """Look at a database's pool and engine."""
        if isinstance(database.pool, FairPool):
            self._pool(database)
        self._leases(database)

    def _pool(self, database: Any) -> None:
        pool = database.pool
        stats = [monitor.stats() for monitor in pool.running_monitors()]
        failed, slowest = (
            sum(each.connect_errors for each in stats),
            max((s.create_time.max for s in stats), default=0.0),
        )
        before_failed, before_slowest = self._seen.get(database.name, (0, 0.0))
        self._seen[database.name] = (failed, slowest)
        where = mask(database.engine.url)
        if failed > before_failed and any(each.database_away for each in stats):
            errors = {words_of(e) for monitor in pool.running_monitors() if (e := monitor.state.last_error) is not None}
            self._board.found(
                "database-away",
                f"connecting to {where} fails",
                database=database.name,
                place=where,
                facts=[*sorted(errors), f"{failed} connects have failed so far"],
                worst=failed,
            )
        if slowest > max(self._slow, before_slowest):
            self._board.found(
                "slow-connect",
                f"a connect took {slowest:.1f} s",
                database=database.name,
                place=where,
                facts=[f"of {sum(each.connects for each in stats)} connects"],
                worst=slowest,
            )

    def _leases(self, database: Any) -> None:
        rule = rule_of(getattr(database.engine, "sync_engine", database.engine))
        for listener, event in rule.strangers():
            self._board.found(
                "lease-costs",
                f"a listener to {event} that nobody knows may depend on a transaction",
                database=database.name,
                place=definition(listener),
                facts=[f"the listener: {handler_name(listener)}"],
            )
