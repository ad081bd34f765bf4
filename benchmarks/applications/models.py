"""The two tables, for all that is built on SQLAlchemy."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Identity
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = ["Base", "Item", "Order", "plain"]


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    stock: Mapped[int]


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    token: Mapped[str]
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id", deferrable=True, initially="DEFERRED"))


def plain(item: Any) -> dict[str, Any]:
    """What is answered of an item, by whatever mapper it was loaded."""
    return {"id": item.id, "name": item.name, "stock": item.stock}
