"""Scopes outside of HTTP: blocks, their rule at the end, blocks within blocks, and giving the connection back."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any

import pytest
from sqlalchemy import select, text

from respool import Database, SessionPhase, transactional
from respool.errors import NoScope, RollbackOnly, ScopeEnded, ScopeError, UncommittedChanges, UnitError, WrongScope
from respool.scope.scope import ScopeState
from respool.whereabouts import get_label
from tests.session.shop import Order, Product, acquired, count, fill, opened, opened_async


def beside(work: Callable[[], object]) -> None:
    """In a thread of its own."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_outside_of_any_scope_there_is_no_session(db: Database) -> None:
    with pytest.raises(NoScope) as refused:
        db.session
    told = str(refused.value)
    assert "test_scope.py" in told
    assert "RequestScopeMiddleware(app, db)" in told
    assert 'with db.scope("job") as session' in told


def test_a_block_has_one_session_and_names_itself(db: Database) -> None:
    with db.scope("nightly") as session:
        assert db.session is session
        assert db.current_session() is session
        scope = session.scope
        assert scope is not None
        assert scope.label == "nightly"
        assert scope.place is not None
        assert "test_scope.py:" in scope.place
        assert db.scopes() == (scope,)
        assert (scope.state, scope.phase, scope.session) == (ScopeState.OPEN, "created", session)
        assert scope.age >= 0
    assert db.scopes() == ()
    assert (scope.state, scope.phase, scope.session) == (ScopeState.ENDED, "removed", None)


@pytest.mark.parametrize(
    "policy, fails, saved",
    [
        ("on_success", False, 1),
        ("on_success", True, 0),
        ("manual", True, 0),
        (lambda status, error: True, False, 1),
        (lambda status, error: False, False, 0),
        (lambda status, error: True, True, 0),
    ],
)
def test_the_rule_at_the_end_of_a_block(shop_url: str, policy: Any, fails: bool, saved: int) -> None:
    def work() -> None:
        with db.scope("job") as session:
            session.add(Order(product_id=1))
            if fails:
                raise LookupError

    with opened(shop_url, commit=policy) as db:
        if fails:
            with pytest.raises(LookupError):
                work()
        else:
            work()
        assert acquired(db) == 0
    assert count(shop_url) == saved


@pytest.mark.parametrize("driver", ["sync", "async"])
async def test_a_blocks_own_rule_wins(shop_url: str, async_shop_url: str, driver: str) -> None:
    if driver == "sync":
        with opened(shop_url) as db, db.scope("job", commit="on_success") as session:
            session.add(Order(product_id=1))
    else:
        async with opened_async(async_shop_url) as adb, adb.scope("job", commit="on_success") as asession:
            asession.add(Order(product_id=1))
    assert count(shop_url) == 1


async def test_promise_04_what_a_block_leaves_uncommitted_is_reported_at_its_line(
    shop_url: str, async_shop_url: str
) -> None:
    with opened(shop_url) as db, pytest.warns(UncommittedChanges, match="scope 'job'") as told:
        with db.scope("job") as session:
            session.add(Order(product_id=1))
    async with opened_async(async_shop_url) as adb:
        with pytest.warns(UncommittedChanges, match="scope 'job'") as also_told:
            async with adb.scope("job") as asession:
                asession.add(Order(product_id=1))
    assert [w.filename.rpartition("/")[2] for w in (told[0], also_told[0])] == ["test_scope.py"] * 2
    assert count(shop_url) == 0


def test_promise_04_a_commit_or_a_rollback_by_hand_leaves_nothing_to_report(shop_url: str) -> None:
    with opened(shop_url) as db:
        with db.scope("job") as session:
            session.add(Order(product_id=1))
            session.commit()
            session.add(Order(product_id=1))
            session.rollback()
    assert count(shop_url) == 1


async def test_promise_05_sessions_are_not_for_blocks_beside_theirs(db: Database) -> None:
    with db.scope("outer") as outer:
        with db.scope("inner") as inner:
            assert inner is not outer
            assert inner.scope is not None
            assert inner.scope.parent is outer.scope
            assert outer.get_one(Product, 1).name == "tea"  # the outer one is still around us
            assert inner.get_one(Product, 1).name == "tea"
        with pytest.raises(ScopeEnded):
            inner.get(Product, 1)
        assert db.session is outer

        with db.scope("beside") as beside:
            held = beside
            inside, leave = asyncio.Event(), asyncio.Event()

            async def other() -> None:
                db._current.set(None)
                with db.scope("other task"):
                    inside.set()
                    await leave.wait()
                    with pytest.raises(WrongScope, match="scope 'other task'"):
                        held.get(Product, 1)

            task = asyncio.create_task(other())
            await inside.wait()
            leave.set()
            await task


