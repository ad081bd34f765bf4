"""The demo shop: an ordinary FastAPI application. What respool adds to it are the three lines marked below.

No handler opens, commits or closes anything. A request that succeeds is committed before its answer leaves; one that
fails (an exception, or a status of 400 and above) is rolled back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from importlib.resources import files
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import selectinload

from respool import AsyncDatabase, AsyncSession
from respool.cli.demo.catalogue import FULL_SHELF
from respool.cli.demo.models import Order, OrderLine, Product
from respool.cli.demo.schemas import Number, OrderIn, OrderOut, OrderPage, ProductOut, ProductPage
from respool.observe import snapshot
from respool.observe.metrics.prometheus import asgi_app
from respool.web.fastapi import install  # respool: 1

__all__ = ["Limit", "Session", "Text", "create_app", "latest_orders", "list_products"]

_PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

shop = APIRouter()


def create_app(db: AsyncDatabase, instead: APIRouter | None = None) -> FastAPI:
    """The shop on this database, whose tables must be there (see :func:`respool.cli.demo.store.prepare`).

    Args:
        db: the database.
        instead: routes that are found before the shop's own.
    """
    app = FastAPI(title="respool demo shop", redoc_url=None)
    app.state.db = db
    app.state.writing = asyncio.Lock() if db.engine.dialect.name == "sqlite" else nullcontext()
    if instead is not None:
        app.include_router(instead)
    app.include_router(shop)
    install(app, db, dashboard="/respool")  # respool: 2
    app.mount("/metrics", asgi_app(db))
    return app


async def _current_session(request: Request) -> AsyncSession:
    """The session of this request. Where ``db`` is a global, ``Depends(db.current_session)`` is all that is needed."""
    db: AsyncDatabase = request.app.state.db
    return db.session


async def _one_writer(request: Request) -> AsyncIterator[None]:
    """SQLite lets in one writer at a time and keeps no line, so who loses the race may lose it again and again.

    Here they stand in line, before they take a connection. Other databases need nothing of the kind.
    """
    async with request.app.state.writing:
        yield


Session = Annotated[AsyncSession, Depends(_current_session)]  # respool: 3
Limit = Annotated[int, Query(ge=1, le=100)]
Text = Annotated[str, Query(max_length=100, pattern=r"^[^\x00]*$")]


@shop.get("/products")
async def list_products(
    session: Session,
    q: Text = "",
    category: Text = "",
    limit: Limit = 20,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> ProductPage:
    """Products by name or category, a page at a time."""
    wanted: Select[Any] = select(Product)
    if q:
        wanted = wanted.where(Product.name.icontains(q, autoescape=True))
    if category:
        wanted = wanted.where(Product.category == category)
    found = await session.scalars(wanted.order_by(Product.id).limit(limit).offset(offset))
    total = await session.scalar(select(func.count()).select_from(wanted.subquery()))
    return ProductPage.of(list(found), total or 0, limit, offset)


@shop.get("/products/{number}")
async def show_product(number: Number, session: Session) -> ProductOut:
    """One product; 404 when there is none with this number."""
    return ProductOut.model_validate(await _product(session, number))


@shop.post("/products/{number}/restock", dependencies=[Depends(_one_writer)])
async def restock(number: Number, session: Session) -> ProductOut:
    """Fill the shelf of one product again. Doing so twice changes nothing more."""
    product = await _product(session, number)
    await session.execute(update(Product).where(Product.id == number).values(stock=FULL_SHELF))
    return ProductOut.model_validate(product)


@shop.post("/orders", status_code=201, dependencies=[Depends(_one_writer)])
async def place_order(wish: OrderIn, session: Session, response: Response) -> OrderOut:
    """Order some pieces of a product: 404 when it is unknown, 409 when too few are left; then nothing has changed."""
    product = await _product(session, wish.product_id)
    taken = await session.scalar(
        update(Product)
        .where(Product.id == product.id, Product.stock >= wish.quantity)
        .values(stock=Product.stock - wish.quantity)
        .returning(Product.id)
    )
    if taken is None:
        raise HTTPException(409, f"fewer than {wish.quantity} left of {product.name}")
    line = OrderLine(product=product, quantity=wish.quantity, price_cents=product.price_cents)
    order = Order(total_cents=wish.quantity * product.price_cents, lines=[line])
    session.add(order)
    await session.flush()
    response.headers["Location"] = f"/orders/{order.id}"
    return OrderOut.of(order)


@shop.get("/orders")
async def latest_orders(session: Session, limit: Limit = 10) -> OrderPage:
    """The latest orders, the newest first."""
    found = await session.scalars(_whole_orders().order_by(Order.id.desc()).limit(limit))
    return OrderPage(items=[OrderOut.of(order) for order in found])


@shop.get("/orders/{number}")
async def show_order(number: Number, session: Session) -> OrderOut:
    """One order; 404 when there is none with this number."""
    order = await session.scalar(_whole_orders().where(Order.id == number))
    if order is None:
        raise HTTPException(404, f"no order {number}")
    return OrderOut.of(order)


@shop.get("/_respool", include_in_schema=False)
async def pool_snapshot(request: Request, response: Response) -> Any:
    """The pool and the open sessions at this moment. Needs no connection, so it answers when there is none to be had."""
    response.headers["Cache-Control"] = "no-store"
    return snapshot(request.app.state.db, requests=0)


@shop.get("/", include_in_schema=False)
@shop.get("/page.css", include_in_schema=False)
@shop.get("/page.js", include_in_schema=False)
async def page(request: Request) -> Response:
    """The page and its two companions."""
    file, media_type = _PAGE[request.url.path]
    content = files("respool.cli.demo").joinpath("page", file).read_bytes()
    return Response(content, media_type=media_type, headers=_HEADERS)


async def _product(session: AsyncSession, number: int) -> Product:
    product = await session.get(Product, number)
    if product is None:
        raise HTTPException(404, f"no product {number}")
    return product


def _whole_orders() -> Select[Order]:
    return select(Order).options(selectinload(Order.lines).joinedload(OrderLine.product))
