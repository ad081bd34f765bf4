"""``with rolled_back(db)``: whatever is committed inside is gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from respool.database.base import DatabaseBase
from respool.database.override.blocks import Override
from respool.engine.shared.engine import SharedEngine, Sharing
from respool.engine.urls import is_memory
from respool.testing.isolation.homes import home_of

__all__ = ["rolled_back", "rolling_back"]

D = TypeVar("D", bound=DatabaseBase[Any])


def rolled_back(db: D, *, patience: float = 5.0) -> AbstractContextManager[D]:
    """Whatever is committed in this block, by anybody, is gone after it. The database is not: what it had before, it has.

    Everybody shares one connection, in one outer transaction; COMMIT releases a savepoint in it, ROLLBACK goes back to
    one. Sessions, ``db.engine``, leases, units, jobs and callbacks work as in production, in every thread and event loop;
    one has the connection at a time, the others wait in order. A plain ``with`` on an ``AsyncDatabase``, too: its
    connection lives in a loop of its own.

    What ends with the block because nothing is ever committed: NOTIFY, ON COMMIT DROP, and what DDL does on MySQL
    (it commits, and is refused at the end). ``now()`` stands still on PostgreSQL; sequences go on counting.

    Args:
        db: the database; it may be overridden, to one for tests, by a block around this one.
        patience: seconds that somebody waits for the connection. Who would wait for himself is refused at once.

    Returns:
        a context manager that gives the database.

    Raises:
        SelfDeadlock: inside: a second connection was asked for while the first is held, as for ``unit(new=True)``: in
            production that sees and saves other things. Such a test needs :class:`DatabaseTemplate`.
        SharedConnectionLost: at the end: something was committed nevertheless, or the connection was lost.
    """
    return rolling_back(db, patience, keep=False)


@contextmanager
def rolling_back(db: D, patience: float = 5.0, *, keep: bool) -> Iterator[D]:
    """As :func:`rolled_back`.

    Args:
        db, patience: as there.
        keep: leave the connection in the pool, for the next block: where it has a loop of its own, somebody closes it there.
    """
    if db.closed:
        db.reopen()
    engine = getattr(db.engine, "sync_engine", db.engine)
    keep = keep or not engine.dialect.is_async or is_memory(engine.url) or isinstance(engine, SharedEngine)

    def enter() -> tuple[Connection, Override[D]]:
        connection = engine.connect()
        try:
            override = Override(db, Sharing(connection, home, patience=patience, explain=partial(_holders, db)))
            override.__enter__()
        except BaseException:
            connection.close()
            raise
        return connection, override

    def leave() -> None:
        try:
            override.__exit__(None, None, None)
        finally:
            if not keep:
                connection.invalidate()
            connection.close()

    with home_of(engine) as home:
        connection, override = home.run(enter)
        try:
            yield db
        finally:
            home.run(leave)


def _holders(db: DatabaseBase[Any]) -> list[str]:
    """The scopes that hold the connection, and what they have not committed."""
    lines = []
    for scope in db.scopes():
        session, life = scope.session, scope.life
        if session is not None and life is not None and life.holds_connection:
            try:
                changes = "; ".join(life.changes(session).lines())
            except RuntimeError:  # its own thread goes on changing
                changes = ""
            lines.append(f"held by {scope.title}" + (f", not committed: {changes}" if changes else ""))
    return lines
