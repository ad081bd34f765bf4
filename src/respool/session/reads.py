"""The part of a session that decides what a statement runs on: a leased connection, or the transaction's."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

from sqlalchemy import Connection, Engine, TextClause, orm, util
from sqlalchemy.util import EMPTY_DICT

from respool.engine.leases import AUTOCOMMIT, TRANSACTION
from respool.errors import ReadOnly
from respool.session.fetching import Rest
from respool.session.guards import Guard
from respool.session.hooks import Outcome
from respool.session.plain import OPTION
from respool.session.reader import Reader, reader_of
from respool.session.rule import BeginRule, rule_of
from respool.session.statements import changes_data
from respool.session.watching import Watch

if TYPE_CHECKING:
    from respool.session.session import Session

__all__ = ["HasReads"]


class HasReads(orm.Session):
    """See :mod:`respool.session.reader`, and the head of the file."""

    outcome: Outcome  #: of the transaction that is open
    reading: bool  #: inside a ``read_only()`` block
    _connections: list[Connection]
    _at_hand = False  #: the transaction's connection is asked for, and there: nobody has to wait for it
    _begin: BeginRule
    _guard: Guard
    _read_from: tuple[Engine, ...] = ()  #: what was read from without a transaction, since there was one
    _readers: dict[Engine, Reader]
    _rest: weakref.ref[Rest] | None = None  #: a result that has the connection of its lease still
    _watch: Watch | None = None  #: a transaction that is to end with its one read

    @property
    def title(self) -> str:
        raise NotImplementedError

    def connection(self, bind_arguments: Any = None, execution_options: Any = None) -> Connection:
        """As SQLAlchemy's: the connection of the session's transaction, which begins here if none is open."""
        if execution_options and self._transaction is None and self._read_from:
            execution_options = self._too_late(bind_arguments, execution_options)
        self._autobegin_t()
        self._at_hand = bool(self._connections)
        try:
            return super().connection(bind_arguments=bind_arguments, execution_options=execution_options)
        finally:
            self._at_hand = False

    def _too_late(self, bind_arguments: Any, execution_options: Any) -> Any:
        """With a transaction from the first read on, options for its connection would come too late: so they do."""
        if self.get_bind(**(bind_arguments or {})) not in self._read_from:
            return execution_options
        util.warn("Connection is already established for the given bind; execution_options ignored")
        return None

    def begin(self, nested: bool = False) -> orm.SessionTransaction:
        """As SQLAlchemy's. After plain reads, which have begun none, it begins one."""
        if not nested and self._transaction is None:
            self._read_from = ()
        return super().begin(nested)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """A block whose statements only read, by your word: none of them holds a connection, ``text()`` and functions too.

        What is not proved to be a plain read has a transaction of its own, which is rolled back. For a single statement
        there is ``execution_options(respool_read=True)``; ``False`` says that it does more.

        Raises:
            ReadOnly: something was to be written.
        """
        outer, self.reading = self.reading, True
        try:
            yield
        finally:
            self.reading = outer

    def transactional_connection(self, engine: Engine, *, by_word: bool = False) -> Connection:
        """The connection of the session's transaction, which begins here if it has not yet.

        Args:
            engine: whose.
            by_word: for a statement that only reads, as somebody said: what begins here may end with it.
        """
        begins = self._transaction is None
        connection = super()._connection_for_bind(engine)
        if begins and by_word:
            self._watch = Watch(self, connection)
        return connection

    def _connection_for_bind(self, engine: Any, execution_options: Any = None, **kw: Any) -> Connection:
        if self._rest is not None:  # it may have the only connection
            self.settle_rest()
        if self._transaction is None and isinstance(engine, Engine):
            kind = self._begin.kind(engine, cast("Session", self))
            if kind is AUTOCOMMIT:
                reader = self._readers.get(engine)
                if reader is None:
                    reader = self._readers[engine] = reader_of(engine, cast("Session", self))
                return reader
            connection = super()._connection_for_bind(engine, execution_options, **kw)
            if kind is TRANSACTION:
                self._watch = Watch(self, connection)
            return connection
        return super()._connection_for_bind(engine, execution_options, **kw)

    # -- what was read without a transaction ------------------------------------------------------------------------

    def has_read(self, engine: Engine) -> None:
        """Something is read that is to look as if a transaction had begun with it."""
        if engine not in self._read_from:
            self._read_from += (engine,)

    def cannot_lease(self, engine: Engine) -> None:
        """A connection of the engine's did not come as a lease needs it."""
        rule_of(engine).unfit()

    def has_rest(self, rest: Rest) -> None:
        """A result has rows that are not fetched yet, and the connection of its lease."""
        self._rest = weakref.ref(rest)

    def settle_rest(self) -> None:
        """Have such a result fetch the rest of its rows, and give its connection back."""
        if self._rest is not None:
            rest, self._rest = self._rest(), None
            if rest is not None:
                rest.keep()

    def close_rest(self, *, at_end: bool) -> None:
        """The session is closed; at its scope's end the rows are refused in any case, and are not fetched."""
        if at_end and self._rest is not None:
            rest, self._rest = self._rest(), None
            if rest is not None:
                rest.let_go()
        self.settle_rest()

    def has_passed(self) -> None:
        """Who was inside goes out: end a transaction that was there for one read only."""
        watch, self._watch = self._watch, None
        transaction = self._transaction
        if watch is None or not watch.end() or transaction is None:
            return
        if transaction._parent is not None or len(self._connections) != 1 or not self._is_clean():
            return
        engines = tuple(connection.engine for connection in self._connections)
        self._end_of_read()
        for engine in engines:
            self.has_read(engine)

    def release_connection(self) -> None:
        """End a transaction that has only read, and give its connection back; the objects stay as they are."""
        self.settle_rest()
        self._end_of_read()

    def _end_of_read(self) -> None:
        transaction = self.get_transaction()
        if transaction is not None:
            self.outcome = Outcome.OPEN
            transaction.close()

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
        guard = self._guard
        entered = guard.enter(cast("Session", self))
        try:
            if not getattr(statement, "is_select", False):
                self._before_a_write(statement, execution_options)
            return super()._execute_internal(
                statement,
                params,
                execution_options=execution_options,
                bind_arguments=bind_arguments,
                _parent_execute_state=_parent_execute_state,
                _add_event=_add_event,
                _scalar_result=_scalar_result,
            )
        finally:
            if entered:
                guard.leave(cast("Session", self))

    def _before_a_write(self, statement: Any, options: Any) -> None:
        word = self.reading or options.get(OPTION, statement.get_execution_options().get(OPTION))
        if word and _writes(statement, by_text=self._transaction is None):
            self.refuse_write("a statement that writes")
        if self._transaction is None and not word and self._begin.may_lease:
            self._autobegin_t()  # a write may read first, and both belong into one transaction

    def refuse_write(self, what: str) -> NoReturn:
        """Raise the error of a write inside a ``read_only()`` block."""
        raise ReadOnly(
            f"{what} {'inside a read_only() block of' if self.reading else 'as a read in'} {self.title}",
            advice=["write before or after the block", "or leave read_only() out: plain reads are leased without it"]
            if self.reading
            else ["leave respool_read=True out: plain reads are leased without it"],
            scope=self.title,
        )


def _writes(statement: Any, *, by_text: bool) -> bool:
    """Whether a statement that is said to read writes, as far as its form tells; in a transaction the database tells."""
    if by_text and isinstance(statement, TextClause):
        return changes_data(statement.text, None)
    return bool(getattr(statement, "is_dml", False))
