"""The testing kit: one test of a FastAPI application, rolled back, and with a database of its own, a hundred times.

Usage: python -m benchmarks.kit [TESTS]

Three ways, in turn: ``rolled back``; ``copied``, a copy of a template for each test; ``made``, database and tables made for
each, as is usual. Prints milliseconds of a test, and how many times as long as one that is rolled back it takes.
"""

# Annotations are evaluated here: FastAPI cannot see the local names of a postponed one.
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from httpx2 import ASGITransport, AsyncClient
from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from respool import AsyncDatabase, AsyncSession
from respool.testing import DatabaseTemplate, fresh_database
from respool.web.fastapi import install, session_of
from tests.support.postgres import PostgresServer

TABLES = 20


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"

    id: Mapped[int] = mapped_column(primary_key=True)
    stock: Mapped[int]


for _number in range(TABLES - 1):  # the rest of an application
    type(
        f"Table{_number}",
        (Base,),
        {
            "__tablename__": f"table_{_number}",
            "__annotations__": {"id": Mapped[int], "product_id": Mapped[int], "name": Mapped[str]},
            "id": mapped_column(primary_key=True),
            "product_id": mapped_column(ForeignKey("product.id"), index=True),
            "name": mapped_column(unique=True),
        },
    )


def shop(db: AsyncDatabase[Any]) -> FastAPI:
    """The application that is tested."""
    app = FastAPI()
    install(app, db)
    session_here = Annotated[AsyncSession, Depends(session_of(db))]

    @app.post("/products/{number}")
    async def add(number: int, session: session_here) -> int:
        session.add(Product(id=number, stock=1))
        return number

    @app.get("/products")
    async def products(session: session_here) -> list[int]:
        return list(await session.scalars(select(Product.id).order_by(Product.id)))

    return app


async def test(db: AsyncDatabase[Any], app: FastAPI) -> None:
    """Seed, write, read."""
    async with db.scope("seed") as session:
        session.add(Product(id=1, stock=1))
    async with AsyncClient(transport=ASGITransport(app), base_url="http://shop") as client:
        assert (await client.post("/products/2")).status_code == 200
        assert (await client.get("/products")).json() == [1, 2]


def measure(url: str, tests: int) -> dict[str, list[float]]:
    """Seconds of each test, by way."""
    db = AsyncDatabase(url, commit="on_success")
    app = shop(db)
    found: dict[str, list[float]] = {}
    with DatabaseTemplate(db, Base.metadata.create_all) as template:
        ways: dict[str, Callable[[], AbstractContextManager[Any]]] = {
            "rolled back": template.rolled_back,
            "copied": template.fresh,
            "made": lambda: fresh_database(db, Base.metadata.create_all),
        }
        for number in range(tests + 1):
            for name, way in ways.items():
                began = time.perf_counter()
                with way():
                    asyncio.run(test(db, app))
                if number:  # in the first round the template is made
                    found.setdefault(name, []).append(time.perf_counter() - began)
    return found


def main(tests: int) -> None:
    with tempfile.TemporaryDirectory() as folder, PostgresServer() as server:
        print(f"{tests} tests each, {TABLES} tables")
        for url in (f"sqlite+aiosqlite:///{folder}/shop.db", server.url("asyncpg")):
            found = {name: statistics.mean(seconds) for name, seconds in measure(url, tests).items()}
            told = (f"{name} {mean * 1e3:.0f} ms ({mean / found['rolled back']:.1f} ×)" for name, mean in found.items())
            print(f"{url.partition(':')[0]}: {', '.join(told)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
