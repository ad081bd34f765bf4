"""What can be told of a scope when it is over: what it repeated, and where it asked for a second connection."""

from __future__ import annotations

import re
from collections.abc import Sequence

from respool.observe.findings.board import Board
from respool.observe.recording.account import Account
from respool.observe.recording.recorder import route_of

__all__ = ["look_back"]

_READS = re.compile(r"\s*(?:SELECT|WITH)\b", re.IGNORECASE)


def look_back(board: Board, database: str, repeats: int, accounts: Sequence[Account]) -> None:
    """Look at scopes that are over.

    Args:
        board: where findings go.
        database: the database's name.
        repeats: how often a statement may not be executed from one line.
        accounts: what was noted of the scopes.
    """
    for account in accounts:
        if account.reads + account.executed >= repeats or account.nested:
            _look_back(board, database, repeats, account)


def _look_back(board: Board, database: str, repeats: int, account: Account) -> None:
    for count, text, place in account.repeated(repeats):
        if _READS.match(text):
            board.found(
                "n-plus-one",
                f"{place.function}() executed one statement {count} times",
                database=database,
                place=str(place),
                route=route_of(account),
                facts=[f"in {account.title}", f"the statement: {text}"],
                worst=count,
            )
    for place in account.nested:
        board.found(
            "nested",
            f"{place.function}() asked for a connection inside of work that holds one already",
            database=database,
            place=str(place),
            route=route_of(account),
            facts=[f"in {account.title}"],
        )
