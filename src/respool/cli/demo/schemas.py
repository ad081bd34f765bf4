"""What the shop takes and gives as JSON."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from respool.cli.demo.models import Order, Product

__all__ = ["Number", "OrderIn", "OrderOut", "OrderPage", "ProductOut", "ProductPage"]

#: An id: what fits into an INTEGER column of every database.
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]


class ProductOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    category: str
    price_cents: int
    stock: int


class ProductPage(BaseModel):
    items: list[ProductOut]
    total: int
    limit: int
    offset: int

    @classmethod
    def of(cls, found: list[Product], total: int, limit: int, offset: int) -> ProductPage:
        items = [ProductOut.model_validate(product) for product in found]
        return cls(items=items, total=total, limit=limit, offset=offset)


class OrderIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    product_id: Number
    quantity: Annotated[int, Field(ge=1, le=1000)]


class LineOut(BaseModel):
    product_id: int
    name: str
    quantity: int
    price_cents: int


class OrderOut(BaseModel):
    id: int
    created_at: str
    total_cents: int
    lines: list[LineOut]

    @classmethod
    def of(cls, order: Order) -> OrderOut:
        """From an order whose lines and products are loaded."""
        lines = [
            LineOut(
                product_id=line.product_id,
                name=line.product.name,
                quantity=line.quantity,
                price_cents=line.price_cents,
            )
            for line in order.lines
        ]
        created_at = order.created_at.replace(tzinfo=UTC).isoformat(timespec="milliseconds")
        return cls(id=order.id, created_at=created_at, total_cents=order.total_cents, lines=lines)


class OrderPage(BaseModel):
    items: list[OrderOut]
