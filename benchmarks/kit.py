"""The testing kit: the same hundred tests of a FastAPI application, each rolled back, and each with a database of its own.

Usage: python -m benchmarks.kit [TESTS]

Three ways, one process each, in turn: ``rolled back`` is ``respool_rollback``, ``copied`` is ``respool_fresh``, a copy of a
template; ``made`` makes database and tables for each test, as is usual. What is compared is pytest's own figure.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.postgres import PostgresServer

ROUNDS = 3
WAYS = ("rolled back", "copied", "made")
TABLES = 20

_SHOP = f"""
import os
from fastapi import Depends, FastAPI
from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from respool import AsyncDatabase, AsyncSession
from respool.web.fastapi import install, session_of

class Base(DeclarativeBase):
    pass

class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    stock: Mapped[int]

for number in range({TABLES - 1}):  # the rest of an application
    type(f"Table{{number}}", (Base,), {{
        "__tablename__": f"table_{{number}}",
        "__annotations__": {{"id": Mapped[int], "product_id": Mapped[int], "name": Mapped[str]}},
        "id": mapped_column(primary_key=True),
        "product_id": mapped_column(ForeignKey("product.id"), index=True),
        "name": mapped_column(unique=True),
    }})

db = AsyncDatabase(os.environ["SHOP_URL"], commit="on_success")
app = FastAPI()
install(app, db)

@app.post("/products/{{number}}")
async def add(number: int, session: AsyncSession = Depends(session_of(db))) -> int:
    session.add(Product(id=number, stock=1))
    return number

@app.get("/products")
async def products(session: AsyncSession = Depends(session_of(db))) -> list[int]:
    return list(await session.scalars(select(Product.id).order_by(Product.id)))
"""

_CONFTEST = """
import os
import pytest
from respool.testing import DatabaseTemplate, fresh_database
from shop import Base, db

@pytest.fixture(scope="session")
def respool_database():
    return DatabaseTemplate(db, Base.metadata.create_all)

@pytest.fixture
def made():
    with fresh_database(db, Base.metadata.create_all):
        yield

@pytest.fixture(autouse=True)
def isolated(request):
    request.getfixturevalue(
        {"rolled back": "respool_rollback", "copied": "respool_fresh", "made": "made"}[os.environ["WAY"]]
    )
"""

_TESTS = """
import os
import pytest
from httpx2 import ASGITransport, AsyncClient
from shop import Product, app, db

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
@pytest.mark.parametrize("number", range(int(os.environ["TESTS"])))
async def test_shop(number):
    async with db.scope("seed") as session:
        session.add(Product(id=1, stock=1))
    async with AsyncClient(transport=ASGITransport(app), base_url="http://shop") as client:
        assert (await client.post("/products/2")).status_code == 200
        assert (await client.get("/products")).json() == [1, 2]
"""


def run(folder: Path, way: str, url: str, tests: int) -> float:
    """Seconds that pytest takes for the tests."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "respool.testing.plugin", "-p", "anyio.pytest_plugin"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)],
        env={
            **os.environ,
            "WAY": way,
            "SHOP_URL": url,
            "TESTS": str(tests),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(rf"{tests} passed in ([\d.]+)s", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1])


def main(tests: int) -> None:
    with tempfile.TemporaryDirectory() as name, PostgresServer() as server:
        folder = Path(name)
        for file, text in (("shop.py", _SHOP), ("conftest.py", _CONFTEST), ("test_shop.py", _TESTS)):
            (folder / file).write_text(text, encoding="utf-8")
        print(f"{tests} tests, {TABLES} tables, the best of {ROUNDS} rounds, seconds")
        for kind, url in (("SQLite", "sqlite+aiosqlite:///shop.db"), ("PostgreSQL", server.url("asyncpg"))):
            best = dict.fromkeys(WAYS, float("inf"))
            for _ in range(ROUNDS):
                for way in WAYS:
                    best[way] = min(best[way], run(folder, way, url, tests))
            rolled_back = best["rolled back"]
            told = ", ".join(f"{way} {best[way]:.2f} ({best[way] / rolled_back:.1f} ×)" for way in WAYS)
            print(f"{kind}: {told}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