def test_promise_05_a_scope_that_has_ended_is_nobodys_parent(db: Database) -> None:
    with db.scope("outer") as outer:
        scope = outer.scope
        assert scope is not None
        scope.enter()  # as a thread does that took over the context, and outlives the block
    scope.variable.set(scope)
    with db.scope("later") as later:
        assert later.scope is not None
        assert later.scope.parent is None
    with pytest.raises(ScopeEnded):
        db.session
    scope.variable.set(None)


def exported(db: Database) -> Iterator[Any]:
    """A stream as users write it: what is read is not over when its reader goes."""
    with db.scope("export") as session:
        yield session
        yield session


def let_down(stream: Iterator[Any]) -> None:
    stream.close()  # type: ignore[attr-defined]


def collected(stream: Iterator[Any]) -> None:
    """The last reference goes."""


@pytest.mark.parametrize("end", [let_down, collected])
@pytest.mark.parametrize("around", [True, False], ids=["begun within a scope", "begun outside of any"])
def test_promise_05_a_block_that_is_closed_in_the_midst_of_others_leaves_their_session_alone(
    db: Database, end: Any, around: bool
) -> None:
    """Also by the garbage collector, in any thread: what is in force there is not the stream's to put back."""
    streams: list[Iterator[Any]] = []
    here: list[bool] = []

    def begin() -> None:
        streams.append(exported(db))
        next(streams[0])

    def others() -> None:
        with db.scope("others") as session:
            end(streams.pop())
            here.append(db.session is session)
            here.append(get_label() == "others")
        here.append(db.scope_here() is None)
        here.append(get_label() is None)

    def first() -> None:
        if not around:
            begin()
            return
        with db.scope("reader"):
            begin()
            beside(others)  # which the reader's own session would be wrong for

    beside(first)
    if not around:
        beside(others)
    assert here == [True] * 4
    assert acquired(db) == 0
    assert db.scopes() == ()


async def test_promise_05_an_async_block_that_is_closed_in_the_midst_of_others(async_shop_url: str) -> None:
    async def exported() -> AsyncIterator[Any]:
        async with db.scope("export") as session:
            yield await session.get(Product, 1)
            yield None

    async def others() -> None:
        async with db.scope("others") as session:
            await stream.aclose()  # type: ignore[attr-defined]
            assert db.session is session

    async with opened_async(async_shop_url) as db:
        stream = exported()
        async with db.scope("reader"):
            await anext(stream)
            await asyncio.create_task(others(), context=Context())
        assert db.scope_here() is None
        assert acquired(db) == 0


def test_a_block_that_is_closed_after_the_one_around_it(db: Database) -> None:
    stream = exported(db)
    with db.scope("reader"):
        own = next(stream)
        assert db.session is own
    assert db.scope_here() is None
    with db.scope("next") as session:
        let_down(stream)
        assert db.session is session
    assert db.scope_here() is None


def test_where_no_scope_is_to_be_in_force_is_nobody_elses_business(db: Database) -> None:
    @contextmanager
    def outside() -> Iterator[None]:
        with db.without_scope():
            yield

    block = outside()
    with db.scope("reader") as session:
        block.__enter__()
        assert db.scope_here() is None
        here: list[bool] = []

        def others() -> None:
            with db.scope("others") as own:
                block.__exit__(None, None, None)
                here.append(db.session is own)

        beside(others)
        assert here == [True]
        assert db.scope_here() is None
        with db.without_scope():
            assert db.scope_here() is None
    assert session.scope is not None


def test_promise_07_a_block_that_everybody_forgot_is_not_kept_alive(db: Database) -> None:
    scope = db.new_scope("forgotten")
    scope.enter()
    scope_ref, session_ref = weakref.ref(scope), weakref.ref(db.session)
    db.session.connection()
    assert (acquired(db), len(db.scopes())) == (1, 1)
    scope.leave()
    del scope
    gc.collect()
    assert (scope_ref(), session_ref(), db.scopes()) == (None, None, ())


async def test_promise_07_a_cancelled_block_rolls_back_and_gives_back(async_shop_url: str, shop_url: str) -> None:
    async with opened_async(async_shop_url, commit="on_success") as db:
        inside = asyncio.Event()

        async def work() -> None:
            async with db.scope("job") as session:
                session.add(Order(product_id=1))
                await session.flush()
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await inside.wait()
        assert acquired(db) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (acquired(db), db.scopes()) == (0, ())
    assert count(shop_url) == 0


# -- released() -------------------------------------------------------------------------------------------------------


