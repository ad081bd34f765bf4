"""A planned read of an async session: awaited, without the greenlet that SQLAlchemy's asyncio side needs.

Only what is rare enters one: a connection that has to be checked or replaced, an error that SQLAlchemy has to tell of, a flush.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sqlalchemy.util import greenlet_spawn

from respool.engine.pools.leases import Loan
from respool.scope.scope import ENDED
from respool.scope.session_phase import WORKING
from respool.session.life import Life, life_of
from respool.session.loading.eligibility import Eligibility
from respool.session.loading.gets import ELSEWHERE, asks_for_more, look, one
from respool.session.loading.plans.kept import Plans
from respool.session.loading.plans.keys import find
from respool.session.loading.plans.plan import Asked, Plan
from respool.session.loading.results import result_of
from respool.session.loading.running import Failure, may_be_lent
from respool.session.loading.selects import is_for_plans, wanted
from respool.session.operations import require_own_loop, require_usable

__all__ = ["RUNS", "leave", "planned_execute", "planned_get", "rows_of"]


def planned_get(slow: Callable[..., Awaitable[Any]], eligibility: Eligibility, inner: Any) -> Callable[..., Any]:
    """``get()`` of an async session, by a plan where there is one.

    Args:
        slow: the way without.
        eligibility: which sessions may go by plans.
        inner: the sync session's ``get``: whoever has put something else there is asked.
    """

    @functools.wraps(slow)
    async def get(face: Any, entity: Any, ident: Any, **options: Any) -> Any:
        session = face.sync_session
        life = life_of(session)
        more = options and asks_for_more(options)
        if not more and life.planned and not life.over and type(session).get is inner:
            guard = life.guard
            entered = guard.enter(life, session)
            try:
                found = await _find(session, life, eligibility, entity, ident)
            finally:
                if entered:
                    await leave(life, session)
            if found is not ELSEWHERE:
                return found
        return await slow(face, entity, ident, **options)

    return get


async def _find(session: Any, life: Life, eligibility: Eligibility, entity: Any, ident: Any) -> Any:
    plans = eligibility.plans(session, life)
    run = None if plans is None else RUNS.get(plans.driver)
    if plans is None or run is None:
        return ELSEWHERE
    plan, found = look(session, plans, entity, ident)
    if plan is None:
        return found
    rows = await rows_of(session, life, plans, plan, Asked(found, plan.extracted, plan.statement))
    return ELSEWHERE if rows is None else one(plan, rows, session, life)


def planned_execute(
    slow: Callable[..., Awaitable[Any]], eligibility: Eligibility, *, scalar: bool
) -> Callable[..., Any]:
    """``execute()`` of an async session, which ``scalars()`` calls as well, or ``scalar()``, by a plan where there is one.

    Args:
        slow: the way without.
        eligibility: which sessions may go by plans.
        scalar: whether it is ``scalar()``.
    """

    @functools.wraps(slow)
    async def execute(face: Any, statement: Any, params: Any = None, **options: Any) -> Any:
        session = face.sync_session
        life = life_of(session)
        more = any(value or name not in _OPTIONS for name, value in options.items())
        if not more and is_for_plans(life, statement, params):
            guard = life.guard
            entered = guard.enter(life, session)
            try:
                result = await _result(session, life, eligibility, statement, params or None)
                if result is not None:
                    return result.scalar() if scalar else result
            finally:
                if entered:
                    await leave(life, session)
        return await slow(face, statement, params, **options)

    return execute


#: What may be said, and says nothing where it is empty.
_OPTIONS = ("execution_options", "bind_arguments")


async def _result(session: Any, life: Life, eligibility: Eligibility, statement: Any, params: Any) -> Any:
    plans = eligibility.plans(session, life)
    if plans is None or plans.driver not in RUNS:
        return None
    sought = find(plans, statement, params, True)
    plan = wanted(session, sought)
    if plan is None or sought is None or plan.after is not None:  # what loads more has to wait for that
        return None
    rows = await rows_of(session, life, plans, plan, Asked(params, sought.extracted, statement))
    return None if rows is None else result_of(plan, rows, session, life, plans=plans, buffered=True)


async def leave(life: Life, session: Any) -> None:
    """Go out of a session. Where that means to give a connection back, it is done where SQLAlchemy can wait."""
    scope = life.scope
    if life.watch is not None or (scope is not None and scope.state is ENDED):
        await greenlet_spawn(life.guard.leave, life, session)
    else:
        life.guard.leave(life, session)


async def rows_of(session: Any, life: Life, plans: Plans, plan: Plan, asked: Asked) -> Sequence[Any] | None:
    """As :func:`running.rows_of`, on a connection that is lent; ``None`` where it takes a greenlet."""
    if session._new or session._deleted or session.identity_map._modified:
        return None
    if life.over or life.scope is None or life.scope.state is ENDED:
        require_usable(life, awaits=True)  # else the guard has asked for that
    require_own_loop(life)
    if not may_be_lent(session, life, plans, plan):
        return None
    call = plan.call_with(asked)
    if call is None:
        return None
    if life.phase is not WORKING:
        life.at_work(session)
    pool: Any = plans.engine.pool
    loan = Loan(pool)
    if not await pool.lend(loan, call[0]):
        return None
    life.has_read(plans.engine)
    try:
        rows = await RUNS[plans.driver](loan.connection, plans.engine.dialect, *call)
    except BaseException as error:
        failure = Failure(session, life, plans, plan, asked)
        await greenlet_spawn(_tell, failure, loan, call, error)
        return None
    loan.give_back()
    return rows


def _tell(failure: Failure, loan: Loan, call: tuple[str, Any], failed: BaseException) -> None:
    adapted = loan.connection
    try:
        if isinstance(failed, Exception) and (handle := getattr(adapted, "_handle_exception", None)) is not None:
            handle(failed)  # before SQLAlchemy 2.1 not every driver's has it
        raise failed
    except BaseException as error:
        if not failure.replaced(loan, error, False):
            failure.report(None, call, error, False)


# -- by driver: what SQLAlchemy's adapted cursors do ----------------------------------------------------------------------


#: SQLAlchemy 2.0 has none around aiosqlite, whose thread does one thing after the other anyway.
_NO_MUTEX = contextlib.nullcontext()


async def _by_asyncpg(adapted: Any, dialect: Any, sql: str, values: Any) -> Sequence[Any]:
    cursor = adapted.cursor()
    cursor._invalidate_schema_cache_asof = dialect._invalidate_schema_cache_asof
    await cursor._prepare_and_execute(sql, values)
    rows: Sequence[Any] = cursor.fetchall()
    return rows


async def _by_psycopg(adapted: Any, dialect: Any, sql: str, values: Any) -> Sequence[Any]:
    cursor = adapted.driver_connection.cursor()
    await cursor.execute(sql, values)
    rows: Sequence[Any] = await cursor.fetchall()
    await cursor.close()
    return rows


async def _by_aiosqlite(adapted: Any, dialect: Any, sql: str, values: Any) -> Sequence[Any]:
    async with getattr(adapted, "_execute_mutex", _NO_MUTEX):
        rows: Sequence[Any] = await adapted.driver_connection.execute_fetchall(sql, values)
        return rows


async def _by_aiomysql(adapted: Any, dialect: Any, sql: str, values: Any) -> Sequence[Any]:
    async with adapted._execute_mutex, adapted.driver_connection.cursor(adapted.dbapi.Cursor) as cursor:
        await cursor.execute(sql, values)
        rows: Sequence[Any] = await cursor.fetchall()
        return rows


async def _by_asyncmy(adapted: Any, dialect: Any, sql: str, values: Any) -> Sequence[Any]:
    async with adapted._execute_mutex, adapted.driver_connection.cursor() as cursor:
        await cursor.execute(sql, values)
        rows: Sequence[Any] = await cursor.fetchall()
        return rows


RUNS: dict[str, Callable[[Any, Any, str, Any], Awaitable[Sequence[Any]]]] = {
    "asyncpg": _by_asyncpg,
    "psycopg": _by_psycopg,
    "psycopg_async": _by_psycopg,
    "aiosqlite": _by_aiosqlite,
    "aiomysql": _by_aiomysql,
    "asyncmy": _by_asyncmy,
}
