"""Work side by side in one request: children with sessions of their own, as many at once as the pool can bear."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from respool import Database, PoolConfig
from respool.ending.end import End, drive
from respool.errors import (
    ConcurrentUse,
    ConfigError,
    NoScope,
    ScopeEnded,
    ScopeError,
    SelfDeadlock,
    UncommittedChanges,
    WrongScope,
)
from respool.session.life import life_of
from tests.session.faces import Shop, entered, got
from tests.session.shop import Order, Product, acquired, opened, opened_async


def sale(note: str = "") -> Order:
    return Order(product_id=1, note=note)


# -- fork -------------------------------------------------------------------------------------------------------------


async def test_a_child_has_a_session_of_its_own(the_shop: Shop) -> None:
    async with the_shop.open(begin="on_use") as db, entered(db.scope("job")) as session:
        product = await got(session.get_one(Product, 1))
        async with entered(session.fork("part")) as child:
            assert db.session is child
            assert child.scope.label == "job > part"
            assert child.scope.parent is session.scope
            same = await got(child.get_one(Product, 1))
            assert same is not product
            assert acquired(db) == 2
        assert db.session is session
        assert acquired(db) == 1
        with pytest.raises(ScopeEnded, match="job > part"):
            await got(child.get(Product, 1))
        assert not session.scope.children


async def test_a_child_sees_what_is_committed(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        session.add(sale("saved"))
        await got(session.commit())
        if not the_shop.sqlite:  # which has one writer
            session.add(sale("not yet"))
            await got(session.flush())
        async with entered(session.fork()) as child:
            notes = (await got(child.scalars(select(Order.note)))).all()
            assert notes == ["saved"]
        await got(session.rollback())


@pytest.mark.parametrize(
    "policy, fails, saved", [("on_success", False, 1), ("on_success", True, 0), ("manual", True, 0)]
)
async def test_the_parents_rule_decides_at_its_end(the_shop: Shop, policy: Any, fails: bool, saved: int) -> None:
    async with the_shop.open() as db, entered(db.scope("job", commit=policy)) as session:
        try:
            async with entered(session.fork()) as child:
                child.add(sale())
                await got(child.flush())
                if fails:
                    raise LookupError
        except LookupError:
            pass
        assert (the_shop.count(), acquired(db)) == (saved, 0)


async def test_promise_04_what_a_child_leaves_uncommitted_is_reported(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        with pytest.raises(UncommittedChanges, match="job > fork"):
            async with entered(session.fork()) as child:
                child.add(sale())


@pytest.mark.parametrize("status, reported", [(200, True), (500, False)])
def test_promise_07_children_end_with_their_parent(shop_url: str, status: int, reported: bool) -> None:
    """A grandchild before its parent. Their blocks were not left, so their work is not done: nothing of it is saved."""
    from tests.session.shop import count

    with opened(shop_url, commit="on_success", pool=PoolConfig(max_size=5)) as db:
        request = db.new_scope("POST /orders")
        request.enter()
        session = db.session
        child_block = session.fork("child")
        child = child_block.__enter__()
        grandchild_block = child.fork("grandchild")
        grandchild = grandchild_block.__enter__()
        grandchild.add(sale())
        grandchild.flush()
        assert [scope.label for scope in request.family()] == [
            "POST /orders > child > grandchild",
            "POST /orders > child",
            "POST /orders",
        ]
        if reported:
            with pytest.raises(UncommittedChanges, match="grandchild"):
                drive(End([request], status))
        else:
            drive(End([request], status))
        assert (acquired(db), db.scopes(), count(shop_url)) == (0, (), 0)
        with pytest.raises(ScopeEnded):
            grandchild.add(sale())
        grandchild_block.__exit__(None, None, None)
        child_block.__exit__(None, None, None)
        with pytest.raises(ScopeEnded), session.fork():
            raise AssertionError
        request.leave()


async def test_promise_05_a_task_that_outlives_the_request_finds_its_child_over(the_shop: Shop) -> None:
    if not the_shop.asynchronous:
        return
    go, there = asyncio.Event(), asyncio.Event()

    async def outlive() -> None:
        async with session.fork() as child:
            await child.get(Product, 1)
            there.set()
            await go.wait()
            with pytest.raises(ScopeEnded):
                await child.get(Product, 1)
        with pytest.raises(ScopeEnded):
            async with session.fork():
                raise AssertionError

    async with the_shop.open(begin="on_use") as db:
        async with db.scope("job") as session:
            await session.get(Product, 1)
            task = asyncio.create_task(outlive())
            await there.wait()
            assert acquired(db) == 2
        assert (acquired(db), db.scopes()) == (0, ())
        go.set()
        await task
        assert acquired(db) == 0


def test_a_bare_thread_may_begin_with_a_fork(db: Database) -> None:
    names: list[str] = []

    def work() -> None:
        with pytest.raises(NoScope):
            db.session
        with session.fork() as child:
            assert db.session is child
            names.append(child.get_one(Product, 1).name)

    with db.scope("job") as session:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert names == ["tea"]


def test_promise_05_a_stranger_cannot_fork(db: Database) -> None:
    one = db.new_scope("GET /one")
    one.enter()
    session = db.session
    two = db.new_scope("GET /two")
    two.enter()
    with pytest.raises(WrongScope, match="used from request GET /two"), session.fork():
        raise AssertionError
    two.leave()
    drive(End([two, one]))
    one.leave()


def test_promise_06_parent_and_child_are_for_one_user_each(db: Database) -> None:
    """Each has its own guard: while a child works, the parent is free for the thread that has it."""
    with db.scope("job") as session, session.fork() as child:
        life = life_of(child)
        assert life.guard is not life_of(session).guard
        told: list[Exception] = []

        def use() -> None:
            with session.fork():
                try:
                    child.get(Product, 1)
                except (ConcurrentUse, ScopeError) as error:
                    told.append(error)

        life.guard.enter(life, child)
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        life.guard.leave(life, child)
    assert [type(error) for error in told] == [ConcurrentUse]


def test_a_session_without_a_scope_has_no_children(shop_url: str) -> None:
    from sqlalchemy import create_engine

    from respool import Session

    engine = create_engine(shop_url)
    with Session(engine) as session, pytest.raises(ScopeError, match="without a scope"), session.fork():
        raise AssertionError
    engine.dispose()


# -- gather -----------------------------------------------------------------------------------------------------------


class Crowd:
    """Functions for gather(), of either kind, that note how many are inside at once."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.most = 0
        self.inside = 0
        self._lock = threading.Lock()

    def reads(self, number: int) -> Any:
        async def read_async(session: Any) -> int:
            self._enter()
            await session.get(Product, 1)
            self.inside -= 1
            return number

        def read(session: Any) -> int:
            self._enter()
            session.get(Product, 1)
            with self._lock:
                self.inside -= 1
            return number

        return read_async if self.shop.asynchronous else read

    def sells(self) -> Any:
        async def sell_async(session: Any) -> None:
            session.add(sale())

        def sell(session: Any) -> None:
            session.add(sale())

        return sell_async if self.shop.asynchronous else sell

    def fails(self) -> Any:
        async def fail_async(session: Any) -> None:
            session.add(sale())
            await session.flush()
            raise LookupError("on purpose")

        def fail(session: Any) -> None:
            session.add(sale())
            session.flush()
            raise LookupError("on purpose")

        return fail_async if self.shop.asynchronous else fail

    def _enter(self) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)


