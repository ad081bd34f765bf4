"""Databases that are made for tests, and removed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, event, text

from respool import AsyncDatabase, Database
from respool.errors import ConfigError
from respool.testing import DatabaseTemplate, fresh_database
from tests.support.postgres import PostgresServer
from tests.testing.models import create, numbers, numbers_async, put, put_async


def databases(server: PostgresServer) -> set[str]:
    with psycopg.connect(server.url(None)) as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


@pytest.fixture(params=["sqlite", "psycopg"])
def db(request: pytest.FixtureRequest, sqlite_file: str) -> Any:
    if request.param == "sqlite":
        database = Database(f"sqlite:///{sqlite_file}")
    else:
        database = Database(request.getfixturevalue("postgres").url("psycopg"))
    yield database
    database.close()


def test_each_copy_begins_as_the_template(db: Database) -> None:
    made: list[int] = []

    def create_once(connection: Connection) -> None:
        made.append(1)
        create(connection)
        connection.execute(text("INSERT INTO product (id, stock) VALUES (1, 0)"))

    with DatabaseTemplate(db, create_once) as template:
        assert made == []
        for _ in range(2):
            with template.fresh() as found:
                assert found is db
                assert numbers(db) == [1]
                put(db, 2)
                with template.fresh():
                    assert numbers(db) == [1]
                assert numbers(db) == [1, 2]
        assert made == [1]


def test_a_copy_within_a_test_that_is_rolled_back(db: Database) -> None:
    with DatabaseTemplate(db, create) as template, template.rolled_back():
        put(db, 1)
        with template.fresh():
            assert numbers(db) == []
            put(db, 2)
        assert numbers(db) == [1]


def test_there_are_several_connections(db: Database) -> None:
    with fresh_database(db, create), db.scope("outer") as session:
        session.execute(text("SELECT 1"))
        put(db, 1)
        with session.unit(new=True) as inner:
            assert inner.scalar(text("SELECT count(*) FROM product")) == 1


async def test_an_async_database_has_copies_too(postgres: PostgresServer) -> None:
    before = databases(postgres)
    db = AsyncDatabase(postgres.url("asyncpg"))
    with DatabaseTemplate(db, create) as template:
        for _ in range(2):
            with template.fresh():
                await put_async(db, 1)
                assert await numbers_async(db) == [1]
    assert databases(postgres) == before
    await db.close()


def test_nothing_is_left_of_them(postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = databases(postgres)
    for url in ("sqlite:///nowhere.db", postgres.url("psycopg")):
        db = Database(url)
        with fresh_database(db, create):
            put(db, 1)
        with contextlib.suppress(RuntimeError), fresh_database(db, create):
            put(db, 1)
            raise RuntimeError
        with pytest.raises(ZeroDivisionError), fresh_database(db, lambda connection: 1 / 0):
            pass
        db.close()
    assert databases(postgres) == before
    assert list(tmp_path.iterdir()) == []


def test_the_listeners_of_the_engine_are_there_when_tables_are_made(sqlite_file: str) -> None:
    db = Database(f"sqlite:///{sqlite_file}")
    event.listen(db.engine, "connect", lambda raw, record: raw.create_function("shout", 1, str.upper))
    with fresh_database(db, lambda connection: connection.execute(text("SELECT shout('a')"))):
        pass
    db.close()


def test_a_database_that_nobody_can_make(sqlite_file: str) -> None:
    db = Database(f"sqlite:///{sqlite_file}")
    with pytest.raises(ConfigError, match="oracle"), fresh_database(db, url="oracle://"):
        pass
    db.close()
