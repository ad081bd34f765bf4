"""Errors of respool's own that are findings as well, whoever has caught them."""

from __future__ import annotations

from respool.errors import (
    CommitOutcomeUnknown,
    ConcurrentUse,
    PoolTimeout,
    RespoolError,
    SelfDeadlock,
    UncommittedChanges,
)
from respool.observe.findings.board import Board
from respool.whereabouts import caller, get_label

__all__ = ["note_error"]

_KINDS: dict[type[RespoolError], str] = {
    UncommittedChanges: "changes-dropped",
    ConcurrentUse: "used-by-two",
    SelfDeadlock: "nested",
    PoolTimeout: "pool-exhausted",
    CommitOutcomeUnknown: "commit-unknown",
}


def note_error(board: Board, error: RespoolError) -> None:
    """An error was made.

    Args:
        board: where findings go.
        error: it.
    """
    name = next((name for kind, name in _KINDS.items() if isinstance(error, kind)), None)
    if name is None:
        return
    if name == "pool-exhausted" and error.facts.get("connect_error"):
        return  # the database is away, which is a finding of its own
    place = str(error.facts.get("place") or caller())
    board.found(
        name,
        error.headline,
        database=str(error.facts.get("database") or error.facts.get("pool") or "?"),
        place=None if place == "unknown place" else place,
        route=get_label(),
        facts=error.now,
    )
