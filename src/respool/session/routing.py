"""The part of a session that decides what a statement runs on: a leased connection, or the transaction's."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, Executable, TextClause, orm, util
from sqlalchemy.engine.util import TransactionalContext
from sqlalchemy.util import EMPTY_DICT

from respool.engine.pools.leases import AUTOCOMMIT, TRANSACTION
from respool.session.changes.statements import changes_data
from respool.session.life import Life, life_of
from respool.session.operations import guarded
from respool.session.reader import reader_of
from respool.session.reads.plain import OPTION
from respool.session.reads.watching import Watch

__all__ = ["HasReads", "release_connection"]


class HasReads(orm.Session):
    """See :mod:`respool.session.reader`, and the head of the file."""

    _respool_life: Life

    def connection(self, bind_arguments: Any = None, execution_options: Any = None) -> Connection:
        """As SQLAlchemy's: the connection of the session's transaction, which begins here if none is open."""
        life = self._respool_life
        if execution_options and life.read_from and self.is_active:
            execution_options = _too_late(self, life, bind_arguments, execution_options)
        holds, life.holds = life.holds, True
        life.at_hand = bool(life.connections)
        try:
            return super().connection(bind_arguments=bind_arguments, execution_options=execution_options)
        finally:
            life.at_hand, life.holds = False, holds

    def begin(self, nested: bool = False) -> orm.SessionTransaction:
        """As SQLAlchemy's. After plain reads, which have begun none, it begins one."""
        if not nested and self._transaction is None:
            self._respool_life.read_from = ()
        return super().begin(nested)

    def _connection_for_bind(self, engine: Any, execution_options: Any = None, **kw: Any) -> Connection:
        life = self._respool_life
        if life.rest is not None:  # it may have the only connection
            life.settle_rest()
        if self._transaction is None and not life.holds and isinstance(engine, Engine):
            if self._trans_context_manager is not None:  # inside of a block whose transaction is over
                TransactionalContext._trans_ctx_check(self)
            session: Any = self
            kind = life.begin.kind(engine, session)
            if kind is AUTOCOMMIT:
                readers = life.readers
                if readers is None:
                    readers = life.readers = {}
                reader = readers.get(engine)
                if reader is None:
                    reader = readers[engine] = reader_of(engine, session)
                return reader
            connection = super()._connection_for_bind(engine, execution_options, **kw)
            if kind is TRANSACTION:
                life.watch = Watch(life, connection)
            return connection
        return super()._connection_for_bind(engine, execution_options, **kw)

    def _execute_internal(  # what execute(), scalar() and scalars() do; written out, since every read passes through it
        self,
        statement: Any,
        params: Any = None,
        *,
        execution_options: Any = EMPTY_DICT,
        bind_arguments: Any = None,
        _parent_execute_state: Any = None,
        _add_event: Any = None,
        _scalar_result: bool = False,
    ) -> Any:
        session: Any = self
        life = self._respool_life
        guard = life.guard
        entered, holds = guard.enter(life, session), life.holds
        try:
            if not getattr(statement, "is_select", False) and isinstance(statement, Executable):
                life.holds = _before_a_write(self, life, statement, execution_options) or holds
            result = super()._execute_internal(
                statement,
                params,
                execution_options=execution_options,
                bind_arguments=bind_arguments,
                _parent_execute_state=_parent_execute_state,
                _add_event=_add_event,
                _scalar_result=_scalar_result,
            )
            if life.learner is not None:
                life.learner(result)
            return result
        finally:
            life.holds = holds
            if entered:
                guard.leave(life, session)


def _too_late(session: orm.Session, life: Life, bind_arguments: Any, execution_options: Any) -> Any:
    """With a transaction from the first read on, options for its connection would come too late: so they do."""
    bind = session.get_bind(**(bind_arguments or {}))
    if bind not in life.read_from or any(connection.engine is bind for connection in life.connections):
        return execution_options  # SQLAlchemy knows what to do with them
    util.warn("Connection is already established for the given bind; execution_options ignored")
    return None


def _before_a_write(session: orm.Session, life: Life, statement: Any, options: Any) -> bool:
    """Whether it begins the transaction: it may read first, and both belong into one."""
    word = life.reading or options.get(OPTION, statement.get_execution_options().get(OPTION))
    if word and _writes(statement, by_text=session._transaction is None):
        life.refuse_write("a statement that writes")
    return not word and life.begin.may_lease


@guarded
def release_connection(session: orm.Session) -> None:
    """End a transaction that has only read, and give its connection back; the objects stay as they are."""
    life = life_of(session)
    life.settle_rest()
    life.end_of_read(session)


def _writes(statement: Any, *, by_text: bool) -> bool:
    """Whether a statement that is said to read writes, as far as its form tells; in a transaction the database tells."""
    if by_text and isinstance(statement, TextClause):
        return changes_data(statement.text, None)
    return bool(getattr(statement, "is_dml", False))
