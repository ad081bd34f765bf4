"""What follows a commit or a rollback: when, in which order, with what session, and what becomes of errors."""

# ruff: noqa: PT012 -- what raises is a block, with what is done in it
from __future__ import annotations

import asyncio
import logging
import threading
import warnings
from typing import Any

import pytest
from sqlalchemy import event, text

from respool import Database
from respool.ending.aio import end_async, in_greenlet, in_thread
from respool.ending.end import End, drive
from respool.ending.shield import unhurried
from respool.errors import CommitOutcomeUnknown, HookFailed, ScopeEnded, UncommittedChanges
from tests.session.faces import Shop, entered, got
from tests.session.shop import Order, Product, acquired, opened, opened_async


class Noted(list[str]):
    """Hooks that note that they ran."""

    def __call__(self, what: str) -> Any:
        def note() -> None:
            self.append(what)

        return note


@pytest.fixture
def ran() -> Noted:
    return Noted()


# -- when -------------------------------------------------------------------------------------------------------------


async def test_they_run_once_in_order_when_the_connection_is_back(the_shop: Shop, ran: Noted) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:

        def look() -> None:
            ran.append(f"{acquired(db)} out, {the_shop.count()} saved, in a transaction: {session.in_transaction()}")

        session.on_commit(ran("first"))
        session.add(Order(product_id=1))
        session.on_commit(look)
        session.on_rollback(ran("never"))
        await got(session.flush())
        assert (ran, acquired(db)) == ([], 1)
        await got(session.commit())
        assert ran == ["first", "0 out, 1 saved, in a transaction: False"]
        await got(session.commit())
        await got(session.rollback())
        assert len(ran) == 2


