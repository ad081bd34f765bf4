"""A small shop with Flask and threads: ``python examples/flask_shop.py [--port 5000]``.

What respool adds to an ordinary Flask application are the lines marked with "respool". No view opens, commits or closes
anything: a request that succeeds is committed before its answer leaves, any other is rolled back.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Flask, abort, current_app, jsonify, render_template_string, request
from flask.typing import ResponseReturnValue
from sqlalchemy import ForeignKey, String, event, func, insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload
from werkzeug.exceptions import HTTPException

from respool import Database, Session
from respool.observe import snapshot
from respool.web.flask import install

FULL_SHELF = 100
LARGEST = 2**31 - 1  # the largest number that an INTEGER column holds everywhere
GOODS = {
    "Thread": [("Cotton thread, indigo, 500 m", 320), ("Silk thread, coral, 100 m", 690), ("Linen thread, 50 m", 450)],
    "Yarn": [("Merino yarn, moss, 100 g", 1190), ("Alpaca yarn, rose, 50 g", 990), ("Cotton yarn, sky, 100 g", 540)],
    "Fabric": [("Linen, ivory, by the metre", 1890), ("Corduroy, plum, by the metre", 1640)],
    "Buttons": [("Shell buttons, card of 6", 450), ("Horn buttons, card of 4", 620)],
    "Tools": [("Tailor's shears, 24 cm", 4890), ("Seam ripper, walnut", 1140), ("Brass thimble", 580)],
}

# -- models: ordinary SQLAlchemy -------------------------------------------------------------------------------------


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    category: Mapped[str] = mapped_column(String(40))
    price_cents: Mapped[int]
    stock: Mapped[int]


class Order(Base):
    __tablename__ = "customer_order"

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC).replace(tzinfo=None))
    total_cents: Mapped[int]
    lines: Mapped[list[OrderLine]] = relationship()


class OrderLine(Base):
    __tablename__ = "order_line"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("customer_order.id"))
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id"))
    quantity: Mapped[int]
    price_cents: Mapped[int]
    product: Mapped[Product] = relationship()


# -- views -----------------------------------------------------------------------------------------------------------

shop = Blueprint("shop", __name__)


def database() -> Database:
    db: Database = current_app.extensions["shop_database"]
    return db


def session() -> Session:
    """The session of this request. Where ``db`` is a global, ``db.session`` is all that is needed."""
    return database().session  # respool


@shop.get("/products")
def list_products() -> ResponseReturnValue:
    limit, offset = query_number("limit", 1, 100, 20), query_number("offset", 0, 1_000_000, 0)
    wanted = select(Product)
    if q := request.args.get("q"):
        wanted = wanted.where(Product.name.icontains(q, autoescape=True))
    if category := request.args.get("category"):
        wanted = wanted.where(Product.category == category)
    found = session().scalars(wanted.order_by(Product.id).limit(limit).offset(offset))
    total = session().scalar(select(func.count()).select_from(wanted.subquery()))
    return jsonify(items=[product_json(each) for each in found], total=total, limit=limit, offset=offset)


@shop.get("/products/<int:number>")
def show_product(number: int) -> ResponseReturnValue:
    return jsonify(product_json(product_or_404(number)))


@shop.post("/products/<int:number>/restock")
def restock(number: int) -> ResponseReturnValue:
    product = product_or_404(number)
    session().execute(update(Product).where(Product.id == number).values(stock=FULL_SHELF))
    return jsonify(product_json(product))


@shop.post("/orders")
def place_order() -> ResponseReturnValue:
    """404: no such product; 409: too few left; 422: not understood. In all three nothing has changed."""
    wish: dict[str, object] | list[object] | str | float | None = request.get_json()
    if not isinstance(wish, dict) or set(wish) != {"product_id", "quantity"}:
        abort(422, 'write {"product_id": 1, "quantity": 2}')
    quantity = whole("quantity", wish["quantity"], 1, 1000)
    product = product_or_404(whole("product_id", wish["product_id"], 1, LARGEST))
    taken = session().scalar(
        update(Product)
        .where(Product.id == product.id, Product.stock >= quantity)
        .values(stock=Product.stock - quantity)
        .returning(Product.id)
    )
    if taken is None:
        abort(409, f"fewer than {quantity} left of {product.name}")
    line = OrderLine(product=product, quantity=quantity, price_cents=product.price_cents)
    order = Order(total_cents=quantity * product.price_cents, lines=[line])
    session().add(order)
    session().flush()  # gives the order its number; the commit comes by itself
    return jsonify(order_json(order)), 201, {"Location": f"/orders/{order.id}"}


@shop.get("/orders")
def latest_orders() -> ResponseReturnValue:
    limit = query_number("limit", 1, 100, 10)
    found = session().scalars(select(Order).options(*WHOLE_ORDER).order_by(Order.id.desc()).limit(limit))
    return jsonify(items=[order_json(order) for order in found])


@shop.get("/orders/<int:number>")
def show_order(number: int) -> ResponseReturnValue:
    wanted = select(Order).options(*WHOLE_ORDER).where(Order.id == number)
    order = session().scalar(wanted) if number <= LARGEST else None
    if order is None:
        abort(404, f"no order {number}")
    return jsonify(order_json(order))


@shop.get("/_respool")
def pool_snapshot() -> ResponseReturnValue:
    """The pool and the open sessions. Needs no connection, so it answers when there is none to be had."""
    return jsonify(snapshot(database()))


@shop.get("/")
def page() -> ResponseReturnValue:
    products = session().scalars(select(Product).order_by(Product.category, Product.name)).all()
    return render_template_string(PAGE, products=products, stats=database().pool.stats())


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>Flask shop</title>
<h1>Flask shop</h1>
<p>{{ stats }}. Reload to see it move; <a href="/_respool">/_respool</a> has it all.</p>
<table>
<tr><th scope="col">no.</th><th scope="col">product</th><th scope="col">category</th><th scope="col">€</th><th scope="col">left</th></tr>
{% for product in products %}
<tr><td>{{ product.id }}</td><td>{{ product.name }}</td><td>{{ product.category }}</td>
<td>{{ "%.2f" | format(product.price_cents / 100) }}</td><td>{{ product.stock }}</td></tr>
{% endfor %}
</table>
"""

