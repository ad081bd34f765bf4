"""A small shop: the models that the tests of sessions and requests work with, and databases that hold it.

An order's product is checked at COMMIT only (a deferred foreign key), so that a COMMIT can be made to fail.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from sqlalchemy import Engine, ForeignKey, create_engine, event, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from respool import AsyncDatabase, Database, PoolConfig

SMALL = PoolConfig(max_size=3, timeout=5.0)


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    stock: Mapped[int] = mapped_column(default=0)
    orders: Mapped[list[Order]] = relationship(back_populates="product")


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id", deferrable=True, initially="DEFERRED"))
    note: Mapped[str] = mapped_column(default="")
    product: Mapped[Product] = relationship(back_populates="orders")


def enforce_foreign_keys(engine: Engine) -> None:
    """SQLite looks at foreign keys only when told to, on each connection."""
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _(connection: Any, record: object) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.close()


def fill(url: str) -> None:
    """Make the tables, and a product that can be ordered."""
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(Product.__table__.insert().values(id=1, name="tea", stock=5))
    engine.dispose()


def count(url: str, model: type[Base] = Order) -> int:
    """How many rows there are, seen by somebody else."""
    engine = create_engine(url)
    with engine.connect() as connection:
        found = connection.scalar(select(func.count()).select_from(model))
    engine.dispose()
    assert found is not None
    return found


@contextmanager
def opened(url: str, **keywords: Any) -> Iterator[Database]:
    """A database at a URL, closed afterwards."""
    database = Database(url, **{"pool": SMALL, **keywords})
    enforce_foreign_keys(database.engine)
    try:
        yield database
    finally:
        database.close()


@asynccontextmanager
async def opened_async(url: str, **keywords: Any) -> AsyncIterator[AsyncDatabase]:
    """An async database at a URL, closed afterwards."""
    database = AsyncDatabase(url, **{"pool": SMALL, **keywords})
    enforce_foreign_keys(database.engine.sync_engine)
    try:
        yield database
    finally:
        await database.close()


def acquired(database: Any) -> int:
    """How many connections are out of the pool."""
    return int(database.pool.stats().acquired)
