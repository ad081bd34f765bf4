"""What mypy knows of a database's sessions. It is only read, by ``make types``: nothing in here is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import assert_type

import sqlmodel
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_asyncio
from sqlmodel.ext.asyncio.session import AsyncSession as SQLModelAsyncSession

import respool
from respool import AsyncDatabase, Database
from respool.session.changes.log import Changes
from respool.web import fastapi, flask

URL = "sqlite://"


class Hero(sqlmodel.SQLModel, table=True):
    id: int | None = sqlmodel.Field(default=None, primary_key=True)
    name: str


class Shop(respool.Session):
    """A subclass of ours: a user's methods beside ours."""

    def tea(self) -> str:
        return "tea"


class Both(sqlmodel.Session, respool.Session):
    """SQLModel's and ours."""


class AsyncBoth(SQLModelAsyncSession, respool.AsyncSession):
    """SQLModel's and ours, for asyncio."""


class Plain(orm.Session):
    """A user's own that knows nothing of ours."""


def ours() -> None:
    db = Database(URL, session_options={"autoflush": False})
    assert_type(db, Database[respool.Session])
    assert_type(db.session, respool.Session)
    assert_type(db.current_session(), respool.Session)
    with db.scope("job") as session:
        assert_type(session, respool.Session)
        with session.fork() as child, child.unit() as unit:
            assert_type(unit, respool.Session)
    assert_type(db.gather(lambda session: session.holds_connection), list[bool])
    assert_type(db.run(len, "ab"), int)
    assert_type(Database.from_env().session, respool.Session)


def annotated(db: Database, asynchronous: AsyncDatabase) -> None:
    assert_type(db.session, respool.Session)
    assert_type(asynchronous.session, respool.AsyncSession)


def a_users() -> None:
    assert_type(Database(URL, session_class=Plain).session, Plain)
    db = Database(URL, session_class=Shop, name="shop")
    assert_type(db, Database[Shop])
    assert_type(db.session.tea(), str)
    with db.scope("job") as session, session.fork() as child, child.unit() as unit:
        assert_type(unit, Shop)
    assert_type(db.gather(Shop.tea), list[str])
    assert_type(fastapi.session_of(db), Callable[[], Awaitable[Shop]])
    assert_type(Database.from_env(session_class=Shop).session, Shop)
    assert_type(flask.Respool(db).session, Shop)
    assert_type(flask.Respool(None, db).session, Shop)
    assert_type(flask.Respool(session_class=Shop).session, Shop)
    assert_type(flask.Respool().session, respool.Session)


def sqlmodels() -> None:
    db = Database(URL, session_class=sqlmodel.Session)
    assert_type(db.session, sqlmodel.Session)
    assert_type(db.session.exec(sqlmodel.select(Hero)).all(), "list[Hero]")  # type: ignore[assert-type]  # a Sequence
    both = Database(URL, session_class=Both)
    assert_type(both.session.exec(sqlmodel.select(Hero.name)).one(), str)
    with both.scope("job") as session, session.unit() as unit:
        assert_type(unit, Both)
        assert_type(unit.changes(), Changes)


async def asyncio() -> None:
    assert_type(AsyncDatabase(URL).session, respool.AsyncSession)
    assert_type(AsyncDatabase(URL, session_class=sa_asyncio.AsyncSession).session, sa_asyncio.AsyncSession)
    db = AsyncDatabase(URL, session_class=SQLModelAsyncSession)
    assert_type((await db.session.exec(sqlmodel.select(Hero))).one(), Hero)
    both = AsyncDatabase(URL, session_class=AsyncBoth)
    async with both.scope("job") as session, session.fork() as child, child.unit() as unit:
        assert_type(unit, AsyncBoth)
        assert_type((await unit.exec(sqlmodel.select(Hero.name))).one(), str)
    assert_type(fastapi.session_of(both), Callable[[], Awaitable[AsyncBoth]])


def mistakes() -> None:
    Database(URL, session_class=orm.sessionmaker())  # type: ignore[arg-type]
    Database(URL, session_class=SQLModelAsyncSession)  # type: ignore[type-var]
    AsyncDatabase(URL, session_class=Plain)  # type: ignore[type-var]
    Database(URL, session_class=Plain).session.changes()  # type: ignore[attr-defined]
