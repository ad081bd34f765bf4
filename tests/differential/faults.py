"""Faults on purpose: sides on which something is wrong, for the machine to find."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, TextClause, exc, orm
from sqlalchemy.engine import ChunkedIteratorResult
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

import respool
from tests.differential.model import (
    Act,
    Add,
    Commit,
    Execute,
    Flush,
    Get,
    Invalidate,
    Listen,
    Listener,
    Nested,
    Other,
    Program,
    Rollback,
    Setup,
)
from tests.differential.sides import Stock

__all__ = ["FAULTS", "HIDDEN", "HangsAtCommit", "HangsWhateverComes"]


class TextInAutocommit(orm.Session):
    """Runs a textual statement that comes first in autocommit, on a connection of its own."""

    def execute(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        if self.in_transaction() or not isinstance(statement, TextClause):
            return super().execute(statement, *args, **kwargs)
        bind: Any = self.get_bind()
        with bind.connect() as connection:
            result = connection.execution_options(isolation_level="AUTOCOMMIT").execute(statement)
            return ChunkedIteratorResult(result._metadata, _all(result)) if result.returns_rows else result


def _all(result: Any) -> Any:
    rows = result.all()
    return lambda size: iter([rows])


class RemembersAfterRollback(orm.Session):
    """Its objects keep what they have loaded when it is rolled back."""

    def rollback(self) -> None:
        loaded = {state: dict(state.dict) for state in self.identity_map.all_states()}
        super().rollback()
        for state, values in loaded.items():
            state.dict.update(values)
            state.expired_attributes.difference_update(values)


class LeasesBeforeBegin(orm.Session):
    """Reads the first statement before its transaction has begun, as far as ``after_begin`` knows."""

    def _execute_internal(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        listeners = getattr(self.dispatch.after_begin, "listeners", None)
        if self.in_transaction() or not statement.is_select or not isinstance(listeners, deque):
            return super()._execute_internal(statement, *args, **kwargs)
        known = list(listeners)
        listeners.clear()
        try:
            return super()._execute_internal(statement, *args, **kwargs)
        finally:
            listeners.extend(known)


class SavesAtClose(orm.Session):
    """Commits what nobody has committed."""

    def close(self) -> None:
        if self.in_transaction():
            self.get_transaction().commit(_to_root=True)  # type: ignore[union-attr]
        super().close()


class ForgetsTheConnection(orm.Session):
    """Leaves the first connection that it takes in an open transaction."""

    def close(self) -> None:
        bind = self.get_bind()
        super().close()
        if not isinstance(bind, Connection):
            self.kept = bind.raw_connection()
            self.kept.cursor().execute("SELECT id FROM widgets")


class HangsAtCommit(orm.Session):
    """Waits for what never comes."""

    def commit(self) -> None:
        if in_greenlet():
            await_only(asyncio.Event().wait())
        threading.Event().wait()


class HangsWhateverComes(orm.Session):
    """The same, and does not let itself be cancelled."""

    def commit(self) -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await_only(asyncio.Event().wait())


#: Each with what it is called.
FAULTS: dict[str, Stock] = {
    "text in autocommit": Stock(TextInAutocommit),
    "loaded values survive a rollback": Stock(RemembersAfterRollback),
    "a lease before after_begin": Stock(LeasesBeforeBegin),
    "saved at close": Stock(SavesAtClose),
    "a connection kept": Stock(ForgetsTheConnection),
}


# -- faults behind differences that are meant


class LeasesAndSavesAtClose(respool.Session):
    """The same, of ours."""

    def close(self) -> None:
        if self.in_transaction():
            self.commit()
        super().close()


class FailsAtCommit(respool.Session):
    """Commits, and says that it could not."""

    def commit(self) -> None:
        super().commit()
        raise exc.InternalError("COMMIT", {}, Exception("not at all"))


class HidesWhatIsLost(respool.Session):
    """Says that it has committed when the connection was lost."""

    def commit(self) -> None:
        with suppress(respool.errors.CommitNotSent, respool.errors.CommitOutcomeUnknown):
            super().commit()


_ADDED = (Add("Audit"), Flush())

#: Each with a driver, and a program in which something else differs that is meant: it must not hide the fault.
HIDDEN: dict[str, tuple[str, type[orm.Session], Program]] = {
    "saved at close, after somebody has begun to listen": (
        "sqlite",
        LeasesAndSavesAtClose,
        Program(steps=(Get("Widget", 1), Listen(Listener("session", "after_begin")), *_ADDED)),
    ),
    "saved at close, after an invalidate()": (
        "sqlite",
        LeasesAndSavesAtClose,
        Program(steps=(Get("Widget", 1), Invalidate(), *_ADDED)),
    ),
    "saved at close, after a refused write": (
        "psycopg",
        LeasesAndSavesAtClose,
        Program(steps=(Execute("text: read only"), Execute("text: insert"), Rollback(), *_ADDED)),
    ),
    "saved at close, after somebody else has changed what was read at a stricter level": (
        "psycopg",
        LeasesAndSavesAtClose,
        Program(
            Setup(isolation=("engine", "REPEATABLE READ")),
            steps=(Get("Widget", 3), Other("update"), *_ADDED),
        ),
    ),
    "saved at close, where the last moments are heard of": (
        "sqlite",
        LeasesAndSavesAtClose,
        Program(
            Setup(face="scope"),
            (Listener("session", "after_transaction_end", Act("select")),),
            _ADDED,
            "raise",
            times=2,
        ),
    ),
    "no commit, where somebody hears of deleted objects": (
        "sqlite",
        FailsAtCommit,
        Program(listeners=(Listener("session", "deleted_to_detached", Act("select")),), end="commit"),
    ),
    "no commit, after a failed read": (
        "psycopg",
        FailsAtCommit,
        Program(steps=(Execute("unknown column"),), end="commit"),
    ),
    "no commit at the end of a scope that is not doomed": (
        "psycopg",
        FailsAtCommit,
        Program(Setup(face="scope"), steps=(*_ADDED, Nested((Execute("unknown column"),), fails=True))),
    ),
    "a commit on a connection that was lost": (
        "psycopg",
        HidesWhatIsLost,
        Program(steps=(*_ADDED, Other("kill"), Commit())),
    ),
}
