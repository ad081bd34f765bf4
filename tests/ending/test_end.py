"""The rules of an end: what is decided, and that it is finished within its time or cut off."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from respool import Database, PoolConfig, SessionPhase
from respool.ending.aio import end_async, in_greenlet, in_thread
from respool.ending.end import End, Step
from respool.ending.shield import DeadlinePassed, shielded
from respool.errors import CommitOutcomeUnknown
from respool.scope.policy import Verdict, decide
from respool.scope.scope import ScopeState
from tests.session.faces import Shop, entered
from tests.session.shop import Order, acquired, count, opened_async

COMMIT, ROLLBACK, LEAVE = Verdict.COMMIT, Verdict.ROLLBACK, Verdict.LEAVE


@pytest.mark.parametrize(
    "policy, status, error, doomed, verdict",
    [
        ("manual", 200, None, None, LEAVE),
        ("manual", None, None, None, LEAVE),
        ("manual", 400, None, None, ROLLBACK),
        ("manual", None, LookupError(), None, ROLLBACK),
        ("on_success", 200, None, None, COMMIT),
        ("on_success", 399, None, None, COMMIT),
        ("on_success", None, None, None, COMMIT),
        ("on_success", 400, None, None, ROLLBACK),
        ("on_success", 200, asyncio.CancelledError(), None, ROLLBACK),
        ("on_success", 200, GeneratorExit(), None, ROLLBACK),
        ("on_success", 200, None, "a reason", ROLLBACK),
        (lambda status, error: status == 202, 202, None, None, COMMIT),
        (lambda status, error: status == 202, 200, None, None, ROLLBACK),
        (lambda status, error: True, 500, None, None, ROLLBACK),
        (lambda status, error: True, 200, LookupError(), None, ROLLBACK),
        (lambda status, error: True, 200, None, "a reason", ROLLBACK),
    ],
)
def test_what_is_decided(policy: Any, status: int | None, error: Any, doomed: str | None, verdict: Verdict) -> None:
    assert decide(policy, status, error, doomed) is verdict


def test_a_rule_that_fails_saves_nothing(db: Database, shop_url: str) -> None:
    def rule(status: int | None, error: BaseException | None) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        with db.scope("job", commit=rule) as session:
            session.add(Order(product_id=1))
    assert (acquired(db), db.scopes(), count(shop_url)) == (0, (), 0)


async def test_promise_07_a_refused_commit_leaves_nothing_behind_for_the_next_one(the_shop: Shop) -> None:
    """SQLite keeps the transaction open then, and stock SQLAlchemy gives the connection back with it."""
    async with the_shop.open(pool=PoolConfig(max_size=1)) as db:
        for product in (999, 1):
            with contextlib.suppress(IntegrityError):
                async with entered(db.scope("job", commit="on_success")) as session:
                    session.add(Order(product_id=product))
        assert (acquired(db), the_shop.count()) == (0, 1)


# -- shielded ---------------------------------------------------------------------------------------------------------


async def test_work_that_fails_raises_what_it_raised() -> None:
    async def work() -> None:
        raise LookupError("on purpose")

    with pytest.raises(LookupError, match="on purpose"):
        await shielded(work())


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_caller_is_told_after_the_work_is_done(fails: bool) -> None:
    go, done = asyncio.Event(), []

    async def work() -> None:
        await go.wait()
        done.append(True)
        if fails:
            raise LookupError

    caller = asyncio.create_task(shielded(work()))
    for _ in range(5):
        await asyncio.sleep(0)
        caller.cancel()
    assert not done
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done == [True]


async def test_level_cancellation_does_not_cut_the_work_off() -> None:
    """AnyIO cancels what is in a cancelled scope at every await, again and again."""
    from anyio import CancelScope

    go, done = asyncio.Event(), []

    async def work() -> None:
        await go.wait()
        done.append(True)

    with CancelScope() as scope:
        asyncio.get_running_loop().call_soon(scope.cancel)
        asyncio.get_running_loop().call_later(0.05, go.set)
        await shielded(work())
    assert (done, scope.cancelled_caught) == ([True], True)


async def test_work_that_is_late_is_cancelled() -> None:
    cancelled = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(DeadlinePassed):
        await shielded(work(), deadline=0)
    assert cancelled == []  # it never began
    with pytest.raises(DeadlinePassed):
        await shielded(work(), deadline=0.01)
    assert cancelled == [True]


# -- deadlines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy, begun", [("on_success", True), ("on_success", False), ("manual", True)])
async def test_promise_07_an_end_that_is_late_discards_the_connection(
    async_shop_url: str, shop_url: str, caplog: pytest.LogCaptureFixture, policy: Any, begun: bool
) -> None:
    async with opened_async(async_shop_url) as db:
        scope = db.new_scope("late", commit=policy)
        scope.enter()
        session = db.session
        await session.connection()
        if policy == "on_success":
            session.add(Order(product_id=1))
            await session.flush()

        async def hangs(step: Step) -> Any:
            if begun:
                await asyncio.Event().wait()
            return await in_greenlet(step)

        ending = end_async(End([scope]), hangs, deadline=0.01 if begun else 0)
        if policy == "on_success" and begun:
            with pytest.raises(CommitOutcomeUnknown, match="took longer than"):
                await ending
        else:
            await ending
            assert "took longer than" in caplog.text
        scope.leave()
        assert (scope.state, session.phase) == (ScopeState.ENDED, SessionPhase.REMOVED)
        assert (acquired(db), db.pool.stats().total, db.scopes()) == (0, 0, ())
    assert count(shop_url) == 0


async def test_promise_07_a_thread_that_is_late_gives_its_connection_back_itself(db: Database) -> None:
    """Nobody else may touch a connection that a thread is at work on; the caller does not wait for ever, though."""
    go = threading.Event()
    scope = db.new_scope("late")
    scope.enter()
    session = db.session
    session.add(Order(product_id=1))
    session.flush()

    def slowly(session: Any, conclude: Any) -> Any:
        go.wait()
        return conclude(session)

    tasks: list[Any] = []

    async def perform(step: Step) -> Any:
        tasks.append(asyncio.current_task())
        slow = Step(step.scope, lambda session: slowly(session, step.do))
        return await in_thread(executor, slow, session)

    with ThreadPoolExecutor() as executor:
        with pytest.raises(CommitOutcomeUnknown):
            await end_async(End([scope]), perform, deadline=0.01)
        assert (acquired(db), scope.state) == (1, ScopeState.FINISHING)
        go.set()
        await asyncio.wait(tasks)
    assert (acquired(db), scope.state, session.phase) == (0, ScopeState.ENDED, SessionPhase.REMOVED)
    scope.leave()


@pytest.mark.parametrize("cancelled", [False, True])
async def test_promise_04_a_request_cancelled_in_its_last_flush_saves_nothing(
    db: Database, shop_url: str, cancelled: bool
) -> None:
    """And the thread that flushes is waited for: nobody rolls back under its hands."""
    flushing, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    scope = db.new_scope("cancelled")
    scope.enter()
    db.session.add(Order(product_id=1))

    @event.listens_for(db.session, "before_flush")
    def _(*args: Any) -> None:
        loop.call_soon_threadsafe(flushing.set)
        go.wait()

    session = db.session
    with ThreadPoolExecutor() as executor:
        ending = asyncio.create_task(end_async(End([scope]), lambda step: in_thread(executor, step, session)))
        await flushing.wait()
        if cancelled:
            ending.cancel()
            await asyncio.sleep(0)
            assert not ending.done()
        go.set()
        (outcome,) = await asyncio.gather(ending, return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError) is cancelled
    assert (acquired(db), scope.state, count(shop_url)) == (0, ScopeState.ENDED, 0 if cancelled else 1)
    scope.leave()
