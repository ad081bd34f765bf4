"""What ours is documented to do otherwise, as far as SQLAlchemy's side can be made to do it too: then nothing is excused there."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy import Engine, QueuePool, event, orm
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.pool.base import _ConnectionRecord

__all__ = [
    "AsyncPool",
    "Pool",
    "begin_before_savepoints",
    "end_refused_transactions",
    "meant_session",
    "roll_back_what_is_lost",
    "say_goodbye",
]

# -- sessions


def meant_session(session_class: type[orm.Session]) -> type[orm.Session]:
    """What a session does otherwise.

    Its commit() detaches deleted objects in any case, a close() that fails gives its connections back, and it is refused
    in a scope's last moments.
    """

    class Meant(session_class):  # type: ignore[misc,valid-type]
        over = False

        def get_bind(self, *args: Any, **kwargs: Any) -> Any:
            self._refuse()
            return super().get_bind(*args, **kwargs)

        def connection(self, *args: Any, **kwargs: Any) -> Any:
            self._refuse()
            return super().connection(*args, **kwargs)

        def _close_impl(self, *args: Any, **kwargs: Any) -> None:
            transaction: Any = self._transaction
            held = list(transaction._connections.values()) if transaction is not None else []
            try:
                super()._close_impl(*args, **kwargs)
            except Exception:
                if self._transaction is None:
                    for connection in {connection for connection, _, _, autoclose in held if autoclose}:
                        _give_back(connection)
                raise

        def _refuse(self) -> None:
            if self.over:
                raise RuntimeError("the scope is over")

    event.listen(Meant, "after_commit", _detach_deleted)
    return Meant


def _give_back(connection: Any) -> None:
    connection._transaction = connection._nested_transaction = None
    try:
        connection.close()
    except Exception:
        connection.invalidate()
        connection.close()


def _detach_deleted(session: orm.Session) -> None:
    transaction: Any = session.get_transaction()
    if not (session.expire_on_commit or session.in_nested_transaction()):
        session._expunge_states([state for state in list(transaction._deleted) if state.deleted])


def say_goodbye(session: Any) -> None:
    """A scope is over: who hears that its objects go can still use its session, and nobody after that."""
    session.expunge_all()
    session.over = True


# -- pools


class _Record(_ConnectionRecord):
    """Its place is given back also where a listener has failed; its connection is then no good."""

    def checkin(self, _fairy_was_created: bool = True) -> None:
        try:
            super().checkin(_fairy_was_created)
        except BaseException as error:
            self.finalize_callback.clear()
            with suppress(Exception):
                self.invalidate(e=error)
            pool: Any = getattr(self, "_ConnectionRecord__pool")  # noqa: B009 - the name is SQLAlchemy's secret
            pool._return_conn(self)
            raise


class Pool(QueuePool):
    """One that loses no place."""

    def _create_connection(self) -> Any:
        return _Record(self)


class AsyncPool(AsyncAdaptedQueuePool):
    """The same for asyncio."""

    def _create_connection(self) -> Any:
        return _Record(self)


def roll_back_what_is_lost(dialect: Any) -> None:
    """That is no error: the server has done it already. The pool looks at the connection before somebody has it."""
    do_rollback = dialect.do_rollback

    def rollback(dbapi_connection: Any) -> None:
        try:
            do_rollback(dbapi_connection)
        except dialect.loaded_dbapi.Error as error:
            if not dialect.is_disconnect(error, dbapi_connection, None):
                raise
            if (record := getattr(dbapi_connection, "_connection_record", None)) is not None:
                record.finalize_callback.clear()  # nor is anything else set back on it

    dialect.do_rollback = rollback


# -- SQLite


def begin_before_savepoints(engine: Engine) -> None:
    """The driver begins a transaction before a write, not before a SAVEPOINT, whose RELEASE would then commit."""

    @event.listens_for(engine, "before_cursor_execute", insert=True)
    def begin(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        driver = connection.connection.driver_connection
        if not (statement.startswith("SAVEPOINT sa_savepoint_") and not driver.in_transaction):
            return
        if driver.isolation_level is not None:
            begin = connection.connection.cursor()
            begin.execute("BEGIN")
            begin.close()


def end_refused_transactions(dialect: Any) -> None:
    """SQLAlchemy takes a transaction whose COMMIT was refused for over, SQLite does not: it would go on in the pool."""
    do_commit = dialect.do_commit

    def commit(dbapi_connection: Any) -> None:
        try:
            do_commit(dbapi_connection)
        except dialect.loaded_dbapi.Error:
            dialect.do_rollback(dbapi_connection)
            raise

    dialect.do_commit = commit