@pytest.mark.parametrize(
    "max_size, holding, limit, most", [(5, False, None, 5), (5, True, None, 4), (5, False, 2, 2), (1, False, None, 1)]
)
async def test_promise_07_the_pool_bounds_how_many_run_at_once(
    the_shop: Shop, max_size: int, holding: bool, limit: int | None, most: int
) -> None:
    async with the_shop.open(pool=PoolConfig(max_size=max_size, timeout=5.0), begin="on_use") as db:
        async with entered(db.scope("job")) as session:
            if holding:
                await got(session.get(Product, 1))
            crowd = Crowd(the_shop)
            assert await got(db.gather(*map(crowd.reads, range(20)), limit=limit)) == list(range(20))
            assert crowd.most <= most
            if the_shop.asynchronous:
                assert crowd.most == most
        assert (acquired(db), db.pool.stats().total <= max_size) == (0, True)


async def test_a_pool_that_has_none_left_says_so_at_once(the_shop: Shop) -> None:
    async with the_shop.open(pool=PoolConfig(max_size=1, timeout=5.0), begin="on_use") as db:
        async with entered(db.scope("job")) as session:
            await got(session.get(Product, 1))
            with pytest.raises(SelfDeadlock):
                await got(db.gather(Crowd(the_shop).reads(0)))
            await got(session.rollback())
            assert await got(db.gather(Crowd(the_shop).reads(0))) == [0]


