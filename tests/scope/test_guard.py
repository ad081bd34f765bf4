"""One user at a time: who comes second is refused, and told who the first is."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text

from respool import Database, SessionPhase
from respool.errors import ConcurrentUse
from tests.session.shop import Order, Product, acquired, count, opened_async


class Gate:
    """Holds whoever executes a statement on an engine, until it is opened."""

    def __init__(self, engine: Any) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        event.listen(engine, "before_cursor_execute", self._hold)

    def _hold(self, *args: Any) -> None:
        self.reached.set()
        self.open.wait()


def test_promise_06_a_second_thread_is_refused_and_the_first_goes_on(db: Database) -> None:
    scope = db.new_scope("shared")
    scope.enter()
    session = db.session
    gate = Gate(db.engine)
    found: list[Any] = []

    def first() -> None:
        scope.enter()
        found.append(session.get(Product, 1))

    thread = threading.Thread(target=first, name="first-thread")
    thread.start()
    gate.reached.wait()
    for use in (
        lambda: session.get(Product, 1),
        lambda: session.add(Order(product_id=1)),
        session.rollback,
        session.close,
        session.commit,
    ):
        with pytest.raises(ConcurrentUse) as refused:
            use()
    gate.open.set()
    thread.join()
    assert found[0].name == "tea"
    error = refused.value
    assert (error.owner, error.intruder) == ("thread 'first-thread'", "thread 'MainThread'")
    assert "test_guard.py" in error.owner_place
    assert "shared" in str(error)
    assert session.get_one(Product, 1) is found[0]  # and now it is free
    session.close()
    scope.leave()


async def test_promise_06_gather_on_one_session_is_refused(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db, db.scope("job") as session:
        tasks = [asyncio.create_task(session.scalars(select(Product)), name=name) for name in ("one", "two")]
        first, second = await asyncio.gather(*tasks, return_exceptions=True)
        assert not isinstance(first, BaseException)
        assert isinstance(second, ConcurrentUse)
        assert (second.owner, second.intruder) == ("task 'one'", "task 'two'")
        assert first.one().name == "tea"
        assert (await session.get_one(Product, 1)).name == "tea"


async def test_promise_06_one_after_the_other_is_fine(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db, db.scope("job") as session:
        turn = asyncio.Lock()

        async def one() -> Any:
            async with turn:
                return await session.scalar(select(Product.name))

        assert await asyncio.gather(one(), one(), one()) == ["tea"] * 3


def test_promise_06_the_one_inside_may_enter_again(db: Database) -> None:
    """Hooks of SQLAlchemy's run inside an operation, and use the session."""
    with db.scope("job") as session:
        seen: list[Any] = []
        event.listen(session, "before_flush", lambda s, *args: seen.append(s.scalar(select(Product.name))))
        session.add(Order(product_id=1))
        session.commit()
    assert seen == ["tea"]


def test_promise_06_a_scope_that_ends_while_somebody_is_inside(db: Database, shop_url: str) -> None:
    """The end does not wait and does not commit; who leaves last gives the connection back."""
    gate = Gate(db.engine)
    sessions: list[Any] = []
    with pytest.raises(ConcurrentUse, match="ended while thread 'straggler' was inside its session") as refused:  # noqa: PT012
        with db.scope("job") as session:
            sessions.append(session)
            scope = session.scope
            assert scope is not None

            def straggle() -> None:
                scope.enter()
                session.execute(insert(Order).values(product_id=1))

            thread = threading.Thread(target=straggle, name="straggler")
            thread.start()
            gate.reached.wait()
    assert refused.value.owner == "thread 'straggler'"
    assert db.scopes() == ()
    assert acquired(db) == 1
    gate.open.set()
    thread.join()
    assert acquired(db) == 0
    assert sessions[0].phase is SessionPhase.REMOVED
    assert count(shop_url) == 0


async def test_promise_06_a_block_that_fails_while_a_task_is_inside_raises_its_own_error(
    async_shop_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened_async(async_shop_url) as db:
        tasks: list[Any] = []
        with pytest.raises(LookupError):  # noqa: PT012
            async with db.scope("job") as session:
                tasks.append(asyncio.create_task(session.execute(text("SELECT 1"))))
                await asyncio.sleep(0)
                assert acquired(db) + db.pool.stats().connecting == 1
                raise LookupError
        assert "was inside its session" in caplog.text
        await asyncio.wait(tasks)
        assert acquired(db) == 0
        await asyncio.gather(*tasks, return_exceptions=True)
