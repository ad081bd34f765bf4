"""Units of work: what joins, who commits, whom a failure dooms, and what is refused."""

# ruff: noqa: PT012 -- what raises is a block, with what is done in it
from __future__ import annotations

import asyncio
import warnings
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from respool import PoolConfig, Session
from respool.errors import ReadOnly, RollbackOnly, ScopeEnded, ScopeError, SelfDeadlock, UncommittedChanges, UnitError
from tests.session.faces import Shop, entered, got
from tests.session.shop import Order, Product, acquired

ONE = PoolConfig(max_size=1, timeout=5.0)


def sale(note: str = "") -> Order:
    return Order(product_id=1, note=note)


# -- the outermost unit -----------------------------------------------------------------------------------------------


async def test_the_outermost_unit_commits_at_its_end(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        async with entered(session.unit()) as same:
            assert same is session
            session.add(sale())
            assert the_shop.count() == 0
        assert (the_shop.count(), acquired(db)) == (1, 0)


async def test_an_exception_takes_all_of_it_back(the_shop: Shop) -> None:
    async with the_shop.open(commit="on_success") as db, entered(db.scope("job")) as session:
        with pytest.raises(LookupError):
            async with entered(session.unit()):
                session.add(sale())
                await got(session.flush())
                raise LookupError
        assert (list(session.new), acquired(db)) == ([], 0)
        session.add(sale())
    assert the_shop.count() == 1


async def test_a_commit_that_fails_takes_all_of_it_back(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        with pytest.raises(IntegrityError):
            async with entered(session.unit()):
                session.add(Order(product_id=999))
        assert (session.changes().lines(), acquired(db)) == ([], 0)
        async with entered(session.unit()):
            session.add(sale())
    assert the_shop.count() == 1


async def test_promise_02_a_unit_that_only_reads_holds_nothing(the_shop: Shop) -> None:
    async with the_shop.open(begin="on_write") as db, entered(db.scope("job")) as session:
        async with entered(session.unit()):
            await got(session.get(Product, 1))
            assert acquired(db) == 0
            session.add(sale())
            await got(session.flush())
            assert acquired(db) == 1
        assert acquired(db) == 0


async def test_cancellation_takes_it_back(the_shop: Shop) -> None:
    if not the_shop.asynchronous:
        return
    there = asyncio.Event()

    async def work() -> None:
        async with db.scope("job") as session, session.unit():
            session.add(sale())
            await session.flush()
            there.set()
            await asyncio.Event().wait()

    async with the_shop.open() as db:
        task = asyncio.create_task(work())
        await there.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (the_shop.count(), acquired(db)) == (0, 0)


# -- units that join --------------------------------------------------------------------------------------------------


async def test_an_inner_unit_joins(the_shop: Shop) -> None:
    ran: list[int] = []
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        async with entered(session.unit()):
            async with entered(session.unit()):
                session.add(sale())
                session.on_commit(lambda: ran.append(the_shop.count()))
            async with entered(session.unit(savepoint=False)):
                session.add(sale())
            assert (the_shop.count(), ran) == (0, [])
        assert ran == [2]


async def test_an_exception_through_a_joined_unit_dooms_the_outer_one(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        with pytest.raises(RollbackOnly) as told:
            async with entered(session.unit()):
                session.add(sale())
                try:
                    async with entered(session.unit()):
                        session.add(sale())
                        raise LookupError("half of it")
                except LookupError:
                    pass
        error = told.value
        assert "LookupError came through the unit at " in str(error)
        assert "test_units.py:" in error.facts["unit"]
        assert isinstance(error.__cause__, LookupError)
        assert (the_shop.count(), acquired(db)) == (0, 0)
        async with entered(session.unit()):  # that was that
            session.add(sale())
        assert the_shop.count() == 1


async def test_an_exception_that_goes_all_the_way_stays_itself(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        with pytest.raises(LookupError):
            async with entered(session.unit()), entered(session.unit()), entered(session.unit()):
                session.add(sale())
                raise LookupError
        assert the_shop.count() == 0


async def test_a_begin_block_is_a_unit_too(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        async with entered(session.begin()):
            async with entered(session.unit()):
                session.add(sale())
            assert the_shop.count() == 0
        assert the_shop.count() == 1
        with pytest.raises(RollbackOnly):
            async with entered(session.begin()):
                session.add(sale())
                with pytest.raises(LookupError):
                    async with entered(session.unit()):
                        raise LookupError
        assert (the_shop.count(), acquired(db)) == (1, 0)
        async with entered(session.begin()):  # that was that
            session.add(sale())
        assert the_shop.count() == 2


# -- savepoints -------------------------------------------------------------------------------------------------------


async def test_a_savepoint_is_rolled_back_alone(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        async with entered(session.unit()):
            session.add(sale("outer"))
            with pytest.raises(IntegrityError):
                async with entered(session.unit(savepoint=True)):
                    session.add(Product(id=1, name="there already"))
                    await got(session.flush())
            async with entered(session.unit(savepoint=True)):
                session.add(sale("inner"))
        assert (the_shop.count(), the_shop.count(Product)) == (2, 1)


async def test_what_is_around_a_savepoint_can_take_it_back(the_shop: Shop) -> None:
    """On SQLite too, where the first savepoint has to be kept from being the transaction itself."""
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        with pytest.raises(LookupError):
            async with entered(session.unit()):
                async with entered(session.unit(savepoint=True)):
                    session.add(sale())
                raise LookupError
        async with entered(session.unit(savepoint=True)):  # outermost: nothing to go back to
            session.add(sale())
        assert (the_shop.count(), acquired(db)) == (1, 0)


async def test_a_joined_unit_dooms_the_savepoint_that_it_is_in_and_no_more(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        async with entered(session.unit()):
            session.add(sale("outer"))
            with pytest.raises(RollbackOnly):
                async with entered(session.unit(savepoint=True)):
                    session.add(sale("lost"))
                    with pytest.raises(LookupError):
                        async with entered(session.unit()):
                            raise LookupError
        assert the_shop.count() == 1


# -- new units --------------------------------------------------------------------------------------------------------


async def test_a_new_unit_is_saved_whatever_becomes_of_the_outer_one(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        with pytest.raises(LookupError):
            async with entered(session.unit()):
                await got(session.get(Product, 1))
                async with entered(session.unit(new=True)) as audit:
                    assert audit is not session
                    assert db.session is audit
                    audit.add(sale("audit"))
                assert db.session is session
                assert the_shop.count() == 1
                session.add(sale("lost"))
                raise LookupError
        assert (the_shop.count(), acquired(db)) == (1, 0)


async def test_an_exception_takes_a_new_unit_back_alone(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        async with entered(session.unit()):
            with pytest.raises(LookupError):
                async with entered(session.unit(new=True)) as other:
                    other.add(sale("lost"))
                    raise LookupError
            session.add(sale())
        assert the_shop.count() == 1


async def test_a_pool_that_cannot_give_a_second_connection_says_so_at_once(the_shop: Shop) -> None:
    async with the_shop.open(pool=ONE) as db, entered(db.scope("job")) as session:
        async with entered(session.unit(new=True)) as other:  # nothing is held: no reason to refuse
            other.add(sale())
        with pytest.raises(SelfDeadlock, match="the pool may have 1") as told:
            async with entered(session.unit()):
                session.add(sale())
                await got(session.flush())
                async with entered(session.unit(new=True)):
                    raise AssertionError
        assert told.value.max_size == 1
        assert "test_units.py:" in str(told.value)
        assert (the_shop.count(), acquired(db)) == (1, 0)


async def test_a_scope_within_one_that_holds_says_so_at_once(the_shop: Shop) -> None:
    async with the_shop.open(pool=ONE) as db, entered(db.scope("job")) as session:
        async with entered(db.scope("audit")) as other:  # nothing is held yet
            await got(other.get(Product, 1))
        session.add(sale())
        await got(session.flush())
        with pytest.raises(SelfDeadlock, match=r"scope 'job' .* needs a second one") as told:
            async with entered(db.scope("audit")):
                raise AssertionError
        assert "test_units.py:" in str(told.value)
        assert [scope.label for scope in db.scopes()] == ["job"]
        await got(session.commit())
        async with entered(db.scope("audit")) as other:
            await got(other.get(Product, 1))
        assert (the_shop.count(), acquired(db)) == (1, 0)


async def test_promise_07_those_that_hold_and_wait_never_take_the_last_connection(the_shop: Shop) -> None:
    """Three hold one and want a second, of a pool of three: one of them is refused, and the others get on."""
    hold, decided = (asyncio.Barrier(3), asyncio.Barrier(3)) if the_shop.asynchronous else (Barrier(3), Barrier(3))

    async def request(db: Any, label: str) -> str:
        async with entered(db.scope(label)) as session:
            await got(session.get(Product, 1))
            await got(hold.wait())
            try:
                async with entered(session.unit(new=True)) as inner:
                    await got(decided.wait())
                    await got(inner.get(Product, 1))
                return "served"
            except SelfDeadlock as refused:
                await got(decided.wait())
                await got(session.rollback())  # gives its own back
                async with entered(session.unit(new=True)) as inner:
                    await got(inner.get(Product, 1))
                return str(refused)

    async with the_shop.open(pool=PoolConfig(max_size=3, timeout=60.0), begin="on_use") as db:
        if the_shop.asynchronous:
            answers = await asyncio.gather(*(request(db, label) for label in "abc"))
        else:
            threads = [asyncio.to_thread(asyncio.run, request(db, label)) for label in "abc"]
            answers = await asyncio.gather(*threads)
        assert sorted(map(len, answers))[1] == len("served") < max(map(len, answers))
        assert all(f"scope '{name}'" in max(answers, key=len) for name in "abc")
        assert acquired(db) == 0


async def test_a_lock_that_the_outer_unit_holds_is_named(the_shop: Shop) -> None:
    timeout = "PRAGMA busy_timeout = 1" if the_shop.sqlite else "SET LOCAL lock_timeout = '1ms'"
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        with pytest.raises(DBAPIError) as told:
            async with entered(session.unit()):
                product = await got(session.get_one(Product, 1))
                product.stock = 0
                await got(session.flush())
                async with entered(session.unit(new=True)) as other:
                    await got(other.execute(text(timeout)))
                    await got(other.execute(text("UPDATE products SET stock = 7")))
        (note,) = told.value.__notes__
        assert "Product(id=1) updated: stock" in note
        assert "waited for itself" in note


def test_a_session_without_a_scope_has_no_new_units(shop_url: str) -> None:
    from sqlalchemy import create_engine

    engine = create_engine(shop_url)
    with Session(engine) as session, pytest.raises(UnitError, match="without a scope"), session.unit(new=True):
        raise AssertionError
    engine.dispose()


# -- how the transaction is -------------------------------------------------------------------------------------------


async def level(session: Any) -> str:
    found: str = (await got(session.execute(text("SHOW transaction_isolation")))).scalar_one()
    return found


async def test_the_isolation_level_is_of_this_transaction_alone(the_shop: Shop) -> None:
    if the_shop.sqlite:
        return
    async with the_shop.open(pool=ONE) as db, entered(db.scope("job")) as session:
        async with entered(session.unit(isolation="repeatable_read")):
            assert await level(session) == "repeatable read"
            async with entered(session.unit(isolation="REPEATABLE READ")), entered(session.unit()):
                assert await level(session) == "repeatable read"
        assert await level(session) == "read committed"
        await got(session.rollback())
        async with entered(session.unit()), entered(session.unit(isolation="READ COMMITTED")):
            assert await level(session) == "read committed"


async def test_another_isolation_level_is_refused_at_entry(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        async with entered(session.unit()):
            with pytest.raises(UnitError, match="asked for READ UNCOMMITTED, and the unit around it has"):
                async with entered(session.unit(isolation="READ UNCOMMITTED")):
                    raise AssertionError
        session.add(sale())
        await got(session.flush())
        with pytest.raises(UnitError, match="has begun already"):
            async with entered(session.unit(isolation="SERIALIZABLE")):
                raise AssertionError
        await got(session.rollback())
        async with entered(session.unit(isolation="SERIALIZABLE")):
            session.add(sale())
        assert the_shop.count() == 1


async def test_a_new_unit_may_have_another_level(the_shop: Shop) -> None:
    if the_shop.sqlite:
        return
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        async with entered(session.unit()):
            async with entered(session.unit(new=True, isolation="SERIALIZABLE")) as other:
                assert await level(other) == "serializable"
            assert await level(session) == "read committed"


async def test_a_read_only_unit_refuses_to_write(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        with pytest.raises(ReadOnly):
            async with entered(session.unit(read_only=True)):
                session.add(sale())
        with pytest.raises(ReadOnly):
            async with entered(session.unit(read_only=True)):
                await got(session.execute(insert(Order).values(product_id=1)))
        with pytest.raises(ReadOnly if the_shop.sqlite else DBAPIError, match=r"change inside|read-only transaction"):
            async with entered(session.unit(read_only=True)):
                await got(session.execute(text("UPDATE products SET stock = 7")))
        async with entered(session.unit(read_only=True)):
            assert (await got(session.get_one(Product, 1))).stock == 5
        async with entered(session.unit()):
            session.add(sale())
        assert (the_shop.count(), acquired(db)) == (1, 0)


async def test_read_only_and_writing_units_do_not_mix(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        async with entered(session.unit(read_only=True)), entered(session.unit(read_only=True)):
            with pytest.raises(UnitError, match="only reads"):
                async with entered(session.unit(read_only=False)):
                    raise AssertionError
        async with entered(session.unit()), entered(session.unit(read_only=False)):
            with pytest.raises(UnitError, match="may write"):
                async with entered(session.unit(read_only=True)):
                    raise AssertionError


# -- what is refused inside -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["commit", "rollback", "close", "reset"])
async def test_nobody_ends_the_transaction_under_a_unit(the_shop: Shop, call: str) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        async with entered(session.unit()):
            session.add(sale())
            with pytest.raises(UnitError, match=rf"{call}\(\) inside a unit") as told:
                await got(getattr(session, call)())
            assert "test_units.py:" in told.value.now[0]
        assert the_shop.count() == 1
        with pytest.raises(ScopeError, match=r"begin\(\) block or unit"):
            async with entered(session.unit()), entered(db.released()):
                raise AssertionError


async def test_a_unit_that_outlives_the_one_around_it_is_found(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        outer, inner = entered(session.unit()), entered(session.unit())
        await outer.__aenter__()
        await inner.__aenter__()
        session.add(sale())
        with pytest.raises(UnitError, match="one inside of it was open") as told:
            await outer.__aexit__(None, None, None)
        assert [line.count("test_units.py:") for line in told.value.now] == [1, 1]
        assert the_shop.count() == 0
        with pytest.raises(UnitError, match="ended already"):
            await inner.__aexit__(None, None, None)


async def test_a_scope_that_ends_inside_of_a_unit_saves_nothing(the_shop: Shop) -> None:
    async with the_shop.open(commit="on_success") as db:
        block = None
        with pytest.raises(UnitError, match=r"commit\(\) inside a unit"):
            async with entered(db.scope("job")) as session:
                block = entered(session.unit())
                await block.__aenter__()
                session.add(sale())
        assert (the_shop.count(), acquired(db), db.scopes()) == (0, 0, ())
        assert block is not None
        with pytest.raises(ScopeEnded):
            await block.__aexit__(None, None, None)


def test_a_unit_is_savepoint_or_new(shop_url: str) -> None:
    from tests.session.shop import opened

    with opened(shop_url) as db, db.scope("job") as session, pytest.raises(UnitError, match="not both"):
        session.unit(savepoint=True, new=True)


async def test_promise_04_what_was_left_before_a_unit_is_part_of_it(the_shop: Shop) -> None:
    """There is one transaction: what the session had not committed is saved with the unit, not lost."""
    async with the_shop.open() as db:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UncommittedChanges)
            async with entered(db.scope("job")) as session:
                session.add(sale())
                async with entered(session.unit()):
                    session.add(sale())
        assert the_shop.count() == 2