async def test_requests_that_hold_and_gather_at_once_do_not_starve_each_other(the_shop: Shop) -> None:
    """All of the pool is with requests that gather; some are refused, the others get through, within no timeout."""
    if not the_shop.asynchronous:
        return
    crowd = Crowd(the_shop)
    all_hold = asyncio.Barrier(3)

    async def request(db: Any) -> object:
        async with db.scope("job") as session:
            await session.get(Product, 1)
            await all_hold.wait()
            try:
                return await db.gather(*map(crowd.reads, range(4)))
            except SelfDeadlock:
                return "refused"

    async with the_shop.open(pool=PoolConfig(max_size=3, timeout=60.0), begin="on_use") as db:
        answers = await asyncio.gather(*(request(db) for _ in range(3)))
        assert sorted(map(str, answers)) == [str([0, 1, 2, 3]), str([0, 1, 2, 3]), "refused"]
        assert acquired(db) == 0


async def test_one_that_fails_ends_them_all(the_shop: Shop) -> None:
    async with the_shop.open(commit="on_success") as db:
        async with entered(db.scope("job")) as session:
            crowd = Crowd(the_shop)
            with pytest.raises(LookupError, match="on purpose"):
                await got(db.gather(crowd.fails(), *map(crowd.reads, range(50)), limit=1))
            assert crowd.most == 0
            assert not session.scope.children
        assert (the_shop.count(), acquired(db)) == (0, 0)


async def test_what_they_change_is_saved_one_by_one(the_shop: Shop) -> None:
    async with the_shop.open(commit="on_success") as db, entered(db.scope("job")):
        crowd = Crowd(the_shop)
        await got(db.gather(crowd.sells(), crowd.sells(), crowd.sells()))
        assert the_shop.count() == 3


async def test_gather_needs_a_scope_and_a_limit_that_can_be(the_shop: Shop) -> None:
    async with the_shop.open() as db:
        with pytest.raises(NoScope):
            await got(db.gather())
        async with entered(db.scope("job")):
            assert await got(db.gather()) == []
            with pytest.raises(ConfigError, match="limit=0"):
                await got(db.gather(limit=0))


def test_an_executor_without_a_free_thread_keeps_nobody_waiting(db: Database) -> None:
    """The thread that gathers is one of the executor's, all of which are busy with that."""
    with ThreadPoolExecutor(1) as executor:

        def request() -> list[str]:
            with db.scope("job"):
                return db.gather(*[lambda child: str(child.get_one(Product, 1).name)] * 3, executor=executor)

        assert executor.submit(request).result(timeout=60) == ["tea"] * 3


def test_threads_of_gather_are_real_ones(shop_url: str) -> None:
    """Two functions that wait for each other: they can only both end when they run at once."""
    both = threading.Barrier(2, timeout=60)
    with opened(shop_url) as db, db.scope("job"), ThreadPoolExecutor(2) as executor:
        db.gather(lambda child: both.wait(), lambda child: both.wait())
        db.gather(lambda child: both.wait(), lambda child: both.wait(), executor=executor)


def test_failures_beside_the_first_are_noted(db: Database) -> None:
    both = threading.Barrier(2, timeout=60)

    def fail(child: Any) -> None:
        both.wait()
        raise LookupError("on purpose")

    with db.scope("job"), pytest.raises(LookupError) as told:
        db.gather(fail, fail)
    assert told.value.__notes__ == ["failed as well: LookupError('on purpose')"]


async def test_a_cancelled_gather_leaves_nothing_behind(async_shop_url: str) -> None:
    there = asyncio.Barrier(3)  # a query that is cancelled has its connection mended a moment later

    async def wait(session: Any) -> None:
        await session.get(Product, 1)
        await there.wait()
        await asyncio.Event().wait()

    async def work(db: Any) -> None:
        async with db.scope("job"):
            await db.gather(wait, wait)

    async with opened_async(async_shop_url, begin="on_use") as db:
        task = asyncio.create_task(work(db))
        await there.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (acquired(db), db.scopes()) == (0, ())
