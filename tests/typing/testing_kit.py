"""What type checkers know of the testing kit; ``make check`` looks at it, nobody runs it."""

from __future__ import annotations

from typing import assert_type

from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from respool import AsyncDatabase, AsyncSession, Database, Session
from respool.testing import (
    Commits,
    DatabaseTemplate,
    Departure,
    Fault,
    Statements,
    assert_committed,
    count_statements,
    failing_commit,
    fresh_database,
    full_pool,
    hang_up,
    rolled_back,
)


class ShopSession(Session):
    pass


db = Database("sqlite://", session_class=ShopSession)
adb = AsyncDatabase("sqlite+aiosqlite://")

with db.override("sqlite://") as same:
    assert_type(same, Database[ShopSession])
with db.override(create_engine("sqlite://")), db.engine.connect() as connection, db.override(connection):
    pass
with rolled_back(db) as same:
    assert_type(same.session, ShopSession)
with rolled_back(adb) as asame:
    assert_type(asame.session, AsyncSession)
with fresh_database(db, lambda connection: connection.exec_driver_sql("SELECT 1")) as same:
    assert_type(same, Database[ShopSession])
with DatabaseTemplate(db) as template, template.rolled_back() as same, template.fresh():
    assert_type(same, Database[ShopSession])
with count_statements(db, max=3, repeats=1) as statements:
    assert_type(statements, Statements)
with assert_committed(adb) as commits:
    assert_type(commits, Commits)
with failing_commit(db, "lost", times=None) as fault, full_pool(adb):
    assert_type(fault, Fault)


async def use() -> None:
    async with adb.override("sqlite+aiosqlite://") as same:
        assert_type(same, AsyncDatabase[AsyncSession])
    async with adb.override(create_async_engine("sqlite+aiosqlite://")):
        pass
    async with adb.engine.connect() as connection, adb.override(connection):
        pass
    assert_type(await hang_up(_app, "GET", "/"), Departure)


async def _app(scope: object, receive: object, send: object) -> None: ...
