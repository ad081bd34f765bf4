"""What a read and a write say on the wire, recorded: ``python -m tests.docs.wire URL`` writes ``docs/explanation/wire.json``.

The URL is that of an empty PostgreSQL database, with psycopg. ``scripts/draw_ways.py`` draws what is recorded.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import create_engine, make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from respool import Database
from scripts.draw_ways import RECORDED
from tests.support.trips import TripCounter

__all__ = ["record"]


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"

    id: Mapped[int] = mapped_column(primary_key=True)
    stock: Mapped[int]


def _read(session: Any) -> None:
    session.info["product"] = session.get_one(Product, 1)


def _sell(session: Any) -> None:
    session.info["product"].stock -= 1


#: What a handler does, step by step: its code, and what to run for it.
STEPS: list[tuple[str, Callable[[Any], object]]] = [
    ("product = session.get(Product, 1)", _read),
    ("ask_somebody_else()", lambda session: None),
    ("product.stock -= 1", _sell),
    ("session.flush()", lambda session: session.flush()),
    ("ask_somebody_else()", lambda session: None),
    ("session.commit()", lambda session: session.commit()),
]


def record(url: str) -> list[dict[str, Any]]:
    """Each step: its code, what was said in each round trip, and whether a connection is held after it.

    Args:
        url: of a PostgreSQL database, with psycopg.
    """
    target = make_url(url)
    engine = create_engine(target)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(Product.__table__.insert().values(id=1, stock=9))
    engine.dispose()
    with TripCounter(target.host or "", target.port or 0) as trips:
        there = target.set(host="127.0.0.1", port=trips.port).update_query_dict({"sslmode": "disable"})
        db = Database(there, name="wire")
        try:
            for _ in range(2):  # what happens once, such as connecting, is over then
                steps = []
                with db.scope("GET /products/1") as session:
                    trips.said()
                    for code, run in STEPS:
                        run(session)
                        said = [list(_statements(data)) for data in trips.said()]
                        held = session.holds_connection
                        steps.append({"code": code, "trips": said, "held": held})
        finally:
            db.close()
    return steps


def _statements(data: bytes) -> Iterator[str]:
    """The statements in what a client sends: of simple queries, and of those that are parsed with parameters."""
    place = 0
    while place + 5 <= len(data):
        kind, size = struct.unpack_from("!cI", data, place)
        body = data[place + 5 : place + 1 + size]
        if kind in (b"Q", b"P"):
            text = body.split(b"\0")[0 if kind == b"Q" else 1].decode()
            yield re.sub(r"SELECT .+? FROM", "SELECT … FROM", " ".join(text.split())).replace("::INTEGER", "")
        place += 1 + size


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(record(sys.argv[1]), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {RECORDED}")