@pytest.mark.parametrize("how", ["rollback", "close", "reset", "invalidate"])
async def test_a_rollback_drops_them(the_shop: Shop, ran: Noted, how: str) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        await got(session.get(Product, 1))
        session.on_commit(ran("committed"))
        session.on_rollback(ran("rolled back"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UncommittedChanges)
            await got(getattr(session, how)())
        assert (ran, acquired(db)) == (["rolled back"], 0)
        await got(session.commit())
        assert ran == ["rolled back"]


async def test_a_savepoint_takes_its_own_with_it(the_shop: Shop, ran: Noted) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        session.on_commit(ran("outer"))
        async with entered(session.begin_nested()):
            session.on_commit(ran("released"))
        with pytest.raises(LookupError):
            async with entered(session.begin_nested()):
                session.on_commit(ran("dropped"))
                session.on_rollback(ran("taken back"))
                raise LookupError
        session.on_commit(ran("after"))
        session.on_rollback(ran("never"))
        assert ran == []
        await got(session.commit())
        assert ran == ["taken back", "outer", "released", "after"]


async def test_a_savepoint_takes_the_very_first_one_with_it(the_shop: Shop, ran: Noted) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        session.add(Order(product_id=1))
        for outer in (True, False):
            nested = [await got(session.begin_nested()) for _ in range(2)]
            session.on_commit(ran("dropped"))
            session.on_rollback(ran("taken back"))
            await got(nested[1].rollback() if not outer else nested[0].rollback())
            if not outer:
                session.on_commit(ran("kept"))
                await got(nested[0].commit())
        await got(session.commit())
        assert ran == ["taken back", "taken back", "kept"]


async def test_a_begin_block_runs_them_at_its_end(the_shop: Shop, ran: Noted) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        async with entered(session.begin()):
            session.add(Order(product_id=1))
            session.on_commit(ran("committed"))
        assert (ran, acquired(db)) == (["committed"], 0)
        with pytest.raises(LookupError):
            async with entered(session.begin()):
                session.on_commit(ran("never"))
                session.on_rollback(ran("rolled back"))
                raise LookupError
        assert (ran, the_shop.count()) == (["committed", "rolled back"], 1)


async def test_a_commit_that_fails_is_a_rollback(the_shop: Shop, ran: Noted) -> None:
    async with the_shop.open(commit="on_success") as db:
        with pytest.raises(Exception, match=r"(?i)foreign key"):
            async with entered(db.scope("job")) as session:
                session.add(Order(product_id=999))
                session.on_commit(ran("never"))
                session.on_rollback(ran("rolled back"))
        assert (ran, acquired(db)) == (["rolled back"], 0)


def test_promise_04_what_nobody_knows_runs_nothing(
    db: Database, ran: Noted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dialect: Any = db.engine.dialect

    def lose(connection: Any) -> None:
        raise dialect.loaded_dbapi.OperationalError("gone")

    monkeypatch.setattr(dialect, "do_commit", lose)
    monkeypatch.setattr(dialect, "is_disconnect", lambda *args: True)
    with pytest.raises(CommitOutcomeUnknown), db.scope("job") as session:
        session.add(Order(product_id=1))
        session.on_commit(ran("committed"))
        session.on_rollback(ran("rolled back"))
        session.commit()
    assert ran == []
    assert "nobody knows whether the COMMIT came through" in caplog.text


@pytest.mark.parametrize("begin", ["on_use", "on_write"])
async def test_they_wait_without_a_transaction_and_over_a_release(the_shop: Shop, ran: Noted, begin: Any) -> None:
    """And asking for one does not make a read hold a connection."""
    async with the_shop.open(begin=begin) as db, entered(db.scope("job")) as session:
        session.on_commit(ran("dropped"))
        await got(session.rollback())
        session.on_commit(ran("kept"))
        await got(session.get(Product, 1))
        assert acquired(db) == (1 if begin == "on_use" else 0)
        async with entered(db.released()):
            assert (acquired(db), ran) == (0, [])
        await got(session.commit())
        assert ran == ["kept"]


# -- at the end of a scope --------------------------------------------------------------------------------------------


async def test_the_end_runs_them_with_the_session_fresh(the_shop: Shop, ran: Noted) -> None:
    async with the_shop.open(commit="on_success") as db:

        async def look_async() -> None:
            ran.append(f"{acquired(db)} out")
            found = await session.get_one(Product, 1)
            ran.append(f"{found.name}, {order.note}, {acquired(db)} out, {db.session is session}")

        def look() -> None:
            ran.append(f"{acquired(db)} out")
            found = session.get_one(Product, 1)
            ran.append(f"{found.name}, {order.note}, {acquired(db)} out, {db.session is session}")

        async with entered(db.scope("job")) as session:
            order = Order(product_id=1, note="fresh")
            session.add(order)
            session.on_commit(look_async if the_shop.asynchronous else look)
            session.on_commit(ran("last"))
        assert ran[0] == "0 out"
        assert ran[1] in ("tea, fresh, 1 out, True", "tea, fresh, 0 out, True")  # by when a read gives back
        assert ran[2:] == ["last"]
        assert (acquired(db), db.scopes(), the_shop.count()) == (0, (), 1)
        with pytest.raises(ScopeEnded):
            session.on_commit(ran("never"))


async def test_a_hook_may_commit_and_ask_for_more(the_shop: Shop, ran: Noted) -> None:
    async with the_shop.open(commit="on_success") as db:
        for at_the_end in (False, True):
            async with entered(db.scope("job")) as session:

                async def more_async(session: Any = session) -> None:
                    session.add(Order(product_id=1))
                    session.on_commit(ran("second"))
                    await session.commit()
                    ran.append("zeroth")  # before any other: one hook after the other

                def more(session: Any = session) -> None:
                    session.add(Order(product_id=1))
                    session.on_commit(ran("second"))
                    session.commit()
                    ran.append("zeroth")

                session.on_commit(more_async if the_shop.asynchronous else more)
                session.on_commit(ran("first"))
                if not at_the_end:
                    await got(session.commit())
                    assert ran == ["zeroth", "first", "second"]
        assert (ran, the_shop.count(), acquired(db)) == (["zeroth", "first", "second"] * 2, 2, 0)


async def test_promise_04_what_a_hook_leaves_uncommitted_is_reported(the_shop: Shop, ran: Noted) -> None:
    """Rolled back, with its own hooks told; but no error any more, the request's commit is done."""
    async with the_shop.open(commit="on_success") as db:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            async with entered(db.scope("job")) as session:

                def leave(session: Any = session) -> None:
                    session.add(Order(product_id=1))
                    session.on_commit(ran("never"))
                    session.on_rollback(ran("rolled back"))

                session.on_commit(leave)
        assert [type(warning.message) for warning in seen] == [UncommittedChanges]
        async with entered(db.scope("job")) as session:
            session.on_commit(lambda session=session: session.add(Order(product_id=1)))
        assert (ran, the_shop.count(), acquired(db), db.scopes()) == (["rolled back"], 0, 0, ())


async def test_promise_04_hooks_that_wait_for_a_commit_in_vain_are_reported(the_shop: Shop, ran: Noted) -> None:
    async with the_shop.open() as db:
        with pytest.raises(UncommittedChanges) as reported:
            async with entered(db.scope("job")) as session:
                session.on_commit(ran("never"))
                session.on_rollback(ran("rolled back"))
        assert ran == ["rolled back"]
        (line,) = reported.value.changes
        assert line.startswith("on_commit hook Noted.__call__.<locals>.note (")
        assert "test_hooks.py" in line


async def test_an_exception_that_leaves_the_scope_rolls_back_and_runs_what_waits_for_that(
    the_shop: Shop, ran: Noted
) -> None:
    async with the_shop.open(commit="on_success") as db:
        with pytest.raises(LookupError):
            async with entered(db.scope("job")) as session:
                session.add(Order(product_id=1))
                await got(session.flush())
                session.on_commit(ran("never"))
                session.on_rollback(ran("rolled back"))
                raise LookupError
        assert (ran, acquired(db), db.scopes()) == (["rolled back"], 0, ())


def test_all_databases_are_committed_before_the_first_hook(tmp_path: Any, shop_url: str, ran: Noted) -> None:
    from tests.session.shop import count, fill

    other_url = f"sqlite:///{tmp_path / 'other.db'}"
    fill(other_url)
    with opened(shop_url, name="one", commit="on_success") as one, opened(other_url, name="two") as two:
        scopes = [one.new_scope("request"), two.new_scope("request", commit="on_success")]
        for scope, db in zip(scopes, (one, two), strict=True):
            scope.enter()
            db.session.add(Order(product_id=1))
            db.session.on_commit(lambda: ran.append(f"{count(shop_url)} {count(other_url)}"))
        drive(End(scopes))
        assert ran == ["1 1", "1 1"]
        for scope in reversed(scopes):
            scope.leave()


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_the_end", [False, True])
async def test_promise_03_a_hook_that_fails_changes_nothing(
    the_shop: Shop, ran: Noted, caplog: pytest.LogCaptureFixture, at_the_end: bool
) -> None:
    def fail() -> None:
        raise LookupError("on purpose")

    async with the_shop.open(commit="on_success") as db:
        async with entered(db.scope("job")) as session:
            session.add(Order(product_id=1))
            session.on_commit(fail)
            session.on_commit(ran("the next one"))
            if not at_the_end:
                await got(session.commit())
                assert ran == ["the next one"]
        assert (ran, the_shop.count(), acquired(db)) == (["the next one"], 1, 0)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    (told,) = record.args  # type: ignore[misc]
    assert isinstance(told, HookFailed)
    assert told.facts["hook"].endswith("fail")
    assert "test_hooks.py" in str(told)
    assert "stays committed" in str(told)
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


def test_a_coroutine_function_is_no_hook_of_a_sync_session(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    async def hook() -> None:
        raise AssertionError

    with db.scope("job") as session:
        session.on_commit(hook)
        session.commit()
    assert "nothing awaits in a sync session" in caplog.text


def test_they_can_be_decorators(db: Database, ran: Noted) -> None:
    with db.scope("job") as session:

        @session.on_commit
        def told() -> None:
            ran.append("told")

        session.commit()
        told()
    assert ran == ["told", "told"]


class Stop(BaseException):
    pass


def test_an_interrupt_goes_on_and_the_rest_is_told(
    db: Database, ran: Noted, caplog: pytest.LogCaptureFixture, shop_url: str
) -> None:
    def interrupt() -> None:
        raise Stop

    with pytest.raises(Stop), db.scope("job") as session:
        session.on_commit(interrupt)
        session.on_commit(ran("never"))
        session.commit()
    assert (ran, acquired(db)) == ([], 0)
    assert "interrupted; not run: on_commit hook" in caplog.text


# -- cancellation -----------------------------------------------------------------------------------------------------


async def test_promise_07_a_cancelled_caller_waits_for_its_hooks(async_shop_url: str, ran: Noted) -> None:
    began, go = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        began.set()
        await go.wait()
        ran.append("slow")

    async def work() -> None:
        async with db.scope("job") as session:
            session.add(Order(product_id=1))
            session.on_commit(slow)
            session.on_commit(ran("next"))

    async with opened_async(async_shop_url, commit="on_success") as db:
        task = asyncio.create_task(work())
        await began.wait()
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (ran, acquired(db), db.scopes()) == (["slow", "next"], 0, ())


async def test_promise_07_hooks_that_never_end_are_cut_off_after_their_caller(
    async_shop_url: str, ran: Noted, caplog: pytest.LogCaptureFixture
) -> None:
    began = asyncio.Event()

    async def endless() -> None:
        began.set()
        await asyncio.Event().wait()

    async with opened_async(async_shop_url, commit="on_success") as db:
        scope = db.new_scope("job")
        scope.enter()
        db.session.add(Order(product_id=1))
        db.session.on_commit(endless)
        db.session.on_commit(ran("never"))
        task = asyncio.create_task(end_async(End([scope]), in_greenlet, deadline=1.0))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        scope.leave()
        assert (ran, acquired(db), db.scopes()) == ([], 0, ())
        assert "interrupted; not run" in caplog.text


async def test_hooks_of_a_sync_session_run_in_its_thread(db: Database, ran: Noted) -> None:
    from concurrent.futures import ThreadPoolExecutor

    scope = db.new_scope("job")
    scope.enter()
    session = db.session
    session.add(Order(product_id=1))
    session.on_commit(lambda: ran.append(threading.current_thread().name))
    session.on_commit(lambda: ran.append(session.get_one(Product, 1).name))
    with ThreadPoolExecutor(1, thread_name_prefix="worker") as executor:
        await end_async(End([scope]), lambda step: in_thread(executor, step, session))
    scope.leave()
    assert (ran, acquired(db)) == (["worker_0", "tea"], 0)


async def test_unhurried_work_raises_what_it_raises() -> None:
    async def work() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await unhurried(work())


# -- for our own rooms ------------------------------------------------------------------------------------------------


def test_a_listener_of_the_commit_itself_can_still_add_one(db: Database, ran: Noted) -> None:
    from respool.session.life import life_of
    from respool.session.transaction.hooks import Hook, Outcome

    with db.scope("job") as session:

        @event.listens_for(session, "after_commit", once=True)
        def _(session: Any) -> None:
            life_of(session).add_hook(session, Hook(ran("from the listener"), Outcome.COMMITTED, "listener"))

        session.on_commit(ran("the user's"))
        session.execute(text("SELECT 1"))
        session.commit()
    assert ran == ["the user's", "from the listener"]
