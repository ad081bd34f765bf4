"""Faults of a database: for the next so many times, and only for the routes that are meant."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, Literal

from sqlalchemy import Engine

from respool.database.base import DatabaseBase
from respool.engine.pools.timeouts import DatabaseAway, EnginePoolTimeout
from respool.errors import ConfigError
from respool.whereabouts import get_label

__all__ = ["Fault", "database_away", "failing_commit", "full_pool"]

How = Literal["refused", "lost", "saved"]
_ASKED_FOR = "a fault that a test has asked for"


class Fault:
    """A fault, and how often it has come.

    Args:
        what: it is called.
        times: how often it comes at the most; ``None``: always.
        route: for which work: a pattern of the request's or scope's label, ``"POST /orders*"``.
    """

    def __init__(self, what: str, times: int | None, route: str | None) -> None:
        self.count = 0  #: how often it has come
        self._what = what
        self._times = times
        self._route = route
        self._lock = threading.Lock()

    def strikes(self) -> bool:
        """Whether it comes now, which is counted."""
        if self._route is not None and not fnmatchcase(get_label() or "", self._route):
            return False
        with self._lock:
            if self._times is not None and self.count >= self._times:
                return False
            self.count += 1
        return True

    def require(self) -> None:
        """Refuse a test in which it never came: it has shown nothing.

        Raises:
            AssertionError: it never came.
        """
        if not self.count:
            where = f" at {self._route!r}" if self._route is not None else ""
            raise AssertionError(f"{self._what} was asked for{where}, and did not come: nothing came by")


@contextmanager
def failing_commit(
    db: DatabaseBase[Any],
    how: How = "refused",
    *,
    error: BaseException | type[BaseException] | None = None,
    times: int | None = 1,
    route: str | None = None,
) -> Iterator[Fault]:
    """Have a COMMIT fail.

    Args:
        db: in which database, as it is at the beginning: an override belongs around the block.
        how: ``"refused"``: the database says no, and nothing is saved. ``"lost"``: the connection breaks before it
            arrives; ``"saved"``: after it has. To the application these two are ``CommitOutcomeUnknown``.
        error: what the driver raises when it is refused; by default its ``OperationalError``.
        times: how often, at the most; ``None``: always.
        route: only for work of this label, a pattern as for ``fnmatch``: ``"POST /orders*"``.

    Yields:
        the fault, which counts.

    Raises:
        AssertionError: at the end: no COMMIT came by.
    """
    if how not in ("refused", "lost", "saved"):
        raise ConfigError(
            f"failing_commit(db, {how!r}) is not accepted",
            advice=['write "refused", "lost" or "saved"'],
            setting="how",
        )
    fault = Fault("a COMMIT that fails", times, route)
    dialect = _engine(db).dialect
    with _instead(dialect, **_commits(dialect, fault, how, error)):
        yield fault
    fault.require()


def _commits(dialect: Any, fault: Fault, how: How, error: Any) -> dict[str, Callable[..., Any]]:
    """What a dialect does instead, while a fault is asked for."""
    commit, is_disconnect = dialect.do_commit, dialect.is_disconnect
    lost = type("ConnectionLost", (dialect.loaded_dbapi.OperationalError,), {})

    def do_commit(dbapi_connection: Any) -> None:
        if not fault.strikes():
            commit(dbapi_connection)
            return
        if how == "refused":
            raise error if error is not None else dialect.loaded_dbapi.OperationalError(f"COMMIT refused: {_ASKED_FOR}")
        if how == "saved":
            commit(dbapi_connection)
        raise lost(f"connection lost during COMMIT: {_ASKED_FOR}")

    def knows(problem: Any, *args: Any, **kwargs: Any) -> bool:
        return isinstance(problem, lost) or is_disconnect(problem, *args, **kwargs)

    return {"do_commit": do_commit, "is_disconnect": knows}


@contextmanager
def full_pool(db: DatabaseBase[Any], *, times: int | None = None, route: str | None = None) -> Iterator[Fault]:
    """Have no connection to give, as after the pool's ``timeout``: who asks gets ``PoolTimeout``, at once.

    Args:
        db, times, route: as for :func:`failing_commit`; always by default.

    Yields:
        the fault, which counts.

    Raises:
        AssertionError: at the end: nobody asked for a connection.
    """
    with _no_connections(db, Fault("a full pool", times, route), away=False) as fault:
        yield fault


@contextmanager
def database_away(db: DatabaseBase[Any], *, times: int | None = None, route: str | None = None) -> Iterator[Fault]:
    """Have the database refuse to be connected to: who asks for a connection gets ``PoolTimeout``, at once, which is also
    SQLAlchemy's ``OperationalError`` with the driver's own as its ``orig``.

    What holds a connection keeps it. For one that breaks in the midst there is :class:`~respool.testing.FaultProxy`.

    Args:
        db, times, route: as for :func:`failing_commit`; always by default.

    Yields:
        the fault, which counts.

    Raises:
        AssertionError: at the end: nobody asked for a connection.
    """
    with _no_connections(db, Fault("a database that is away", times, route), away=True) as fault:
        yield fault


@contextmanager
def _no_connections(db: DatabaseBase[Any], fault: Fault, *, away: bool) -> Iterator[Fault]:
    engine = _engine(db)
    pool: Any = engine.pool

    def instead(take: Callable[[], Any]) -> Callable[[], Any]:
        def taking() -> Any:
            if fault.strikes():
                raise _no_connection(engine, away)
            return take()

        return taking

    ways = {name: instead(getattr(pool, name)) for name in ("connect", "lease") if hasattr(pool, name)}
    with _instead(pool, **ways):
        yield fault
    fault.require()


def _no_connection(engine: Engine, away: bool) -> EnginePoolTimeout:
    pool: Any = engine.pool
    name = getattr(pool, "pool_name", "default")
    timeout = pool.timeout() if hasattr(pool, "timeout") else 0.0
    kind = DatabaseAway if away else EnginePoolTimeout
    why = f"connection refused: {_ASKED_FOR}" if away else None
    made = kind(
        f"no connection from pool {name!r} within {timeout or 0.0:g} s"
        + (f": the database is away: {why}" if away else ""),
        now=[_ASKED_FOR],
        pool=name,
        timeout=timeout,
        holders=(),
        database_away=away,
        connect_error=why,
    )
    if isinstance(made, DatabaseAway):
        made.orig = engine.dialect.loaded_dbapi.OperationalError(why)
    return made


@contextmanager
def _instead(owner: Any, **functions: Callable[..., Any]) -> Iterator[None]:
    """Have an object do other things than its class says, for the length of a block."""
    before = {name: vars(owner)[name] for name in functions if name in vars(owner)}
    vars(owner).update(functions)
    try:
        yield
    finally:
        for name in functions:
            vars(owner).pop(name, None)
        vars(owner).update(before)


def _engine(db: DatabaseBase[Any]) -> Engine:
    engine: Engine = getattr(db.engine, "sync_engine", db.engine)
    return engine
