"""One small table in a real database, for the measurements of sessions."""

from __future__ import annotations

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

__all__ = ["Product", "fill"]


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "bench_product"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    stock: Mapped[int]


def fill(url: str) -> None:
    """Make the table, with one row."""
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Product(name="tea", stock=5))
        session.commit()
    engine.dispose()
