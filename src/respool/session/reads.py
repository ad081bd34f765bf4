"""The part of a session that decides what a statement runs on: a leased connection, or the transaction's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

from sqlalchemy import Connection, Engine, orm
from sqlalchemy.util import EMPTY_DICT

from respool.errors import ReadOnly
from respool.session import watch
from respool.session.guards import Guard
from respool.session.reader import BeginRule, Reader

if TYPE_CHECKING:
    from respool.session.session import Session

__all__ = ["HasReads"]

_UNKNOWN: Any = object()


class HasReads(orm.Session):
    """See :mod:`respool.session.reader`, and the head of the file."""

    reading: bool  #: inside a ``read_only()`` block
    _connections: list[Connection]
    _at_hand = False  #: the transaction's connection is asked for, and there: nobody has to wait for it
    _begin: BeginRule
    _guard: Guard
    _readers: dict[Engine, Reader | None]

    @property
    def title(self) -> str:
        raise NotImplementedError

    def connection(self, *args: Any, **kwargs: Any) -> Connection:
        """As SQLAlchemy's: the connection of the session's transaction, which begins here if none is open."""
        self._autobegin_t()
        self._at_hand = bool(self._connections)
        try:
            return super().connection(*args, **kwargs)
        finally:
            self._at_hand = False

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """A block whose statements only read, by your word: each leases a connection, ``text()`` and functions too.

        For a single statement there is ``execution_options(respool_read=True)``; ``False`` says that it does more.

        Raises:
            ReadOnly: something was to be written.
        """
        outer, self.reading = self.reading, True
        try:
            yield
        finally:
            self.reading = outer

    def _connection_for_bind(self, engine: Any, execution_options: Any = None, **kw: Any) -> Connection:
        if self._transaction is None and isinstance(engine, Engine):
            reader: Reader | None = self._readers.get(engine, _UNKNOWN)
            if reader is _UNKNOWN:
                reader = self._readers[engine] = self._make_reader(engine)
            if reader is not None:
                return reader
        return super()._connection_for_bind(engine, execution_options, **kw)

    def _make_reader(self, engine: Engine) -> Reader | None:
        if not self.autobegin or watch.has_begin_hooks(cast("Session", self)) or not self._begin.leases(engine):
            return None
        return self._begin.reader(engine, cast("Session", self))

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
                self._before_a_write(statement)
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

    def _before_a_write(self, statement: Any) -> None:
        if self.reading and getattr(statement, "is_dml", False):
            self.refuse_write("a statement that writes")
        if self._transaction is None and not self.reading and self._begin.may_lease:
            self._autobegin_t()  # a write may read first, and both belong into one transaction

    def refuse_write(self, what: str) -> NoReturn:
        """Raise the error of a write inside a ``read_only()`` block."""
        raise ReadOnly(
            f"{what} inside a read_only() block of {self.title}",
            advice=["write before or after the block", "or leave read_only() out: plain reads are leased without it"],
            scope=self.title,
        )
