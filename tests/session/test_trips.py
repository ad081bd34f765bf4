"""What a network bills: round trips, counted on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from respool import PoolConfig
from tests.session.shop import Order, Product, fill, opened, opened_async
from tests.support.mariadb import MariaServer
from tests.support.trips import TripCounter

#: By SQLAlchemy's driver: the trips of a transaction that inserts one row. BEGIN goes along with psycopg's INSERT.
WRITES = {"psycopg": 2, "psycopg_async": 2, "asyncpg": 3}


@pytest.fixture
def wire(pg_url: str) -> Iterator[tuple[str, TripCounter]]:
    fill(pg_url)
    url = make_url(pg_url)
    with TripCounter(url.host or "", url.port or 0) as trips:
        through = url.set(host="127.0.0.1", port=trips.port).update_query_dict({"sslmode": "disable"})
        yield through.render_as_string(hide_password=False), trips


def test_promise_02_a_read_is_one_trip(wire: tuple[str, TripCounter]) -> None:
    url, trips = wire
    with opened(url) as db:
        for expected in (None, 1, 1):
            with db.scope("read") as session:
                trips.take()
                session.get(Product, 1)
            if expected is not None:
                assert trips.take() == expected
        with db.scope("reads") as session:
            session.scalars(select(Product)).all()
            session.scalars(select(Order)).all()
        assert trips.take() == 2


def test_promise_02_a_transaction_that_writes_is_two_or_three_trips(wire: tuple[str, TripCounter]) -> None:
    url, trips = wire
    with opened(url, commit="on_success") as db:
        for expected in (None, 2, 2):
            trips.take()
            with db.scope("write") as session:
                session.add(Order(product_id=1))
            if expected is not None:
                assert trips.take() == expected
        for _ in range(2):  # what is read for the first time is asked about, once
            with db.scope("read and write") as session:
                session.get_one(Product, 1).stock -= 1
            taken = trips.take()
        assert taken == 3


def test_a_read_whose_connection_has_to_be_checked_is_two_trips(wire: tuple[str, TripCounter]) -> None:
    url, trips = wire
    with opened(url, pool=PoolConfig(max_size=1, check_after=0.0)) as db:
        for expected in (None, 2, 2):
            trips.take()
            with db.scope("read") as session:
                session.get(Product, 1)
            if expected is not None:
                assert trips.take() == expected


@pytest.mark.parametrize("driver", ["psycopg_async", "asyncpg"])
async def test_promise_02_the_trips_of_asyncio(wire: tuple[str, TripCounter], driver: str) -> None:
    url, trips = wire
    there: Any = make_url(url).set(drivername=f"postgresql+{driver}")
    if driver == "asyncpg":
        there = there.difference_update_query(["sslmode"]).update_query_dict({"ssl": "disable"})
    async with opened_async(there.render_as_string(hide_password=False), commit="on_success") as db:
        for expected in (None, 1, 1):
            async with db.scope("read") as session:
                trips.take()
                await session.get(Product, 1)
            if expected is not None:
                assert trips.take() == expected
        for writes in (None, WRITES[driver], WRITES[driver]):
            trips.take()
            async with db.scope("write") as session:
                session.add(Order(product_id=1))
            if writes is not None:
                assert trips.take() == writes
    async with opened_async(
        there.render_as_string(hide_password=False), name="checked", pool=PoolConfig(max_size=1, check_after=0.0)
    ) as db:
        for expected in (None, 2, 2):
            trips.take()
            async with db.scope("read") as session:
                await session.get(Product, 1)
            if expected is not None:
                assert trips.take() == expected


class Base(DeclarativeBase):
    pass


class Ware(Base):
    """Without a column whose type needs a length there."""

    __tablename__ = "wares"

    id: Mapped[int] = mapped_column(primary_key=True)
    stock: Mapped[int]


@pytest.fixture
def maria_wire(mariadb: MariaServer) -> Iterator[tuple[str, TripCounter]]:
    mariadb.create_database("trips")
    engine = create_engine(mariadb.url("pymysql", "trips"))
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(Ware.__table__.insert().values(id=1, stock=5))
    engine.dispose()
    url = make_url(mariadb.url("pymysql", "trips"))
    with TripCounter(url.host or "", url.port or 0) as trips:
        yield url.set(port=trips.port).render_as_string(hide_password=False), trips
    mariadb.drop_database("trips")


READ_COMMITTED: dict[str, Any] = {"engine_options": {"isolation_level": "READ COMMITTED"}}


def test_promise_02_the_trips_of_pymysql(maria_wire: tuple[str, TripCounter]) -> None:
    url, trips = maria_wire
    with opened(url, commit="on_success", **READ_COMMITTED) as db:
        for expected in (None, 1, 1):
            trips.take()
            with db.scope("read") as session:
                assert session.get(Ware, 1) is not None
            if expected is not None:
                assert trips.take() == expected
        for expected in (None, 2, 2):
            trips.take()
            with db.scope("write") as session:
                session.add(Ware(stock=1))
            if expected is not None:
                assert trips.take() == expected
    with opened(url, name="checked", pool=PoolConfig(max_size=1, check_after=0.0), **READ_COMMITTED) as db:
        for expected in (None, 2, 2):
            trips.take()
            with db.scope("read") as session:
                session.get(Ware, 1)
            if expected is not None:
                assert trips.take() == expected
