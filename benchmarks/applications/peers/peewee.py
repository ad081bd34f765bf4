"""Peewee with its own pool and psycopg, and Flask: a connection for each request, by its documents' two hooks."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from peewee import IntegerField, Model, TextField
from playhouse.pool import PooledPostgresqlDatabase

from benchmarks.applications.frameworks import in_flask
from benchmarks.applications.models import plain

DB = PooledPostgresqlDatabase(None)


class Item(Model):
    name = TextField()
    stock = IntegerField()

    class Meta:
        database = DB
        table_name = "item"


class Order(Model):
    token = TextField()
    item_id = IntegerField()

    class Meta:
        database = DB
        table_name = "orders"


class Work:
    def read(self, session: Any, number: int) -> dict[str, Any]:
        return plain(Item.get_by_id(number))

    def listing(self, session: Any) -> list[dict[str, Any]]:
        return [plain(item) for item in Item.select().order_by(Item.id).limit(100)]

    def stock(self, session: Any, number: int) -> int:
        return int(Item.select(Item.stock).where(Item.id == number).scalar())

    def write(self, session: Any, token: str, item: int) -> None:
        Order.create(token=token, item_id=item)

    def sell(self, session: Any, number: int, token: str) -> None:
        with DB.atomic():
            item = Item.get_by_id(number)
            Item.update(stock=Item.stock - 1).where(Item.id == item.id).execute()
            Order.create(token=token, item_id=number)

    def sleep(self, session: Any, seconds: float) -> None:
        DB.execute_sql("SELECT pg_sleep(%s)", (seconds,))

    def declined(self, session: Any, token: str, error: Exception) -> None:
        with DB.atomic():
            Order.create(token=token, item_id=1)
            raise error


def make(url: str, size: int) -> Any:
    parts = urlsplit(url)
    DB.init(
        parts.path[1:],
        host=parts.hostname,
        port=parts.port,
        user=parts.username,
        max_connections=size,
        timeout=30,
        prefer_psycopg3=True,
    )
    app = Flask(__name__)

    @app.before_request
    def connect() -> None:
        DB.connect()

    @app.teardown_request
    def close(error: BaseException | None) -> None:
        if not DB.is_closed():
            DB.close()

    in_flask(app, Work(), lambda: None)
    return app
