"""A driver that the user put into autocommit: it stays so, whatever was read before, and each write is saved at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import create_engine, event

from tests.leases.stand import POSTGRES, Note, Side, Stand, Ware, names
from tests.support.mariadb import MariaServer


def mode(dbapi_connection: Any) -> Any:
    """What the driver, or SQLAlchemy's wrapper of it, says of itself."""
    if hasattr(dbapi_connection, "get_autocommit"):  # MySQL's drivers
        return dbapi_connection.get_autocommit()
    return getattr(dbapi_connection, "autocommit", None) or getattr(dbapi_connection, "isolation_level", None)


def reads_and_writes(side: Side) -> Any:
    """What is saved after a read, a write and no commit; after a commit; and how the connection is found afterwards."""
    found: list[Any] = []
    for end in ("rollback", "close", "commit"):
        with side.request() as session:
            names(session)
            session.get(Ware, 1)
            session.add(Note(text=end))
            session.flush()
            found.append((side.stand.notes(), names(session)))
            getattr(session, end)()
    with side.engine.connect() as connection:
        connection.execute(sa.insert(Note).values(text="by another user of the pool"))
        found.append(mode(connection.connection.dbapi_connection))
    with side.request() as session:
        names(session)
    raw = side.engine.raw_connection()
    found.append(mode(raw.dbapi_connection))
    raw.close()
    return [*found, side.stand.notes()]


SAVED = ["rollback", "close", "commit", "by another user of the pool"]


def by_listener(name: str) -> Callable[[Side, str], None]:
    def listen(side: Side, driver: str) -> None:
        @event.listens_for(side.engine, name)
        def autocommit(dbapi_connection: Any, *args: Any) -> None:
            if driver == "asyncpg":
                dbapi_connection.isolation_level = "autocommit"
            elif driver == "psycopg_async":
                dbapi_connection.driver_connection._autocommit = True  # what the setter sets, which would wait
            else:
                dbapi_connection.autocommit = True

    listen.__name__ = name
    return listen


@pytest.mark.on(*POSTGRES)
@pytest.mark.parametrize("listen", [by_listener("connect"), by_listener("first_connect"), by_listener("checkout")])
def test_by_a_listener(stand: Stand, listen: Callable[[Side, str], None]) -> None:
    def program(side: Side) -> Any:
        listen(side, stand.driver)
        return reads_and_writes(side)

    assert stand.same(program, size=1)[-1] == SAVED


@pytest.mark.on("psycopg", "psycopg_async")
def test_by_the_connects_arguments(stand: Stand) -> None:
    assert stand.same(reads_and_writes, size=1, connect_args={"autocommit": True})[-1] == SAVED


@pytest.mark.on("psycopg")
def test_by_the_url(stand: Stand) -> None:
    """A word that is not empty is true, for psycopg."""
    url = stand.url.update_query_dict({"autocommit": "true"})
    assert stand.same(reads_and_writes, size=1, url=url)[-1] == SAVED


@pytest.mark.on(*POSTGRES)
def test_by_sqlalchemy(stand: Stand) -> None:
    assert stand.same(reads_and_writes, size=1, isolation_level="AUTOCOMMIT")[-1] == SAVED


@pytest.mark.on("pysqlite", "aiosqlite")
def test_by_sqlites_isolation_level(stand: Stand) -> None:
    """``None``: Python's driver begins nothing by itself, so that each statement is saved at once."""
    assert stand.same(reads_and_writes, size=1, connect_args={"isolation_level": None})[-1] == SAVED


@pytest.mark.on("pysqlite")
def test_by_a_listener_of_sqlites(stand: Stand) -> None:
    def program(side: Side) -> Any:
        @event.listens_for(side.engine, "connect")
        def autocommit(dbapi_connection: Any, record: Any) -> None:
            dbapi_connection.isolation_level = None

        return reads_and_writes(side)

    assert stand.same(program, size=1)[-1] == SAVED


@pytest.mark.on("psycopg", "psycopg2")
def test_on_a_connection_that_the_user_switched_and_gave_back(stand: Stand) -> None:
    """By hand, for a VACUUM, and never switched back: what stock finds then, ours finds too."""

    def program(side: Side) -> Any:
        raw = side.engine.raw_connection()
        raw.driver_connection.autocommit = True
        raw.close()
        return reads_and_writes(side)

    stand.same(program, size=1)


@pytest.mark.on(*POSTGRES, "pysqlite", "aiosqlite")
def test_where_nobody_did_a_write_needs_its_commit(stand: Stand) -> None:
    found = stand.same(reads_and_writes, size=1)
    assert found[:3] == [([], ["tea", "rum"])] * 3
    assert found[-1] == ["commit"]


@pytest.fixture
def maria(mariadb: MariaServer) -> Iterator[MariaStand]:
    mariadb.create_database("leases")
    yield MariaStand("pymysql", mariadb.url("pymysql", "leases"))
    mariadb.drop_database("leases")


@pytest.mark.parametrize("way", ["connect_args", "url", "connect", "nobody"])
@pytest.mark.parametrize("begin", [None, "on_write"])
def test_pymysqls(maria: MariaStand, way: str, begin: Any) -> None:
    """At MariaDB's REPEATABLE READ reads are leased where that is asked for."""

    def program(side: Side) -> Any:
        if way == "connect":
            event.listen(side.engine, way, lambda dbapi_connection, record: dbapi_connection.autocommit(True))
        return reads_and_writes(side)

    options: dict[str, Any] = {"connect_args": {"autocommit": True}} if way == "connect_args" else {}
    url = maria.url.update_query_dict({"autocommit": "true"}) if way == "url" else maria.url
    found = maria.same(program, size=1, begin=begin, url=url, tidy=False, **options)
    assert found[-1] == (["commit"] if way == "nobody" else SAVED)


class MariaStand(Stand):
    """MariaDB's side of a stand: as much of it as is needed here."""

    @property
    def url(self) -> sa.URL:
        return sa.make_url(self.place)

    def renew(self) -> None:
        self.elsewhere("DROP TABLE IF EXISTS notes, wares")
        self.elsewhere("CREATE TABLE wares (id INT PRIMARY KEY, name TEXT, stock INT, tenant TEXT)")
        self.elsewhere("CREATE TABLE notes (id INT PRIMARY KEY AUTO_INCREMENT, text TEXT)")
        self.elsewhere("INSERT INTO wares VALUES (1, 'tea', 5, 'a'), (2, 'rum', 7, 'b')")

    def elsewhere(self, statement: str) -> list[Any]:
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                result = connection.exec_driver_sql(statement)
                return list(result.scalars()) if result.returns_rows else []
        finally:
            engine.dispose()
