"""The same with asyncio: one connection, in a loop of its own, for all loops that tests and their clients have."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from respool import AsyncDatabase
from respool.errors import CommitOutcomeUnknown, ConfigError, PoolTimeout, SelfDeadlock
from respool.testing import assert_no_leaks, failing_commit, rolled_back
from tests.testing.models import Product, numbers_async, put_async


@pytest.fixture
def seeded(adb: AsyncDatabase) -> Iterator[AsyncDatabase]:
    """With one product that every test finds, and leaves."""
    asyncio.run(put_async(adb, 1))
    yield adb
    assert asyncio.run(numbers_async(adb)) == [1]
    assert_no_leaks(adb)


async def test_a_commit_is_seen_by_others_and_gone_afterwards(seeded: AsyncDatabase) -> None:
    for _ in range(2):
        with rolled_back(seeded) as db:
            await put_async(db, 2)
            async with db.scope("changes its mind") as session:
                (await session.get_one(Product, 1)).stock = 99
                session.add(Product(id=3))
                await session.flush()
                await session.rollback()
                assert (await session.get_one(Product, 1, populate_existing=True)).stock == 1
            assert await numbers_async(db) == [1, 2]


async def test_a_statement_that_fails_costs_its_own_transaction_only(seeded: AsyncDatabase) -> None:
    with rolled_back(seeded) as db:
        await put_async(db, 2)
        with pytest.raises(IntegrityError):
            await put_async(db, 3, 1)
        async with db.scope("again") as session:
            with pytest.raises(IntegrityError):
                async with session.begin_nested():
                    session.add(Product(id=2))
            session.add(Product(id=4))
            await session.commit()
        assert await numbers_async(db) == [1, 2, 4]


def test_each_loop_and_thread_uses_the_same_connection(seeded: AsyncDatabase) -> None:
    with rolled_back(seeded) as db:
        asyncio.run(put_async(db, 2))
        asyncio.run(put_async(db, 3))
        barrier = threading.Barrier(3)

        def work(number: int) -> None:
            barrier.wait()
            asyncio.run(put_async(db, number))

        threads = [threading.Thread(target=work, args=(number,)) for number in (4, 5, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert asyncio.run(numbers_async(db)) == [1, 2, 3, 4, 5, 6]
        assert db.pool.stats().peak == 1


async def test_tasks_take_turns(seeded: AsyncDatabase) -> None:
    with rolled_back(seeded) as db:
        await asyncio.gather(*(put_async(db, number) for number in range(2, 12)))
        assert await numbers_async(db) == list(range(1, 12))


async def test_what_others_commit_past_the_session_is_gone_too(seeded: AsyncDatabase) -> None:
    with rolled_back(seeded) as db:
        async with db.engine.begin() as connection:
            await connection.execute(text("INSERT INTO product (id, stock) VALUES (2, 0)"))
        async with db.engine.connect() as connection:
            await connection.execute(text("INSERT INTO product (id, stock) VALUES (3, 0)"))
        alone = db.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with alone.connect() as connection:
            await connection.execute(text("INSERT INTO product (id, stock) VALUES (4, 0)"))
        assert await numbers_async(db) == [1, 2, 4]


async def test_plain_reads_are_leased_and_streams_are_read_on(seeded: AsyncDatabase) -> None:
    with rolled_back(seeded) as db:
        await put_async(db, *range(2, 300))
        async with db.scope("reads") as session:
            assert len(list(await session.scalars(select(Product)))) == 299
            assert session.holds_connection is (db.engine.dialect.name in ("mysql", "mariadb"))
            await session.commit()
            stream = await session.stream_scalars(select(Product.id).order_by(Product.id))
            assert [number async for number in stream] == list(range(1, 300))
            await session.rollback()
            assert await numbers_async(db) == list(range(1, 300))


async def test_hooks_are_awaited_after_the_commit(seeded: AsyncDatabase) -> None:
    with rolled_back(seeded) as db:
        heard: list[Any] = []

        async def hook() -> None:
            heard.append(await numbers_async(db))

        async with db.scope("hooked") as session:
            session.on_commit(hook)
            session.add(Product(id=2))
            await session.commit()
        assert heard == [[1, 2]]


async def test_who_would_wait_for_himself_is_refused_at_once(seeded: AsyncDatabase) -> None:
    with rolled_back(seeded, patience=3600) as db:
        async with db.scope("outer") as session:
            session.add(Product(id=2))
            await session.flush()
            with pytest.raises(SelfDeadlock, match="a database of its own"):
                async with session.unit(new=True):
                    pass
            with pytest.raises(SelfDeadlock, match="fresh_database"):
                async with db.engine.connect():
                    pass
            await session.rollback()


async def test_who_never_gives_it_back_is_named(seeded: AsyncDatabase) -> None:
    with rolled_back(seeded, patience=0.01) as db:
        async with db.scope("seed") as session:
            session.add(Product(id=2))
            await session.flush()
            with pytest.raises(PoolTimeout, match="not committed: Product"):
                await asyncio.create_task(_elsewhere(db))
            await session.rollback()


async def _elsewhere(db: AsyncDatabase) -> None:
    async with db.engine.connect():
        pass


async def test_a_task_that_is_cancelled_in_line_leaves_it(seeded: AsyncDatabase) -> None:
    with rolled_back(seeded, patience=3600) as db:
        async with db.engine.connect():
            waiting = asyncio.create_task(_elsewhere(db))
            while not db.pool.stats().waiting:
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert await numbers_async(db) == [1]


async def test_a_statement_that_is_cancelled_is_rolled_back(
    seeded: AsyncDatabase, request: pytest.FixtureRequest
) -> None:
    if seeded.engine.dialect.name != "postgresql":
        pytest.skip("only a server waits")
    server, name = request.getfixturevalue("postgres"), seeded.engine.url.database
    with rolled_back(seeded) as db:

        async def work() -> None:
            async with db.scope("cancelled") as session:
                session.add(Product(id=2))
                await session.flush()
                await session.execute(text("SELECT pg_sleep(100)"))

        for _ in range(3):
            task = asyncio.create_task(work())
            while not await asyncio.to_thread(server.sleeps, name):
                assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await numbers_async(db) == [1]
        await put_async(db, 2)


@pytest.mark.parametrize("how, saved", [("lost", [1]), ("saved", [1, 2])])
async def test_a_commit_that_is_cut_off(seeded: AsyncDatabase, how: Any, saved: list[int]) -> None:
    with rolled_back(seeded) as db:
        with failing_commit(db, how), pytest.raises(CommitOutcomeUnknown):
            await put_async(db, 2)
        assert await numbers_async(db) == saved
        await put_async(db, 3)


async def test_one_rolled_back_within_another(seeded: AsyncDatabase) -> None:
    with rolled_back(seeded) as db:
        await put_async(db, 2)
        with rolled_back(db):
            await put_async(db, 3)
            assert await numbers_async(db) == [1, 2, 3]
        assert await numbers_async(db) == [1, 2]


async def test_a_connection_that_nobody_gave_back_comes_back(seeded: AsyncDatabase) -> None:
    with rolled_back(seeded) as db:
        connection = db.engine.connect()
        await connection.start()
        await connection.execute(text("INSERT INTO product (id, stock) VALUES (2, 0)"))
        del connection
        gc.collect()
        assert await numbers_async(db) == [1]


async def test_a_connection_of_the_users(seeded: AsyncDatabase) -> None:
    async with seeded.engine.connect() as connection:
        async with seeded.override(connection) as db:
            await put_async(db, 2)
            assert await numbers_async(db) == [1, 2]
            await asyncio.to_thread(asyncio.run, put_async(db, 3))
            assert await numbers_async(db) == [1, 2, 3]
        assert await numbers_async(seeded) == [1]
        async with connection.begin():
            async with seeded.override(connection) as db:
                await put_async(db, 2)
            assert list(await connection.scalars(select(Product.id))) == [1]
        with pytest.raises(ConfigError, match="async with"), seeded.override(connection):
            pass
