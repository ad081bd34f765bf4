"""What the tests of the kit keep in their databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, ForeignKey, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from respool import AsyncDatabase, Database


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    stock: Mapped[int] = mapped_column(default=0)


class Note(Base):
    """It may be written before its product is: the reference is looked at when all is committed."""

    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    product: Mapped[int] = mapped_column(ForeignKey("product.id", deferrable=True, initially="DEFERRED"))


def create(connection: Connection) -> None:
    """Make the tables, anew; MySQL and MariaDB look at references at once, and have no second one."""
    tables = [Product.__table__] if connection.dialect.name in ("mysql", "mariadb") else None
    Base.metadata.drop_all(connection, tables=tables)
    Base.metadata.create_all(connection, tables=tables)


def put(db: Database[Any], *numbers: int) -> None:
    """Commit products."""
    with db.scope("put") as session:
        session.add_all(Product(id=number, stock=number) for number in numbers)
        session.commit()


def numbers(db: Database[Any]) -> list[int]:
    """The products that are there for others."""
    with db.scope("look") as session:
        return list(session.scalars(select(Product.id).order_by(Product.id)))


async def put_async(db: AsyncDatabase[Any], *numbers: int) -> None:
    async with db.scope("put") as session:
        session.add_all(Product(id=number, stock=number) for number in numbers)
        await session.commit()


async def numbers_async(db: AsyncDatabase[Any]) -> list[int]:
    async with db.scope("look") as session:
        return list(await session.scalars(select(Product.id).order_by(Product.id)))