def test_promise_02_released_gives_the_connection_back_and_keeps_the_objects(db: Database) -> None:
    with db.scope("job") as session:
        session.connection()
        tea = session.get_one(Product, 1)
        assert acquired(db) == 1
        with db.released():
            assert acquired(db) == 0
            assert session.scope is not None
            assert session.scope.state is ScopeState.RELEASED
            assert tea in session
            assert tea.name == "tea"
        assert session.scope.state is ScopeState.OPEN
        tea.stock = 3
        session.commit()


async def test_promise_02_released_for_asyncio(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db, db.scope("job") as session:
        await session.connection()
        tea = await session.get_one(Product, 1)
        assert acquired(db) == 1
        async with db.released():
            assert acquired(db) == 0
            assert tea.name == "tea"
            await session.connection()  # takes one again, if it must
            assert acquired(db) == 1


def test_promise_04_released_refuses_what_it_would_lose(shop_url: str) -> None:
    with opened(shop_url) as db, db.scope("job") as session:
        session.get_one(Product, 1).stock = 3
        with pytest.raises(UncommittedChanges, match="would lose 1 uncommitted change") as refused:
            with db.released():
                pytest.fail("must not come here")
        assert refused.value.changes == ("Product(id=1) updated: stock",)
        assert session.scope is not None
        assert session.scope.state is ScopeState.OPEN
        session.commit()
        with session.begin(), pytest.raises(ScopeError, match=r"inside a session.begin\(\) block"), db.released():
            pytest.fail("must not come here")


LOCKING = [
    select(Product).with_for_update(),
    text("SELECT pg_advisory_xact_lock(1)"),
    text("LOCK TABLE products IN SHARE MODE"),
]


@pytest.mark.postgres
@pytest.mark.parametrize("statement", LOCKING, ids=str)
async def test_released_refuses_while_locks_are_held(pg_url: str, statement: Any) -> None:
    fill(pg_url)
    async with opened_async(pg_url, name="async") as db, db.scope("job") as session:
        await session.execute(statement)
        with pytest.raises(ScopeError, match=r"released\(\) would let go of 1 lock of scope 'job'") as refused:
            async with db.released():
                pytest.fail("must not come here")
        assert refused.value.locks == session.changes().locks != ()  # type: ignore[attr-defined]
        with pytest.raises(UnitError, match="has locks before it"):
            await transactional(db, retry=1)(never_async)()
        await session.rollback()
        async with db.released():
            assert acquired(db) == 0


@pytest.mark.postgres
def test_released_knows_of_writes_that_begin_with_select(pg_url: str) -> None:
    fill(pg_url)
    with opened(pg_url) as db, db.scope("job") as session:
        session.execute(text("SELECT pg_notify('stock', 'tea')"))
        with pytest.raises(UncommittedChanges, match="would lose 1 uncommitted change") as refused, db.released():
            pytest.fail("must not come here")
        assert refused.value.changes == ("SELECT pg_notify() (text)",)
        session.rollback()


async def never_async() -> None:
    pytest.fail("must not come here")


def test_released_before_anything_was_done(db: Database) -> None:
    with db.scope("job"), db.released():
        assert acquired(db) == 0
    with pytest.raises(NoScope), db.released():
        pytest.fail("must not come here")


# -- doom -------------------------------------------------------------------------------------------------------------


def test_a_doomed_scope_only_rolls_back(db: Database, shop_url: str) -> None:
    with db.scope("job") as session:
        assert session.scope is not None
        session.add(Order(product_id=1))
        session.scope.doom("the payment was refused")
        session.scope.doom("another reason, later")
        with pytest.raises(RollbackOnly, match="the payment was refused"):
            session.commit()
    assert count(shop_url) == 0


class Meeting:
    """A lock for two that come at once: both have found that there is no session yet before one of them makes it."""

    def __init__(self) -> None:
        self.both = threading.Barrier(2)
        self.lock = threading.Lock()

    def __enter__(self) -> None:
        self.both.wait()
        self.lock.acquire()

    def __exit__(self, *error: object) -> None:
        self.lock.release()


def test_promise_01_threads_of_one_scope_make_one_session(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "_making", Meeting())
    scope = db.new_scope("shared")
    sessions: list[Any] = []

    def ask() -> None:
        scope.enter()
        sessions.append(db.session)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sessions[0] is sessions[1]
    assert sessions[0].phase is SessionPhase.CREATED


def test_text_of_a_scope(db: Database) -> None:
    with db.scope("nightly") as session:
        session.execute(text("SELECT 1"))
        assert "scope 'nightly'" in repr(session.scope)
        assert "open, database 'default'" in repr(session.scope)
