"""Piccolo with FastAPI and its pool; no session: a transaction where there is more than one change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from piccolo.columns import Integer, Serial, Text
from piccolo.engine.postgres import PostgresEngine
from piccolo.table import Table

from benchmarks.applications.frameworks import in_context
from benchmarks.applications.models import plain

DB = PostgresEngine(config={}, log_queries=False)


class Item(Table, tablename="item", db=DB):
    id = Serial(primary_key=True)
    name = Text()
    stock = Integer()


class Order(Table, tablename="orders", db=DB):
    id = Serial(primary_key=True)
    token = Text()
    item_id = Integer()


class Work:
    async def read(self, session: Any, number: int) -> dict[str, Any]:
        return plain(await Item.objects().get(Item.id == number))

    async def listing(self, session: Any) -> list[dict[str, Any]]:
        return [plain(item) for item in await Item.objects().order_by(Item.id).limit(100)]

    async def stock(self, session: Any, number: int) -> int:
        found: Any = await Item.select(Item.stock).where(Item.id == number).first()
        return int(found["stock"])

    async def write(self, session: Any, token: str, item: int) -> None:
        await Order(token=token, item_id=item).save()

    async def sell(self, session: Any, number: int, token: str) -> None:
        async with DB.transaction():
            item: Any = await Item.objects().get(Item.id == number)
            await Item.update({Item.stock: Item.stock - 1}).where(Item.id == item.id)
            await Order(token=token, item_id=number).save()

    async def sleep(self, session: Any, seconds: float) -> None:
        await Item.raw("SELECT pg_sleep({})", seconds)

    async def declined(self, session: Any, token: str, error: Exception) -> None:
        async with DB.transaction():
            await Order(token=token, item_id=1).save()
            raise error


def make(url: str, size: int) -> Any:
    DB.config = {"dsn": url}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await DB.start_connection_pool(min_size=1, max_size=size)
        yield
        await DB.close_connection_pool()

    async def none() -> None:
        return None

    app = FastAPI(openapi_url=None, lifespan=lifespan)
    in_context(app, Work(), none)
    return app
