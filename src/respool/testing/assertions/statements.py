"""Statements of a block: how many, which, from which lines, and whether one is repeated where one would do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event

from respool.database.base import DatabaseBase
from respool.engine.listeners import only_looks
from respool.whereabouts import caller

__all__ = ["Statement", "Statements", "count_statements"]

_SAVEPOINT = re.compile(r"\s*(?:SAVEPOINT|RELEASE|ROLLBACK TO)\b", re.IGNORECASE)
_LONGEST = 160


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement that was sent."""

    sql: str  #: as the driver got it
    parameters: Any  #: of all rows, where there are several
    place: str  #: ``file:line`` of the user's code that led to it


@dataclass(slots=True)
class Statements:
    """Those of a block so far, in order; savepoints are left out."""

    all: list[Statement] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.all)

    def __iter__(self) -> Iterator[Statement]:
        return iter(self.all)

    def repeated(self, times: int = 2) -> dict[tuple[str, str], int]:
        """What was sent at least so often from one line, by text and line: "N+1" where a loop loads one by one.

        Args:
            times: how often.
        """
        return {key: count for key, count in self._counted().items() if count >= times}

    def _counted(self) -> Counter[tuple[str, str]]:
        return Counter((statement.sql, statement.place) for statement in self.all)

    def __str__(self) -> str:
        return "\n".join(f"  {count} × at {place}: {_short(sql)}" for (sql, place), count in self._counted().items())


@contextmanager
def count_statements(
    db: DatabaseBase[Any],
    *,
    max: int | None = None,  # noqa: A002 - what else would one call it
    exactly: int | None = None,
    repeats: int | None = None,
) -> Iterator[Statements]:
    """Count the statements that are sent in a block, by whomever, in whatever thread.

    Args:
        db: to which database, as it is at the beginning: an override belongs around the block.
        max: so many at the most.
        exactly: so many, neither more nor less.
        repeats: the same text may be sent so often from the same line; 1 finds every "N+1".

    Yields:
        those that were sent so far.

    Raises:
        AssertionError: at the end: there are more, or others; with each statement and its line.
    """
    statements = Statements()

    @only_looks
    def note(conn: Any, cursor: Any, sql: str, parameters: Any, context: Any, executemany: bool) -> None:
        if not _SAVEPOINT.match(sql):
            statements.all.append(Statement(sql, parameters, caller()))

    engine: Engine = getattr(db.engine, "sync_engine", db.engine)
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)
    _judge(statements, max, exactly, repeats)


def _judge(statements: Statements, most: int | None, exactly: int | None, repeats: int | None) -> None:
    count = len(statements)
    sent = f"{count} statement{'s were' if count != 1 else ' was'} sent"
    if exactly is not None and count != exactly:
        raise AssertionError(f"{sent}, and {exactly} expected:\n{statements}")
    if most is not None and count > most:
        raise AssertionError(f"{sent}, and at most {most} allowed:\n{statements}")
    if repeats is not None and (often := statements.repeated(repeats + 1)):
        lines = [f"  {count} × at {place}: {_short(sql)}" for (sql, place), count in often.items()]
        advice = "load it with the others: options(selectinload(…)), or one statement with in_(…)"
        raise AssertionError("\n".join([f"the same statement from the same line (N+1); {advice}:", *lines]))


def _short(sql: str) -> str:
    text = " ".join(sql.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
