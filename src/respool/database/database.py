"""The two faces of a database: for threads, and for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from sqlalchemy import URL, Connection, Engine

from respool.config import PoolConfig
from respool.database.base import DatabaseBase
from respool.database.override.blocks import AsyncOverride, Override
from respool.database.parallel import gather, gather_async
from respool.database.retry import Retry
from respool.database.run import Work, name_of, perform, perform_async
from respool.ending.block import AsyncScopeBlock, ScopeBlock
from respool.engine import AsyncFairPool, FairPool, build_async_engine, build_engine, require_greenlet
from respool.errors import ConfigError
from respool.scope.policy import CommitPolicy
from respool.scope.scope import Scope
from respool.session.classes import SessionClass
from respool.session.reads.begin import Begin
from respool.session.routing import release_connection
from respool.session.signposts import async_block, block, refuse_coroutine, require_coroutine
from respool.session.units.units import UnitOptions
from respool.whereabouts import calling

__all__ = ["AsyncDatabase", "Database"]

if TYPE_CHECKING:
    from sqlalchemy import orm
    from sqlalchemy.ext import asyncio as sa_asyncio
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from typing_extensions import TypeVar as DefaultingTypeVar

    from respool.session.aio import AsyncSession
    from respool.session.session import Session

    S = DefaultingTypeVar("S", bound=orm.Session, default=Session)
    AS = DefaultingTypeVar("AS", bound=sa_asyncio.AsyncSession, default=AsyncSession)
else:  # the class of a database's sessions; ours, where none is named
    S = TypeVar("S")
    AS = TypeVar("AS")

E = TypeVar("E")
T = TypeVar("T")


class Database(DatabaseBase[S]):
    """A database, its pool, and the session of each request.

    Args:
        url: the database's URL, or an existing ``Engine``, which keeps the pool that it has.
        name: what errors, logs and pages call it; no two databases of an application have the same.
        pool: settings of the pool; only together with a URL.
        commit: what happens to uncommitted changes at the end of a request or scope. ``"manual"``: they are rolled
            back and reported. ``"on_success"``: they are committed if the status is below 400 and no exception
            escaped. Or a function of ``(status, exception)``, or of ``(status, exception, method)``, asked about
            successes, that says whether to commit.
        begin: ``"on_write"``: until the first write each plain read leases a connection for that one statement, in
            autocommit. ``"on_use"``: a transaction begins with the first statement, whatever it is. By default
            ``"on_write"`` where the isolation level is READ COMMITTED, and on SQLite.
        twophase: commit in two phases where a request has changes in several databases: all prepare, then all commit.
            PostgreSQL (psycopg, psycopg2; ``max_prepared_transactions`` above zero), MySQL.
        plans: whether reads that SQLAlchemy has done once go from the driver's rows to objects at once the next time;
            with ``False`` each goes SQLAlchemy's whole way.
        session_class: the class of its sessions: a subclass of ours, of SQLAlchemy's ``Session`` or of SQLModel's. What
            is not ours has it mixed in below.
        session_options: what each session is made with, as for SQLAlchemy's ``Session``: ``{"autoflush": False}``.
        engine_options: further arguments of SQLAlchemy's ``create_engine``.

    Raises:
        ConfigError: an argument is unknown, not accepted, or at odds with another one; nothing was opened.
    """

    other_kind = "AsyncDatabase"
    engine: Engine

    def __init__(
        self,
        url: str | URL | Engine,
        *,
        name: str = "default",
        pool: PoolConfig | None = None,
        commit: CommitPolicy = "manual",
        begin: Begin = None,
        twophase: bool = False,
        plans: bool = True,
        session_class: type[S] | None = None,
        session_options: Mapping[str, Any] | None = None,
        engine_options: Mapping[str, Any] | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(
            url, name, pool, commit, begin, twophase, plans, session_class, session_options, engine_options, unknown
        )

    @property
    def session_type(self) -> type[S]:
        """The class of its sessions, of no other database's: what ``event.listen(db.session_type, …)`` listens to."""
        made: type[S] = self.session_kind.only_here()
        return made

    def scope(self, label: str, *, commit: CommitPolicy | None = None) -> ScopeBlock[S]:
        """A scope outside of HTTP: for a script, a job, a thread, a message.

        Args:
            label: what errors and pages call it: ``"nightly"``.
            commit: what happens to uncommitted changes at its end, as for the database, whose rule is the default.

        Returns:
            a context manager that gives the session of the scope.

        Raises:
            SelfDeadlock: when it begins inside of a scope whose session holds a connection, and the pool cannot give
                another one.
        """
        return ScopeBlock(self, self.new_scope(label, place=calling(), commit=commit))

    def block_of(self, scope: Scope) -> ScopeBlock[S]:
        """A block in which a scope is in force, and at whose end it ends."""
        return ScopeBlock(self, scope)

    @block
    def released(self) -> Iterator[None]:
        """Give the connection back to the pool for the length of a block. Objects stay as they are.

        Raises:
            UncommittedChanges: there are changes that would be lost.
            ScopeError: there are locks that would be, or it is inside of a ``session.begin()`` block or unit.
            NoScope: no request and no scope is open here.
        """
        scope, session = self._releasing()
        try:
            if session is not None:
                release_connection(session)
            yield
        finally:
            self._resume(scope)

    def run(
        self,
        function: Callable[..., T],
        *args: Any,
        retry: Retry | int | None = None,
        label: str | None = None,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> T:
        """Run ``function(session, *args)`` as a unit of work in a scope of its own, and once more if it lost.

        Args:
            function: called with a fresh session, once for each attempt.
            args: what it is called with as well.
            retry: how often it is repeated, or a :class:`~respool.Retry`, after a serialization failure or a deadlock
                (SQLSTATE 40001, 40P01; MySQL's 1213, 1205). Not after anything that cannot be taken back: a commit
                inside of it, :meth:`released`, an answer that has left.
            label: what errors and pages call the scope; the function's name by default.
            isolation, read_only: as for :meth:`respool.Session.unit`.

        Returns:
            what the function returns. Objects of its session are detached by then.
        """
        work = Work(
            label or name_of(function), UnitOptions(isolation=isolation, read_only=read_only), Retry.of(retry), own=True
        )

        def checked(session: Any) -> T:
            return refuse_coroutine(function(session, *args), function, "run()")  # type: ignore[no-any-return]

        return perform(self, checked, work)

    def gather(
        self,
        *functions: Callable[[S], T],
        limit: int | None = None,
        executor: Executor | None = None,
    ) -> list[T]:
        """Run functions side by side in threads, each with a child of the session in force: see :meth:`Session.fork`.

        So many at once as the pool can give connections; the calling thread runs its share. When one fails, those that
        have not begun are left out, and its exception is raised when the others have ended.

        Args:
            functions: each is called with its session.
            limit: how many may run at once, below what the pool allows.
            executor: whose threads are used; threads of its own by default.

        Returns:
            the results, in the order of the functions.

        Raises:
            SelfDeadlock: the session in force holds a connection, and the pool cannot give another one.
            NoScope: no request and no scope is open here.
        """
        return gather(self, self.in_force(), functions, limit, executor)

    def override(self, target: str | URL | Engine | Connection) -> Override[Self]:
        """Have another database in the place of this one for the length of a block, as tests do.

        ``db.session``, ``db.scope()``, dependencies, jobs, ``db.engine`` and ``db.pool`` follow, in every thread; what is
        open already keeps what it has. Blocks may be nested. Listeners to ``db.engine`` hear the other one too, where it
        has the same driver.

        Args:
            target: a URL: an engine is made as for this database, and closed at the end. An ``Engine``, which stays open.
                Or a ``Connection``: all share it, one after the other, and what they commit is a savepoint in its
                transaction. That you end yourself; if none has begun, all is rolled back at the end.

        Returns:
            a context manager that gives this database.

        Raises:
            ConfigError: it is something else, or of the other kind.
        """
        return Override(self, target)

    def close(self, timeout: float = 10.0, *, by: str | None = None) -> None:
        """Close the pool and all its connections. An engine of yours goes on: only what is idle in its pool is closed.

        Args:
            timeout: seconds to wait for connections that are still in use.
            by: who closes it, for the error of those who come later; the calling line by default.
        """
        if self._mark_closed(by):
            pool = self.engine.pool
            if isinstance(pool, FairPool) and not self.given:
                pool.close(timeout)
            else:
                self.engine.dispose()

    @property
    def pool(self) -> FairPool:
        """The pool of connections, with ``stats()`` and ``snapshot()``. An engine of yours keeps the pool that it has."""
        return cast("FairPool", self.engine.pool)

    @property
    def _sync_engine(self) -> Engine:
        return self.engine

    def _engine_of(self, url: Any, pool: PoolConfig | None, options: dict[str, Any]) -> Engine:
        if isinstance(url, Engine):
            if url.dialect.is_async:
                self._refuse_engine("an engine with an async driver", "an Engine or a URL with a sync driver")
            return _as_given(url, pool, options)
        if not isinstance(url, str | URL):
            self._refuse_engine(f"an object of type {type(url).__name__}", "a URL or an Engine")
        return build_engine(url, pool=pool or PoolConfig(), name=self.name, **options)

    def _class_of(self, given: Any, options: Mapping[str, Any] | None) -> SessionClass:
        return SessionClass(given, options)


class AsyncDatabase(DatabaseBase[AS]):
    """A database for asyncio, its pool, and the session of each request.

    Args:
        url: the database's URL with an async driver, or an existing ``AsyncEngine``, which keeps the pool that it has.
        name, pool, commit, begin, twophase, plans, engine_options: as for :class:`Database`.
        session_class: the class of its sessions: a subclass of ours, of SQLAlchemy's ``AsyncSession`` or of SQLModel's.
        session_options: what each session is made with, as for SQLAlchemy's ``AsyncSession``; ``sync_session_class``
            is one of them.

    Raises:
        ConfigError: an argument is unknown, not accepted, or at odds with another one, or greenlet is not installed;
            nothing was opened.
    """

    other_kind = "Database"
    engine: AsyncEngine

    def __init__(
        self,
        url: str | URL | AsyncEngine,
        *,
        name: str = "default",
        pool: PoolConfig | None = None,
        commit: CommitPolicy = "manual",
        begin: Begin = None,
        twophase: bool = False,
        plans: bool = True,
        session_class: type[AS] | None = None,
        session_options: Mapping[str, Any] | None = None,
        engine_options: Mapping[str, Any] | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(
            url, name, pool, commit, begin, twophase, plans, session_class, session_options, engine_options, unknown
        )

    def scope(self, label: str, *, commit: CommitPolicy | None = None) -> AsyncScopeBlock[AS]:
        """A scope outside of HTTP: for a script, a job, a task, a websocket message.

        Its end is finished even if the task is cancelled meanwhile.

        Args:
            label: what errors and pages call it: ``"nightly"``.
            commit: what happens to uncommitted changes at its end, as for the database, whose rule is the default.

        Returns:
            an async context manager that gives the session of the scope.

        Raises:
            SelfDeadlock: when it begins inside of a scope whose session holds a connection, and the pool cannot give
                another one.
        """
        return AsyncScopeBlock(self, self.new_scope(label, place=calling(), commit=commit))

    def block_of(self, scope: Scope) -> AsyncScopeBlock[AS]:
        """A block in which a scope is in force, and at whose end it ends."""
        return AsyncScopeBlock(self, scope)

    @async_block
    async def released(self) -> AsyncIterator[None]:
        """Give the connection back to the pool for the length of a block. Objects stay as they are.

        Raises:
            UncommittedChanges: there are changes that would be lost.
            ScopeError: there are locks that would be, or it is inside of a ``session.begin()`` block or unit.
            NoScope: no request and no scope is open here.
        """
        scope, session = self._releasing()
        try:
            if session is not None:
                await scope.face.run_sync(release_connection)
            yield
        finally:
            self._resume(scope)

    async def run(
        self,
        function: Callable[..., Awaitable[T]],
        *args: Any,
        retry: Retry | int | None = None,
        label: str | None = None,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> T:
        """Run the coroutine function ``function(session, *args)`` as a unit of work, as :meth:`Database.run`."""
        work = Work(
            label or name_of(function), UnitOptions(isolation=isolation, read_only=read_only), Retry.of(retry), own=True
        )

        def checked(session: Any) -> Awaitable[T]:
            return require_coroutine(function(session, *args), function, "run()")  # type: ignore[no-any-return]

        return await perform_async(self, checked, work)

    async def gather(
        self,
        *functions: Callable[[AS], Awaitable[T]],
        limit: int | None = None,
    ) -> list[T]:
        """Run coroutine functions side by side, each with a child of the session in force: see :meth:`AsyncSession.fork`.

        So many at once as the pool can give connections. When one fails the others are cancelled, and its exception is
        raised when they have ended.

        Args:
            functions: each is called with its session.
            limit: how many may run at once, below what the pool allows.

        Returns:
            the results, in the order of the functions.

        Raises:
            SelfDeadlock: the session in force holds a connection, and the pool cannot give another one.
            NoScope: no request and no scope is open here.
        """
        return await gather_async(self, self.in_force(), functions, limit)

    def override(self, target: str | URL | AsyncEngine | AsyncConnection) -> AsyncOverride[Self]:
        """Have another database in the place of this one for the length of a block: as :meth:`Database.override`.

        It is left by ``async with``, or by ``with`` where nothing has to be awaited at the end: an engine of yours, or a
        URL whose connections are closed by the loops that they belong to. A connection needs ``async with``; it may be
        used in other loops and threads as long as this one runs.
        """
        return AsyncOverride(self, target)

    async def close(self, timeout: float = 10.0, *, by: str | None = None) -> None:
        """Close the pool and all its connections. An engine of yours goes on: only what is idle in its pool is closed.

        Args:
            timeout: seconds to wait for connections that are still in use.
            by: who closes it, for the error of those who come later; the calling line by default.
        """
        if self._mark_closed(by):
            pool = self.engine.pool
            if isinstance(pool, AsyncFairPool) and not self.given:
                await pool.aclose(timeout)
            else:
                await self.engine.dispose()

    @property
    def pool(self) -> AsyncFairPool:
        """The pool of connections, with ``stats()`` and ``snapshot()``. An engine of yours keeps the pool that it has."""
        return cast("AsyncFairPool", self.engine.pool)

    @property
    def _sync_engine(self) -> Engine:
        return self.engine.sync_engine

    def _engine_of(self, url: Any, pool: PoolConfig | None, options: dict[str, Any]) -> AsyncEngine:
        from sqlalchemy.ext.asyncio import AsyncEngine

        if isinstance(url, AsyncEngine):
            return _as_given(url, pool, options)
        if not isinstance(url, str | URL):
            self._refuse_engine(f"an object of type {type(url).__name__}", "a URL or an AsyncEngine")
        return build_async_engine(url, pool=pool or PoolConfig(), name=self.name, **options)

    def _class_of(self, given: Any, options: Mapping[str, Any] | None) -> SessionClass:
        _require_greenlet()
        from respool.session.aio import AsyncSessionClass

        return AsyncSessionClass(given, options)


def _as_given(engine: E, pool: PoolConfig | None, options: Mapping[str, Any]) -> E:
    for setting, given in (("pool", pool), ("engine_options", options)):
        if given:
            raise ConfigError(
                f"{setting}= was given together with an existing engine",
                advice=["give a URL instead, or set up the engine itself: create_engine(url, poolclass=FairPool)"],
                setting=setting,
            )
    return engine


def _require_greenlet() -> None:
    """Import what needs greenlet; from then on our annotations can be resolved too, as containers of dependencies do."""
    require_greenlet("AsyncDatabase")
    from respool.session.aio import AsyncSession

    globals()["AsyncSession"] = AsyncSession
