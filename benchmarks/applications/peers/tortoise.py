"""Tortoise ORM with FastAPI and asyncpg; no session: a transaction where there is more than one change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from tortoise import connections, fields
from tortoise.contrib.fastapi import RegisterTortoise
from tortoise.expressions import F
from tortoise.models import Model
from tortoise.transactions import in_transaction

from benchmarks.applications.frameworks import in_context
from benchmarks.applications.models import plain


class Item(Model):
    id = fields.IntField(primary_key=True)
    name = fields.TextField()
    stock = fields.IntField()

    class Meta:
        table = "item"


class Order(Model):
    id = fields.IntField(primary_key=True)
    token = fields.TextField()
    item_id = fields.IntField()

    class Meta:
        table = "orders"


class Work:
    async def read(self, session: Any, number: int) -> dict[str, Any]:
        return plain(await Item.get(id=number))

    async def listing(self, session: Any) -> list[dict[str, Any]]:
        return [plain(item) for item in await Item.all().order_by("id").limit(100)]

    async def stock(self, session: Any, number: int) -> int:
        return int(await Item.get(id=number).values_list("stock", flat=True))

    async def write(self, session: Any, token: str, item: int) -> None:
        await Order.create(token=token, item_id=item)

    async def sell(self, session: Any, number: int, token: str) -> None:
        async with in_transaction():
            item = await Item.get(id=number)
            await Item.filter(id=item.id).update(stock=F("stock") - 1)
            await Order.create(token=token, item_id=number)

    async def sleep(self, session: Any, seconds: float) -> None:
        await connections.get("default").execute_query("SELECT pg_sleep($1)", [seconds])

    async def declined(self, session: Any, token: str, error: Exception) -> None:
        async with in_transaction():
            await Order.create(token=token, item_id=1)
            raise error


def make(url: str, size: int) -> Any:
    parts = urlsplit(url)
    config = {
        "connections": {
            "default": {
                "engine": "tortoise.backends.asyncpg",
                "credentials": {
                    "host": parts.hostname,
                    "port": parts.port,
                    "user": parts.username,
                    "password": "",
                    "database": parts.path[1:],
                    "minsize": 1,
                    "maxsize": size,
                },
            }
        },
        "apps": {"models": {"models": [__name__], "default_connection": "default"}},
    }

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with RegisterTortoise(app, config=config):
            yield

    async def none() -> None:
        return None

    app = FastAPI(openapi_url=None, lifespan=lifespan)
    in_context(app, Work(), none)
    return app
