"""Who listens, to what, and what they do: every event of engines, pools, dialects and sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, event, orm, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.orm import ORMExecuteState

from respool.engine import only_looks
from tests.differential.model import Act, Listener

__all__ = ["ACTS", "EVENTS", "SQL", "Ears", "Planned", "deafen", "silence"]

#: The events of each target.
EVENTS: dict[str, tuple[str, ...]] = {
    "engine": (
        "after_cursor_execute",
        "after_execute",
        "before_cursor_execute",
        "before_execute",
        "begin",
        "commit",
        "engine_connect",
        "release_savepoint",
        "rollback",
        "rollback_savepoint",
        "savepoint",
        "set_connection_execution_options",
    ),
    "dialect": (
        "do_connect",
        "do_execute",
        "do_execute_no_params",
        "do_executemany",
        "do_setinputsizes",
        "handle_error",
    ),
    "pool": ("checkin", "checkout", "close", "connect", "detach", "first_connect", "invalidate", "reset"),
    "session": (
        "after_attach",
        "after_begin",
        "after_bulk_delete",
        "after_bulk_update",
        "after_commit",
        "after_flush",
        "after_flush_postexec",
        "after_rollback",
        "after_soft_rollback",
        "after_transaction_create",
        "after_transaction_end",
        "before_attach",
        "before_commit",
        "before_flush",
        "deleted_to_detached",
        "deleted_to_persistent",
        "detached_to_persistent",
        "do_orm_execute",
        "loaded_as_persistent",
        "pending_to_persistent",
        "pending_to_transient",
        "persistent_to_deleted",
        "persistent_to_detached",
        "persistent_to_transient",
        "transient_to_pending",
    ),
}

#: What a listener may send, on each database.
SQL: dict[str, dict[str, str]] = {
    "postgresql": {
        "select": "SELECT 1",
        "set": "SET app.tenant = '2'",
        "set local": "SET LOCAL app.tenant = '2'",
        "set_config local": "SELECT set_config('app.tenant', '2', true)",
        "set role": "SET LOCAL ROLE differential_reader",
        "audit": "INSERT INTO audit (note) VALUES ('heard')",
        "note": "SELECT note('heard')",
        "serializable": "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "repeatable": "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "read only": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "lock": "SELECT pg_advisory_xact_lock(11)",
        "fail": "SELECT nonsense",
    },
    "sqlite": {
        "select": "SELECT 1",
        "audit": "INSERT INTO audit (note) VALUES ('heard')",
        "pragma": "PRAGMA foreign_keys = ON",
        "fail": "SELECT nonsense",
    },
    "mariadb": {
        "select": "SELECT 1",
        "set": "SET @tenant = 2",
        "audit": "INSERT INTO audit (note) VALUES ('heard')",
        "note": "SELECT note('heard')",
        "repeatable": "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "fail": "SELECT nonsense",
    },
}

#: What else it may do.
ACTS = ("nothing", "look", "info", "raise", "autocommit", "commit")


#: What those who only look hear as often as ever; of transactions and the pool they hear what there is.
_OF_STATEMENTS = {*EVENTS["engine"][:4], *EVENTS["dialect"], *EVENTS["session"]}


class Planned(Exception):
    """Raised by listeners and by the ends of blocks."""


class Ears:
    """All who listen during one program.

    Args:
        database: the kind of database.
        engine: whose events they hear.
    """

    def __init__(self, database: str, engine: Engine) -> None:
        self._sql = SQL[database]
        self._engine = engine
        self.session: orm.Session | None = None  #: once there is one
        self.heard: list[str] = []  #: which events, since it was asked last
        self._acting = False
        self._deaf = False
        _last[:] = [self]

    def listen(self, listener: Listener) -> None:
        """Have somebody listen. To a session's events only once there is a session."""
        everybody = {"session": self.session, "sessions": orm.Session, "engines": Engine}
        target: Any = everybody.get(listener.target, self._engine)
        if target is None:
            return
        fn = self._listener(listener)
        event.listen(target, listener.event, fn)
        if target in (orm.Session, Engine):
            _to_all.append((target, listener.event, fn))

    def since(self) -> list[str]:
        """What was heard since the last call."""
        heard, self.heard = self.heard, []
        return heard

    def _listener(self, listener: Listener) -> Callable[..., None]:
        act, spent = listener.act, False

        def heard(*args: Any) -> None:
            nonlocal spent
            if (not listener.declared or listener.event in _OF_STATEMENTS) and not _closes_again(listener.event, args):
                self.heard.append(listener.event)
            if self._acting or (act.once and spent) or self._deaf:
                return
            spent = self._acting = True
            try:
                self._perform(act, args)
            finally:
                self._acting = False

        return only_looks(heard) if listener.declared else heard

    def _perform(self, act: Act, args: tuple[Any, ...]) -> None:
        if act.what == "nothing":
            return
        if act.what == "raise":
            raise Planned("by a listener")
        if act.what == "look":
            [str(type(arg)) for arg in args]
            return
        found = _connection(args)
        if found is None:
            return
        if act.what == "info":
            info = getattr(found, "info", None) if isinstance(found, Connection) else getattr(args[1], "info", None)
            if info is not None:
                info["touched"] = True
            return
        dbapi_connection: Any = found.connection.dbapi_connection if isinstance(found, Connection) else found
        if act.what == "autocommit":
            if hasattr(dbapi_connection, "autocommit"):
                dbapi_connection.autocommit = True
            else:  # SQLite's
                dbapi_connection.isolation_level = None
        elif act.what == "commit":
            dbapi_connection.commit()
        elif act.what in self._sql:
            self._send(self._sql[act.what], act.via, found, dbapi_connection)
            if act.commit:
                dbapi_connection.commit()

    def _send(self, sql: str, via: str, found: Any, dbapi_connection: Any) -> None:
        if isinstance(found, Connection) and via == "exec_driver_sql":
            found.exec_driver_sql(sql)
        elif isinstance(found, Connection) and via == "execute":
            found.execute(text(sql))
        elif isinstance(found, Connection) and via == "fairy":
            _run_and_close(found.connection.cursor(), sql)
        else:
            _run_and_close(dbapi_connection.cursor(), sql)


