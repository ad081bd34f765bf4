"""Doing a unit once more: only what lost against another one, from nothing, and never after what cannot be taken back."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

import pytest
from sqlalchemy import make_url, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from respool import AsyncDatabase, Database, Retry, transactional
from respool.database.retry import Attempts, transient
from respool.errors import ConfigError, NoScope, SelfDeadlock, UnitError
from tests.session.faces import Shop, entered, got
from tests.session.shop import Order, Product, acquired, count, fill, opened, opened_async
from tests.support.postgres import PostgresServer

AT_ONCE = Retry(times=3, first=0, longest=0)


def sale(note: str = "") -> Order:
    return Order(product_id=1, note=note)


class Lost(Exception):
    """What a driver raises for a serialization failure."""

    sqlstate = "40001"


def lost() -> DBAPIError:
    return OperationalError("UPDATE …", {}, Lost("could not serialize access"))


class Unlucky:
    """A function that loses so many times, after it has written something; of either kind."""

    def __init__(self, shop: Shop, times: int, **also: Any) -> None:
        self.shop = shop
        self.left = times
        self.sessions: list[Any] = []
        self.before = also.get("before")

    @property
    def function(self) -> Any:
        async def buy_async(session: Any) -> str:
            session.add(sale())
            await session.flush()
            self.sessions.append(session)
            if self.before:
                await got(self.before(session))
            return self._end()

        def buy(session: Any) -> str:
            session.add(sale())
            session.flush()
            self.sessions.append(session)
            if self.before:
                self.before(session)
            return self._end()

        return buy_async if self.shop.asynchronous else buy

    def _end(self) -> str:
        self.left -= 1
        if self.left >= 0:
            raise lost()
        return "bought"


# -- which failures ---------------------------------------------------------------------------------------------------


def driver_error(*args: Any, **attributes: Any) -> DBAPIError:
    original = Exception(*args)
    for name, value in attributes.items():
        setattr(original, name, value)
    return OperationalError("…", {}, original)


@pytest.mark.parametrize(
    "error, code",
    [
        (driver_error("x", sqlstate="40001"), "40001"),
        (driver_error("x", sqlstate="40P01"), "40P01"),
        (driver_error("x", pgcode="40P01"), "40P01"),
        (driver_error("x", sqlstate="23505"), None),
        (driver_error("x", sqlstate="55P03"), None),
        (driver_error("x", sqlstate="57014"), None),
        (driver_error(1213, "Deadlock found"), "1213"),
        (driver_error(1205, "Lock wait timeout exceeded"), "1205"),
        (driver_error("x", errno=1205, sqlstate="HY000"), "1205"),
        (driver_error(1062, "Duplicate entry"), None),
        (driver_error("database is locked"), None),
        (driver_error(), None),
        (LookupError(1213), None),
    ],
)
def test_which_failures_another_attempt_may_not_have(error: Exception, code: str | None) -> None:
    assert transient(error) == code


async def test_a_real_serialization_failure_is_one(the_shop: Shop) -> None:
    """And the attempt after it sees what the other one has written."""
    if the_shop.sqlite:
        return
    seen: list[int] = []

    async def take_async(session: Any) -> None:
        stock = (await session.get_one(Product, 1)).stock
        seen.append(stock)
        if len(seen) == 1:
            await db.run(other_async)
        await session.execute(update(Product).values(stock=stock - 1))

    async def other_async(session: Any) -> None:
        await session.execute(update(Product).values(stock=Product.stock - 1))

    def take(session: Any) -> None:
        stock = session.get_one(Product, 1).stock
        seen.append(stock)
        if len(seen) == 1:
            with opened(the_shop.url, name="another one", commit="on_success") as another, another.scope("o") as other:
                other.execute(update(Product).values(stock=Product.stock - 1))
        session.execute(update(Product).values(stock=stock - 1))

    async def take_beside_async(session: Any) -> None:
        stock = (await session.get_one(Product, 1)).stock
        seen.append(stock)
        if len(seen) == 1:
            async with opened_async(the_shop.url, name="another one", commit="on_success") as another:
                async with another.scope("o") as other:
                    await other_async(other)
        await session.execute(update(Product).values(stock=stock - 1))

    async with the_shop.open() as db:
        function = take_beside_async if the_shop.asynchronous else take
        await got(db.run(function, retry=AT_ONCE, isolation="REPEATABLE READ"))
        assert seen == [5, 4]
        async with entered(db.scope("look")) as session:
            assert (await got(session.scalars(select(Product.stock)))).all() == [3]
        if the_shop.asynchronous:  # a unit inside of it that was committed is done: it is not repeated over that
            seen.clear()
            with pytest.raises(DBAPIError) as told:
                await db.run(take_async, retry=AT_ONCE, isolation="REPEATABLE READ")
            assert told.value.__notes__ == ["not repeated after 40001: something was committed"]
            assert seen == [3]


# -- how often --------------------------------------------------------------------------------------------------------


async def test_each_attempt_begins_from_nothing(the_shop: Shop) -> None:
    unlucky = Unlucky(the_shop, 2)
    async with the_shop.open() as db:
        assert await got(db.run(unlucky.function, retry=AT_ONCE)) == "bought"
        assert len(set(map(id, unlucky.sessions))) == len(unlucky.sessions) == 3
        assert (the_shop.count(), acquired(db), db.scopes()) == (1, 0, ())


@pytest.mark.postgres
def test_promise_04_a_commit_that_was_not_sent_is_repeated(pg_url: str, postgres: PostgresServer) -> None:
    fill(pg_url)
    attempts: list[Any] = []

    def order(session: Any) -> str:
        session.add(Order(product_id=1))
        session.flush()
        attempts.append(session)
        if len(attempts) == 1:
            postgres.terminate_backends(str(make_url(pg_url).database))
        return "bought"

    with opened(pg_url) as db:
        assert db.run(order, retry=AT_ONCE) == "bought"
        assert (len(attempts), count(pg_url), acquired(db)) == (2, 1, 0)


async def test_it_is_given_up_in_the_end(the_shop: Shop) -> None:
    unlucky = Unlucky(the_shop, 9)
    async with the_shop.open() as db:
        with pytest.raises(DBAPIError) as told:
            await got(db.run(unlucky.function, retry=AT_ONCE))
        assert told.value.__notes__ == ["given up after 40001 in each of 4 attempts"]
        assert (len(unlucky.sessions), the_shop.count(), acquired(db)) == (4, 0, 0)


async def test_nothing_is_repeated_unasked(the_shop: Shop) -> None:
    unlucky = Unlucky(the_shop, 1)
    async with the_shop.open() as db:
        with pytest.raises(DBAPIError):
            await got(db.run(unlucky.function))
        assert (len(unlucky.sessions), the_shop.count()) == (1, 0)


async def test_other_failures_are_not_repeated(the_shop: Shop) -> None:
    sessions: list[Any] = []

    def duplicate(session: Any) -> Any:
        sessions.append(session)
        session.add(Product(id=1, name="there already"))
        return session.flush()

    async with the_shop.open() as db:
        with pytest.raises(IntegrityError):
            await got(db.run(duplicate, retry=AT_ONCE))
        assert len(sessions) == 1


def test_the_pauses_grow_by_chance_up_to_the_longest() -> None:
    retry = Retry(times=9, first=0.1, longest=1.0)
    assert [retry.pause(n, 1.0) for n in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert [retry.pause(3, chance) for chance in (0.0, 0.5)] == [0.0, 0.4]
    attempts = Attempts(retry, chance=lambda: 0.5)
    assert [attempts.pause(lost()) for _ in range(3)] == [0.05, 0.1, 0.2]


async def test_the_pause_is_had_without_a_connection(the_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[tuple[float, int]] = []

    async def sleep_async(seconds: float) -> None:
        sleep(seconds)

    def sleep(seconds: float) -> None:
        pauses.append((seconds, acquired(db)))

    monkeypatch.setattr("respool.database.run.asyncio.sleep", sleep_async)
    monkeypatch.setattr("respool.database.run.time.sleep", sleep)
    async with the_shop.open() as db:
        await got(db.run(Unlucky(the_shop, 2).function, retry=Retry(2, first=60, longest=60)))
    monkeypatch.undo()
    assert [held for _, held in pauses] == [0, 0]
    assert all(0 <= seconds <= 60 for seconds, _ in pauses)


@pytest.mark.parametrize("wrong", [{"times": -1}, {"first": -1}, {"first": 2, "longest": 1}])
def test_a_retry_that_cannot_be_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="not accepted"):
        Retry(**wrong)


# -- what forbids it --------------------------------------------------------------------------------------------------


async def test_promise_04_nothing_is_repeated_after_a_commit_inside_of_it(the_shop: Shop) -> None:
    ran: list[str] = []

    async def audit_async(session: Any) -> None:
        async with session.unit(new=True) as other:
            other.on_commit(lambda: ran.append("told"))

    def audit(session: Any) -> None:
        with session.unit(new=True) as other:
            other.on_commit(lambda: ran.append("told"))

    unlucky = Unlucky(the_shop, 1, before=audit_async if the_shop.asynchronous else audit)
    async with the_shop.open() as db:
        with pytest.raises(DBAPIError) as told:
            await got(db.run(unlucky.function, retry=AT_ONCE))
        assert told.value.__notes__ == ["not repeated after 40001: something was committed"]
        assert (ran, len(unlucky.sessions), the_shop.count()) == (["told"], 1, 0)


async def test_nothing_is_repeated_after_released(the_shop: Shop) -> None:
    calls: list[str] = []

    async def slow_async(session: Any) -> None:
        async with db.scope("inside"), db.released():
            calls.append("a payment")
        raise lost()

    def slow(session: Any) -> None:
        with db.scope("inside"), db.released():
            calls.append("a payment")
        raise lost()

    async with the_shop.open() as db:
        with pytest.raises(DBAPIError) as told:
            await got(db.run(slow_async if the_shop.asynchronous else slow, retry=AT_ONCE))
        assert "released for something else" in told.value.__notes__[0]
        assert calls == ["a payment"]


async def test_nothing_is_repeated_after_the_answer_has_left(db: Database) -> None:
    from respool.ending.end import End, drive

    calls: list[int] = []

    def answer(session: Any) -> None:
        calls.append(1)
        drive(End([request], 200))
        raise lost()

    request = db.new_scope("POST /orders")
    request.enter()
    with pytest.raises(DBAPIError) as told:
        db.run(answer, retry=AT_ONCE)
    request.leave()
    assert told.value.__notes__ == ["not repeated after 40001: request POST /orders ended meanwhile"]
    assert calls == [1]


# -- transactional ----------------------------------------------------------------------------------------------------


def decorated(shop: Shop, db: Any, **options: Any) -> Any:
    """A service function of either kind that sells, and fails if it is told so."""
    decorate = transactional(db, **options) if db is not None else transactional(**options)
    if shop.asynchronous:

        @decorate
        async def sell_async(database: Any, fails: BaseException | None = None) -> Any:
            database.session.add(sale())
            await database.session.flush()
            if fails is not None:
                raise fails
            return database.session

        return sell_async

    @decorate
    def sell(database: Any, fails: BaseException | None = None) -> Any:
        database.session.add(sale())
        database.session.flush()
        if fails is not None:
            raise fails
        return database.session

    return sell


async def test_a_transactional_function_is_a_unit_of_the_session(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        sell = decorated(the_shop, None)
        assert await got(sell(db)) is session
        assert the_shop.count() == 1
        with pytest.raises(LookupError):
            await got(sell(db, fails=LookupError()))
        async with entered(session.unit()):
            await got(sell(db))
            assert the_shop.count() == 1
        assert (the_shop.count(), acquired(db)) == (2, 0)


async def test_the_options_are_those_of_a_unit(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        async with entered(session.unit()):
            with pytest.raises(LookupError):
                await got(decorated(the_shop, db, savepoint=True)(db, fails=LookupError()))
        if not the_shop.sqlite:
            async with entered(session.unit()):
                assert await got(decorated(the_shop, db, new=True)(db)) is not session
                assert the_shop.count() == 1


async def test_without_a_scope_it_opens_one(the_shop: Shop) -> None:
    async with the_shop.open() as db:
        session = await got(decorated(the_shop, db)(db))
        assert session.scope.label.startswith("decorated.<locals>.sell")
        awaiting = "tests/session/faces.py:" if the_shop.asynchronous else "tests/database/test_retry.py:"
        assert awaiting in session.scope.place
        assert (the_shop.count(), acquired(db), db.scopes()) == (1, 0, ())


async def test_a_transactional_function_is_repeated_in_a_scope_of_its_own(the_shop: Shop) -> None:
    async with the_shop.open(begin="on_use") as db, entered(db.scope("job")) as session:
        await got(session.get_one(Product, 1))
        unlucky = Unlucky(the_shop, 1)

        if the_shop.asynchronous:

            @transactional(retry=AT_ONCE)
            async def buy() -> Any:
                assert db.session is not session
                assert acquired(db) == 0, "the connection that had only read was given back"
                return await unlucky.function(db.session)
        else:

            @transactional(retry=AT_ONCE)
            def buy() -> Any:
                assert db.session is not session
                assert acquired(db) == 0, "the connection that had only read was given back"
                return unlucky.function(db.session)

        assert await got(buy()) == "bought"
        assert db.session is session
        assert (the_shop.count(), len(unlucky.sessions)) == (1, 2)


async def test_within_another_unit_it_joins_and_is_not_repeated(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        sell = decorated(the_shop, db, retry=AT_ONCE)
        async with entered(session.unit()):
            assert await got(sell(db)) is session
        with pytest.raises(DBAPIError) as told:
            async with entered(session.unit()):
                await got(sell(db, fails=lost()))
        assert not hasattr(told.value, "__notes__")
        assert the_shop.count() == 1


async def test_what_could_not_be_repeated_is_refused_at_entry(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        session.add(sale())
        with pytest.raises(UnitError, match="has uncommitted changes before it"):
            await got(decorated(the_shop, db, retry=1)(db))
        await got(session.rollback())
        await got(decorated(the_shop, db, retry=1)(db))
        assert the_shop.count() == 1


async def test_a_new_one_is_repeated_beside_the_outer_one(the_shop: Shop) -> None:
    if the_shop.sqlite:
        return
    async with the_shop.open() as db, entered(db.scope("job")) as session:
        session.add(sale())
        await got(session.flush())
        errors: list[Any] = [lost(), None]

        if the_shop.asynchronous:

            @transactional(new=True, retry=AT_ONCE)
            async def audit() -> None:
                db.session.add(sale("audit"))
                if (error := errors.pop(0)) is not None:
                    raise error
        else:

            @transactional(new=True, retry=AT_ONCE)
            def audit() -> None:
                db.session.add(sale("audit"))
                if (error := errors.pop(0)) is not None:
                    raise error

        await got(audit())
        assert the_shop.count() == 1
        await got(session.rollback())
        assert (the_shop.count(), errors) == (1, [])


async def test_a_run_inside_of_what_holds_the_last_connection_is_refused(the_shop: Shop) -> None:
    from respool import PoolConfig

    async with the_shop.open(pool=PoolConfig(max_size=1)) as db, entered(db.scope("job")) as session:
        session.add(sale())
        await got(session.flush())
        with pytest.raises(SelfDeadlock):
            await got(db.run(Unlucky(the_shop, 0).function))
        await got(session.rollback())


# -- which database ---------------------------------------------------------------------------------------------------


@transactional
def look() -> list[int]:
    (found,) = [each for each in databases if each.scope_here() is not None]
    return list(found.session.scalars(text("SELECT 1")))


databases: list[Any] = []


def test_the_database_that_is_meant_is_the_one_that_is_plain(tmp_path: Any) -> None:
    databases.clear()
    with pytest.raises(NoScope, match="no Database is open"):
        look()
    with opened(f"sqlite:///{tmp_path / 'one.db'}", name="one") as one:
        databases.append(one)
        assert look() == [1]
        with opened(f"sqlite:///{tmp_path / 'two.db'}", name="two") as two:
            databases.append(two)
            with pytest.raises(ConfigError, match="not plain in which database") as told:
                look()
            assert "'one', 'two'" in str(told.value)
            with two.scope("job"):
                assert look() == [1]
                with one.scope("job"), pytest.raises(ConfigError):
                    look()
    databases.clear()


async def test_a_function_and_its_database_are_of_one_kind(
    shop_url: str, async_shop_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # those of earlier tests may be there still, as garbage
    monkeypatch.setattr("respool.database.base._open", WeakValueDictionary())
    with opened(shop_url, name="sync") as db:
        async with opened_async(async_shop_url, name="async") as adb:

            async def coroutine() -> None: ...

            def function() -> None: ...

            for kind, given in ((adb, function), (db, coroutine)):
                with pytest.raises(ConfigError, match=r"AsyncDatabase 'async' on a sync|Database 'sync' on an async"):
                    transactional(kind)(given)
            await transactional(adb)(coroutine)()
            transactional(db)(function)()
            await transactional(coroutine)()  # each finds its own
            transactional(function)()
    assert isinstance(adb, AsyncDatabase)


def test_a_generator_function_cannot_be_one() -> None:
    def rows() -> Any:
        yield 1

    with pytest.raises(ConfigError, match="generator"):
        transactional(rows)


def test_it_keeps_the_functions_name() -> None:
    assert look.__name__ == "look"
