"""Faults on demand, as an application meets them; and the time of a pool."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from flask import Flask
from sqlalchemy import exc
from sqlalchemy.exc import IntegrityError, OperationalError

from respool import AsyncDatabase, AsyncSession, Database, PoolConfig
from respool.errors import CommitOutcomeUnknown, ConfigError, PoolTimeout
from respool.testing import (
    PoolClock,
    assert_no_leaks,
    database_away,
    failing_commit,
    full_pool,
    hang_up,
    hang_up_wsgi,
    rolled_back,
)
from respool.web.fastapi import install, session_of
from respool.web.flask import install as install_flask
from tests.testing.models import Product, create, numbers, numbers_async, put, put_async


@pytest.fixture
def ashop(sqlite_file: str) -> Any:
    db = AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}", commit="on_success")

    async def make() -> None:
        async with db.engine.begin() as connection:
            await connection.run_sync(create)

    asyncio.run(make())
    return db


@pytest.fixture
def app(ashop: AsyncDatabase[Any]) -> FastAPI:
    app = FastAPI()
    install(app, ashop)
    given: Any = Depends(session_of(ashop))

    @app.post("/products/{number}")
    async def add(number: int, session: AsyncSession = given) -> int:
        session.add(Product(id=number))
        return number

    @app.get("/products")
    async def all_of_them() -> list[int]:
        return await numbers_async(ashop)

    return app


@pytest.mark.parametrize("rolls_back", [True, False], ids=["rolled back", "as it is"])
@pytest.mark.parametrize("how, saved", [("refused", []), ("lost", []), ("saved", [1])])
def test_a_commit_fails_at_a_route(app: FastAPI, ashop: Any, how: Any, saved: list[int], rolls_back: bool) -> None:
    with TestClient(app, raise_server_exceptions=False) as client:
        with rolled_back(ashop) if rolls_back else database(ashop):
            with failing_commit(ashop, how, route="POST /products/*") as fault:
                asyncio.run(put_async(ashop, 8))
                assert client.post("/products/1").status_code == 500
                assert client.post("/products/2").status_code == 200
            assert fault.count == 1
            assert client.get("/products").json() == [*saved, 2, 8]


class database:
    """Nothing around it."""

    def __init__(self, db: Any) -> None:
        self._db = db

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def test_the_error_is_the_drivers_and_tells_what_is_known(shop: Database) -> None:
    with failing_commit(shop), pytest.raises(OperationalError, match="a fault that a test has asked for"):
        put(shop, 1)
    refusal = shop.engine.dialect.loaded_dbapi.IntegrityError("no")  # type: ignore[attr-defined]
    with failing_commit(shop, error=refusal, times=2), pytest.raises(IntegrityError):
        put(shop, 1)
    with failing_commit(shop, "lost"), pytest.raises(CommitOutcomeUnknown):
        put(shop, 1)
    put(shop, 2)
    assert numbers(shop) == [2]
    assert_no_leaks(shop)


def test_a_fault_that_never_came_shows_nothing(shop: Database) -> None:
    for fault in (failing_commit, full_pool, database_away):
        with pytest.raises(AssertionError, match="did not come"), fault(shop, route="POST /nowhere"):
            numbers(shop)
    with pytest.raises(ZeroDivisionError), failing_commit(shop):
        1 / 0
    with pytest.raises(ConfigError), failing_commit(shop, "sometimes"):  # type: ignore[arg-type]
        pass


def test_one_fault_within_another(shop: Database) -> None:
    with failing_commit(shop, "lost"), failing_commit(shop, "refused"):
        with pytest.raises(OperationalError, match="refused"):
            put(shop, 1)
        with pytest.raises(CommitOutcomeUnknown):
            put(shop, 1)
        put(shop, 1)
    assert "do_commit" not in vars(shop.engine.dialect)


@pytest.mark.parametrize("rolls_back", [True, False], ids=["rolled back", "as it is"])
def test_a_pool_is_full_and_a_database_away(shop: Database, rolls_back: bool) -> None:
    with rolled_back(shop) if rolls_back else database(shop):
        with full_pool(shop), pytest.raises(PoolTimeout) as refused:
            put(shop, 1)
        assert isinstance(refused.value, exc.TimeoutError)
        assert not isinstance(refused.value, OperationalError)
        with database_away(shop, times=2):
            for ask in (lambda: put(shop, 1), lambda: numbers(shop)):
                with pytest.raises(OperationalError, match="connection refused"):
                    ask()
            put(shop, 1)
        assert numbers(shop) == [1]


def test_an_application_answers_an_overload(app: FastAPI, ashop: Any) -> None:
    with TestClient(app, raise_server_exceptions=False) as client:
        with full_pool(ashop, route="POST *"):
            answer = client.post("/products/1")
            assert answer.status_code == 503
            assert "retry-after" in answer.headers
            assert client.get("/products").json() == []


# -- clients ------------------------------------------------------------------------------------------------------------


async def test_a_client_hangs_up_while_its_handler_works(app: FastAPI, ashop: Any) -> None:
    began, cleared_up = asyncio.Event(), []

    @app.post("/slow")
    async def slow() -> None:
        ashop.session.add(Product(id=1))
        await ashop.session.flush()
        began.set()
        cleared_up.append(True)

    departure = await hang_up(app, "POST", "/slow?by=car", after=began, headers={"X-Who": "me"}, body=b"{}")
    assert cleared_up == [True]
    assert departure.error is None
    assert not departure.answered
    assert_no_leaks(ashop)
    await ashop.close()


async def test_a_client_hangs_up_in_the_midst_of_a_stream(app: FastAPI, ashop: Any) -> None:
    half = asyncio.Event()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> Any:
            async with ashop.scope("stream") as session:
                for number in range(1000):
                    await session.get(Product, number)
                    if number == 3:
                        half.set()
                    yield b"."
                    await asyncio.sleep(0)

        return StreamingResponse(parts())

    departure = await hang_up(app, "GET", "/stream", after=half)
    assert departure.answered
    assert len(departure.sent) < 1000
    assert_no_leaks(ashop)
    await ashop.close()


def test_a_wsgi_client_hangs_up_in_the_midst_of_the_answer(shop: Database) -> None:
    app = Flask("shop")
    install_flask(app, shop)
    closed: list[bool] = []

    @app.get("/stream")
    def stream() -> Any:
        def parts() -> Any:
            try:
                with shop.scope("stream") as session:
                    for number in range(10):
                        session.get(Product, number)
                        yield b"."
            finally:
                closed.append(True)

        return app.response_class(parts())

    departure = hang_up_wsgi(app, "GET", "/stream?a=b", after=2)
    assert departure.sent == [b".", b"."]
    assert departure.error is None
    assert closed == [True]
    assert_no_leaks(shop)


# -- time ---------------------------------------------------------------------------------------------------------------


def test_idle_connections_are_closed_when_their_time_has_come(shop: Database) -> None:
    put(shop, 1)
    assert shop.pool.stats().idle == 1
    clock = PoolClock(shop)
    clock.advance(299)
    assert shop.pool.stats().idle == 1
    clock.advance(2)
    assert shop.pool.stats().total == 0
    assert numbers(shop) == [1]
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_who_waits_has_waited_for_as_long(sqlite_file: str) -> None:
    db = Database(f"sqlite:///{sqlite_file}", pool=PoolConfig(max_size=1, timeout=3600))
    refused: list[Any] = []

    def wait() -> None:
        with pytest.raises(PoolTimeout) as error:
            db.engine.connect()
        refused.append(error.value)

    with db.engine.connect():
        thread = threading.Thread(target=wait)
        thread.start()
        while not db.pool.stats().waiting:
            pass
        clock = PoolClock(db)
        clock.advance(3599)
        assert db.pool.stats().waiting == 1
        clock.advance(2)
        thread.join()
    assert refused[0].timeout == 3600
    db.close()


async def test_the_same_with_asyncio(ashop: Any) -> None:
    await put_async(ashop, 1)
    assert ashop.pool.stats().idle == 1
    PoolClock(ashop).advance(301)
    assert ashop.pool.stats().total == 0
    assert await numbers_async(ashop) == [1]
    await ashop.close()


def test_another_pool_has_no_such_clock() -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    with pytest.raises(ConfigError, match="NullPool"):
        PoolClock(Database(create_engine("sqlite:///nowhere.db", poolclass=NullPool)))