#: Those who listen to all engines or sessions.
_to_all: list[tuple[Any, str, Any]] = []


#: Those of the program that runs, or ran last.
_last: list[Ears] = []


def deafen() -> None:
    """The program takes too long: whoever hears of anything of it does nothing any more."""
    for ears in _last:
        ears._deaf = True


def silence() -> None:
    """The program is over: those who listened to all engines or sessions listen no more."""
    while _to_all:
        event.remove(*_to_all.pop())


def _closes_again(name: str, args: tuple[Any, ...]) -> bool:
    """Whether a pool tries once more to close a connection, since a listener has failed. When is each pool's own affair."""
    if name != "close":
        return False
    info = args[1].info  # of this one connection
    again: bool = info.get("closes", False)
    info["closes"] = True
    return again


def _run_and_close(cursor: Any, sql: str) -> None:
    try:
        cursor.execute(sql)
    finally:
        cursor.close()


def _connection(args: tuple[Any, ...]) -> Any:
    """The connection that an event is about, SQLAlchemy's or the driver's; asked of its session, where it is about one."""
    for arg in args:
        if isinstance(arg, Connection):
            return arg
    for arg in args:
        if isinstance(arg, orm.Session):
            return arg.connection()
        if isinstance(arg, ORMExecuteState):
            return arg.session.connection()
        if isinstance(arg, ExceptionContext):
            return arg.connection
        if hasattr(arg, "root_connection"):  # an execution context
            return arg.root_connection
    first = args[0] if args else None
    return first if hasattr(first, "cursor") and hasattr(first, "commit") else None
