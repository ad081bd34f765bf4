"""How a session reads before it writes: each plain read leases a connection for that one statement.

A statement that finds no transaction is given a :class:`Reader` to run on, a ``Connection`` that has none of the pool's
until it knows what it is to execute.  A plain read gets one, in autocommit; its rows are fetched, and the connection is
back in the pool before the call returns.  Anything else begins the session's transaction, which holds a connection as ever.
"""

from __future__ import annotations

import weakref
from contextlib import suppress
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, orm

from respool.engine.catalogue import Catalogue, asking, catalogue_of
from respool.engine.listeners import unknown
from respool.engine.pools import leases
from respool.engine.pools.lending import use_of
from respool.session.life import life_of
from respool.session.reads.begin import rule_of
from respool.session.reads.plain import OPTION, is_plain_read, is_proved
from respool.session.reads.rows import fetched
from respool.session.transaction.connection import watch

__all__ = ["Reader", "reader_of"]

_NOTHING: Any = object()

#: Where an engine keeps the class of its readers.
_KIND = "_respool_reader"


class Reader(Connection):
    """See the head of the file. Each engine has a subclass of its own, by :func:`reader_of`.

    Args:
        session: what executes its statements on it.
    """

    catalogue: Catalogue
    _session: weakref.ref[orm.Session]

    def __init__(self, session: orm.Session) -> None:
        engine = self.engine
        self._session = weakref.ref(session)
        self._echo = engine._should_log_info()
        self._execution_options = engine._execution_options

    def _autobegin(self) -> None:
        """No transaction begins here."""

    @property
    def connection(self) -> Any:
        """As SQLAlchemy's. Who asks for it between two leases gets the connection of the session's transaction."""
        return self._dbapi_connection if self._dbapi_connection is not None else self._hold().connection

    def _hold(self) -> Connection:
        """The connection of the session's transaction, which begins here if it has not yet."""
        session: Any = self._session()
        return life_of(session).transactional_connection(session, self.engine)

    def _judge(self, statement: Any, options: Any, *, by_word: bool) -> tuple[bool, bool]:
        """Whether a statement is proved to be a plain read, and whether it is one by somebody's word."""
        catalogue = self.catalogue
        if self._dbapi_connection is not None:  # inside of a read: there may be no other connection to ask on
            catalogue = catalogue.through(asking(self._dbapi_connection))
        if not (by_word or OPTION in options):
            return is_plain_read(statement, options, catalogue), False
        if is_proved(statement, options, catalogue):
            return True, True
        return False, is_plain_read(statement, {OPTION: True, **options}, catalogue)

    def _takes_one(self, pool: Any, dialect: Any) -> bool:
        """Take a connection for the length of one statement; ``False`` if they do not come as that needs them."""
        try:
            self._dbapi_connection = leases.take(pool, dialect)
        except dialect.loaded_dbapi.Error as error:
            self._handle_dbapi_exception_noconnection(error, dialect, self.engine)
        return self._dbapi_connection is not None

    def _handle_dbapi_exception(
        self, e: Any, statement: Any, parameters: Any, cursor: Any, *args: Any, **kw: Any
    ) -> Any:
        """As SQLAlchemy's. Who hears of an error may use its connection, on which a transaction goes on with SQLAlchemy.

        PostgreSQL's would be doomed: there it goes on with whatever connection there is, this one perhaps.
        """
        if self._is_heard_by_others(e, cursor):
            leased: Any = self._dbapi_connection
            if cursor is not None:
                self._safe_close_cursor(cursor)
            self._dbapi_connection = None
            leases.give_back(leased, self.engine.pool, self.dialect)
            held: Any = None
            if self.dialect.name != "postgresql":
                with suppress(Exception):
                    held = self._hold()
            if held is not None:
                held._handle_dbapi_exception(e, statement, parameters, cursor, *args, **kw)
        try:
            super()._handle_dbapi_exception(e, statement, parameters, cursor, *args, **kw)
        finally:
            if not self._reentrant_error:  # nobody hears any more: nor does who began a transaction meanwhile
                for connection in life_of(self._session()).connections:
                    vars(connection).pop("_reentrant_error", None)

    def _is_heard_by_others(self, error: Any, cursor: Any) -> bool:
        """Whether somebody unknown hears of a read's error, and the connection is well."""
        dialect, leased = self.dialect, self._dbapi_connection
        if leased is None or not isinstance(error, dialect.loaded_dbapi.Error):
            return False
        return unknown(dialect.dispatch.handle_error) and not dialect.is_disconnect(error, leased, cursor)

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
        life = life_of(session)
        what = (dialect, constructor, statement, parameters, execution_options, *args)
        if session._transaction is not None:
            return self._hold()._execute_context(*what, **kw)
        if life.reading or OPTION in execution_options or self._dbapi_connection is not None:
            plain, by_word = self._judge(statement, execution_options, by_word=life.reading)
        else:
            plain, by_word = is_plain_read(statement, execution_options, self.catalogue), False
        if not plain:
            held = life.transactional_connection(session, self.engine, by_word=by_word)
            return held._execute_context(*what, **kw)
        if self._dbapi_connection is not None:  # an event's listener reads inside of a read
            result = super()._execute_context(*what, **kw)
            fetched(result, life.scope)
            return result
        life.at_work(session)
        pool = self.engine.pool
        if not self._takes_one(pool, dialect):
            rule_of(self.engine).unfit()
            return self._hold()._execute_context(*what, **kw)
        life.has_read(self.engine)
        rest = None
        try:
            result = super()._execute_context(*what, **kw)
            rest = fetched(result, life.scope)
        except BaseException:
            if self._dbapi_connection is not None:
                leases.after_failure(self._dbapi_connection, dialect)
            raise
        finally:
            connection, self._dbapi_connection = self._dbapi_connection, None
            if rest is not None:
                if (use := use_of(connection)) is not None:
                    use.end()
                rest.release = partial(leases.give_back, connection, pool, dialect)
                life.has_rest(rest)
            elif connection is not None:
                leases.give_back(connection, pool, dialect)
        return result


def reader_of(engine: Engine, session: orm.Session) -> Reader:
    """What a session that may lease executes its statements on."""
    try:
        kind: type[Reader] = engine._respool_reader  # type: ignore[attr-defined]
    except AttributeError:
        kind = _reader_class(engine)
        setattr(engine, _KIND, kind)
    return kind(session)


def _reader_class(engine: Engine) -> type[Reader]:
    """What all readers of an engine have in common stands in their class: each attribute less makes one cheaper."""
    watch(engine)  # not as late as its first transaction, which may begin while SQLAlchemy goes through who listens
    first: Any = Reader.__new__(Reader)
    Connection.__init__(first, engine, _NOTHING)
    return type("Reader", (Reader,), {**vars(first), "_dbapi_connection": None, "catalogue": catalogue_of(engine)})