WHOLE_ORDER = (selectinload(Order.lines).joinedload(OrderLine.product),)


def product_or_404(number: int) -> Product:
    product = session().get(Product, number) if number <= LARGEST else None
    if product is None:
        abort(404, f"no product {number}")
    return product


def query_number(name: str, least: int, most: int, default: int) -> int:
    """A whole number of the query."""
    text = request.args.get(name, str(default))
    return whole(name, int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text, least, most)


def whole(name: str, value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        abort(422, f"{name} is not a whole number from {least} to {most}")
    return value


def product_json(product: Product) -> dict[str, Any]:
    return {name: getattr(product, name) for name in ("id", "name", "category", "price_cents", "stock")}


def order_json(order: Order) -> dict[str, Any]:
    lines = [
        {
            "product_id": each.product.id,
            "name": each.product.name,
            "quantity": each.quantity,
            "price_cents": each.price_cents,
        }
        for each in order.lines
    ]
    created_at = order.created_at.replace(tzinfo=UTC).isoformat(timespec="milliseconds")
    return {"id": order.id, "created_at": created_at, "total_cents": order.total_cents, "lines": lines}


# -- the application -------------------------------------------------------------------------------------------------


def create_app(url: str = "sqlite:///flask-shop.db") -> Flask:
    """The shop on this database; its tables are made and filled when they are not there."""
    db = Database(url, name="flask shop", commit="on_success")  # respool
    if db.engine.dialect.name == "sqlite":
        event.listen(db.engine, "connect", set_up_sqlite)
    app = Flask(__name__)
    app.extensions["shop_database"] = db
    app.register_blueprint(shop)
    app.register_error_handler(HTTPException, lambda error: (jsonify(detail=error.description), error.code or 500))
    install(app, db)  # respool

    Base.metadata.create_all(db.engine)
    with db.scope("fill the shelves") as session:  # respool: a session outside of a request
        if session.scalar(select(Product.id).limit(1)) is None:
            goods = [(category, *each) for category, goods in GOODS.items() for each in goods]
            session.execute(
                insert(Product),
                [
                    {"id": place, "name": name, "category": category, "price_cents": price, "stock": FULL_SHELF}
                    for place, (category, name, price) in enumerate(goods, 1)
                ],
            )
    return app


def set_up_sqlite(connection: Any, _record: object) -> None:
    """Readers beside a writer, references that hold, and writers that wait for one another (milliseconds)."""
    for pragma in ("busy_timeout = 30000", "journal_mode = WAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A small shop with Flask and threads.")
    parser.add_argument("--port", type=int, default=5000)
    options = parser.parse_args()
    create_app().run(port=options.port, threaded=True)
