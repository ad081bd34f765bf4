"""Troubles to be found, each of them code as it is written every day: ``respool demo --load 30 --trouble hold``.

Where they are, and what is wrong there, is what the page at ``/respool`` is to tell.
"""

from __future__ import annotations

import asyncio
import errno
import time
from itertools import count
from typing import Any, NoReturn

from fastapi import APIRouter, Request
from sqlalchemy import event, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from respool import AsyncDatabase
from respool.cli.demo.app import Limit, Session, Text, latest_orders, list_products
from respool.cli.demo.models import Order, Product
from respool.cli.demo.schemas import Number, OrderOut, OrderPage, ProductOut, ProductPage

__all__ = ["TROUBLES", "comes_and_goes", "routes_with"]

#: What each one is, in a line.
TROUBLES = {
    "hold": "a request holds its connection while it asks another service",
    "leak": "a report keeps a connection for the next time, and there is none",
    "n+1": "a list is read with one statement, and what belongs to each of its rows with one more",
    "block": "a call that does not await keeps the event loop from everything else",
    "db-away": "the database goes away for 20 s out of 40: no connect succeeds, and open connections are let go of",
}

#: Seconds that a service elsewhere takes, a computation, and the database's absence.
_ELSEWHERE, _COMPUTING, _AWAY = 1.2, 1.0, 20.0

_kept: list[AsyncConnection] = []
_served = count(1)


def routes_with(trouble: str) -> APIRouter:
    """The shop's routes that have this trouble, to be found before its own."""
    routes = APIRouter()
    if trouble == "hold":
        routes.get("/products/{number}")(show_product_at_todays_price)
    elif trouble == "leak":
        routes.get("/orders")(latest_orders_and_turnover)
    elif trouble == "n+1":
        routes.get("/orders")(latest_orders_one_by_one)
    elif trouble == "block":
        routes.get("/products")(list_products_spelt_right)
    return routes


async def show_product_at_todays_price(number: Number, session: Session) -> ProductOut:
    """Reads on a connection that is the session's until the request ends, and asks for the price before that."""
    connection = await session.connection()
    product = (await connection.execute(select(Product.__table__).where(Product.id == number))).one()
    await _ask_price_service(number)
    return ProductOut.model_validate(product, from_attributes=True)


async def _ask_price_service(number: int) -> None:
    await asyncio.sleep(_ELSEWHERE)  # as an HTTP client would


async def latest_orders_and_turnover(request: Request, session: Session, limit: Limit = 10) -> OrderPage:
    """Adds the turnover up now and then, on a connection of its own."""
    if next(_served) % 40 == 0:
        db: AsyncDatabase = request.app.state.db
        connection = await db.engine.connect()
        await connection.scalar(select(func.sum(Order.total_cents)))
        _kept.append(connection)  # the next report could use it
    return await latest_orders(session, limit)


async def latest_orders_one_by_one(session: Session, limit: Limit = 10) -> OrderPage:
    """Asks for the lines of each order, and for the product of each line."""
    orders = (await session.scalars(select(Order).order_by(Order.id.desc()).limit(limit))).all()
    for order in orders:
        await session.refresh(order, ["lines"])
        for line in order.lines:
            await session.refresh(line, ["product"])
    return OrderPage(items=[OrderOut.of(order) for order in orders])


async def list_products_spelt_right(
    session: Session, q: Text = "", category: Text = "", limit: Limit = 20, offset: int = 0
) -> ProductPage:
    """Mends the spelling of what is searched for."""
    return await list_products(session, _spelt_right(q) if q else q, category, limit, offset)


def _spelt_right(words: str) -> str:
    time.sleep(_COMPUTING)  # as a dictionary on disk would, or a computation
    return words


async def comes_and_goes(db: AsyncDatabase) -> None:
    """Have the database go away again and again, until this is cancelled. The file, or the server, stays as it is."""
    engine = db.engine.sync_engine

    def refuse(dialect: Any, record: Any, arguments: Any, options: Any) -> NoReturn:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "connection refused (by --trouble db-away)")

    while True:
        await asyncio.sleep(_AWAY / 2)
        event.listen(engine, "do_connect", refuse)
        try:
            db.pool.soft_evict()
            await asyncio.sleep(_AWAY)
        finally:
            event.remove(engine, "do_connect", refuse)
        await asyncio.sleep(_AWAY / 2)
