"""How a session reads before it writes: each plain read leases a connection for that one statement.

The session's first statement finds no transaction and is given a :class:`Reader` to run on, a ``Connection`` that has
none of the pool's until it knows what it is to execute.  A plain read gets one, in autocommit; its rows are fetched at
once, and the connection is back in the pool before the call returns.  Anything else begins the session's transaction,
which holds a connection as ever.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, Engine
from sqlalchemy.engine.cursor import CursorFetchStrategy, CursorResult

from respool.engine import leases
from respool.session.fetching import kept
from respool.session.plain import is_plain_read

if TYPE_CHECKING:
    from respool.session.scope import Scope
    from respool.session.session import Session

__all__ = ["Begin", "BeginRule", "Reader"]

#: When a transaction begins; ``None``: with the first write, where the database's isolation level allows it.
Begin = Literal["on_write", "on_use"] | None

_NOTHING: Any = object()


class BeginRule:
    """Whether the sessions of a database read by lease; found out once, at the first statement.

    By default they do on PostgreSQL, MySQL and MariaDB at READ COMMITTED, where every statement sees the database as it
    is at that moment anyway, and on SQLite. Not where something has to happen at the beginning of a transaction.

    Args:
        begin: what was asked for.
    """

    __slots__ = ("_begin", "_kind", "_leases")

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._leases: bool | None = False if begin == "on_use" else None
        self._kind: type[Reader] = Reader

    @property
    def may_lease(self) -> bool:
        """``False`` once it is known that no session of the database does."""
        return self._leases is not False

    def leases(self, engine: Engine) -> bool:
        """Whether plain reads get a connection of their own. The first call may open a connection."""
        if self._leases is None:
            self._leases = _can_lease(engine) and (self._begin == "on_write" or _reads_committed(engine))
        return self._leases and not (engine.dispatch.begin or engine.dispatch.engine_connect)

    def reader(self, engine: Engine, session: Session) -> Reader:
        """What a session that may lease executes its statements on."""
        kind = self._kind
        if getattr(kind, "engine", None) is not engine:
            kind = self._kind = _reader_class(engine)
        return kind(session)


def _can_lease(engine: Engine) -> bool:
    """Also initializes the dialect, if this is its first connection."""
    connection = engine.raw_connection()
    try:
        if engine.dialect.name == "sqlite":
            return leases.reads_stand_alone(engine.dialect, connection.driver_connection)
        return not getattr(engine.dialect, "server_side_cursors", False)
    finally:
        connection.close()


def _reads_committed(engine: Engine) -> bool:
    dialect: Any = engine.dialect
    if dialect.name == "sqlite":
        return True
    level = engine.get_execution_options().get("isolation_level") or dialect._on_connect_isolation_level
    level = level or dialect.default_isolation_level
    return dialect.name in ("postgresql", "mysql", "mariadb") and level in ("READ COMMITTED", "AUTOCOMMIT")


class Reader(Connection):
    """See the head of the file. Each engine has a subclass of its own, by :func:`_reader_class`.

    Args:
        session: what executes its statements on it.
    """

    _session: weakref.ref[Session]

    def __init__(self, session: Session) -> None:
        engine = self.engine
        self._session = weakref.ref(session)
        self._echo = engine._should_log_info()
        self._execution_options = engine._execution_options

    def _autobegin(self) -> None:
        """No transaction begins here."""

    def _execute_context(
        self,
        dialect: Any,
        constructor: Any,
        statement: Any,
        parameters: Any,
        execution_options: Any,
        *args: Any,
        **kw: Any,
    ) -> Any:
        session: Any = self._session()
        what = (dialect, constructor, statement, parameters, execution_options, *args)
        if session._transaction is not None or not (session.reading or is_plain_read(statement, execution_options)):
            held = session._autobegin_t()._connection_for_bind(self.engine, None)
            return held._execute_context(*what, **kw)
        if self._dbapi_connection is not None:  # an event's listener reads inside of a read
            return _fetched(super()._execute_context(*what, **kw), session.scope)
        session.at_work()
        try:
            self._dbapi_connection = leases.take(self.engine.pool, dialect)
        except dialect.loaded_dbapi.Error as error:
            self._handle_dbapi_exception_noconnection(error, dialect, self.engine)
        try:
            return _fetched(super()._execute_context(*what, **kw), session.scope)
        finally:
            connection, self._dbapi_connection = self._dbapi_connection, None
            if connection is not None:
                leases.give_back(connection, self.engine.pool, dialect)


def _reader_class(engine: Engine) -> type[Reader]:
    """What all readers of an engine have in common stands in their class: each attribute less makes one cheaper."""
    first: Any = Reader.__new__(Reader)
    Connection.__init__(first, engine, _NOTHING)
    return type("Reader", (Reader,), {**vars(first), "_dbapi_connection": None})


def _fetched(result: Any, scope: Scope | None) -> Any:
    """The same result with all its rows in memory, and its cursor closed."""
    if not isinstance(result, CursorResult) or result._soft_closed:
        return result
    if type(result.cursor_strategy) is CursorFetchStrategy:
        connection, cursor = result.connection, result.cursor
        try:
            rows = cursor.fetchall()
        except BaseException as error:
            connection._handle_dbapi_exception(error, None, None, cursor, result.context)
        result.cursor_strategy = kept(rows, scope)
        connection._safe_close_cursor(cursor)
    return result
