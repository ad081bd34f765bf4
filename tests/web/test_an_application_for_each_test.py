"""``create_app()`` once for each test, as every framework's documentation has it: 50 tests in one process, no warning.

Nobody closes the databases of those that have no start and stop, and the applications are of one name each.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODELS = """
from sqlalchemy import CheckConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"

    id: Mapped[int] = mapped_column(primary_key=True)
    stock: Mapped[int] = mapped_column(CheckConstraint("stock >= 0"))
"""

FLASK = """
from flask import Flask
from models import Base, Product
from respool import Database
from respool.web.flask import Respool, install

extension = Respool(commit="on_success")


def create_app(url, by_hand):
    app = Flask("shop")
    if by_hand:
        db = Database(url, commit="on_success")
        install(app, db)
    else:
        app.config["SQLALCHEMY_DATABASE_URI"] = url
        extension.init_app(app)
        db = extension
    with app.app_context():
        engine = db.engine if by_hand else db.database.engine
        Base.metadata.create_all(engine)

    @app.post("/products/<int:number>")
    def make(number):
        db.session.add(Product(id=number, stock=number))
        return {}

    @app.get("/products")
    def count():
        return {"count": db.session.query(Product).count()}

    return app
"""

TEST_FLASK = """
import pytest
from shop import create_app


@pytest.fixture
def client(tmp_path, request):
    app = create_app(f"sqlite:///{tmp_path}/shop.db", request.node.callspec.params["number"] % 2)
    return app.test_client()


@pytest.mark.parametrize("number", range(50))
def test_one_more(client, number):
    assert client.post(f"/products/{number}").status_code == 200
    assert client.get("/products").json == {"count": 1}
"""

FASTAPI = """
from fastapi import Depends, FastAPI
from models import Base, Product
from respool import AsyncDatabase
from respool.web.fastapi import install, session_of
from sqlalchemy import func, select

shared = AsyncDatabase("sqlite+aiosqlite:///shared.db", commit="on_success")


def create_app(url):
    db = AsyncDatabase(url, commit="on_success") if url else shared
    app = FastAPI()
    install(app, db)

    @app.post("/products/{number}")
    async def make(number: int, session=Depends(session_of(db))):
        await session.run_sync(lambda session: Base.metadata.create_all(session.connection()))
        await session.merge(Product(id=number, stock=number))

    @app.get("/products")
    async def count(session=Depends(session_of(db))):
        return {"count": await session.scalar(select(func.count()).select_from(Product))}

    return app
"""

TEST_FASTAPI = """
import pytest
from fastapi.testclient import TestClient
from shop import create_app


@pytest.fixture
def client(tmp_path, request):
    with TestClient(create_app(f"sqlite+aiosqlite:///{tmp_path}/shop.db")) as client:
        yield client


@pytest.fixture
def client_of_the_shared_database():
    with TestClient(create_app(None)) as client:
        yield client


@pytest.mark.parametrize("number", range(50))
def test_one_more(client, number):
    assert client.post(f"/products/{number}").status_code == 200
    assert client.get("/products").json() == {"count": 1}


@pytest.mark.parametrize("number", range(10))
def test_one_more_in_the_same(client_of_the_shared_database, number):
    assert client_of_the_shared_database.post(f"/products/{number}").status_code == 200
    assert client_of_the_shared_database.get("/products").json() == {"count": number + 1}
"""


@pytest.mark.parametrize(
    "shop, tests, passed",
    [(FLASK, TEST_FLASK, 50), (FASTAPI, TEST_FASTAPI, 60)],
    ids=["flask", "fastapi"],
)
def test_fifty_tests_pass(tmp_path: Path, shop: str, tests: str, passed: int) -> None:
    for name, text in {"models.py": MODELS, "shop.py": shop, "test_shop.py": tests}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(
        # the SQLite files of applications that nobody stops are closed when they are forgotten
        "[pytest]\nfilterwarnings =\n  error\n  ignore:unclosed database:ResourceWarning\n"
        "  ignore::pytest.PytestUnraisableExceptionWarning\n  ignore::DeprecationWarning\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--basetemp",
            str(tmp_path / "t"),
            "test_shop.py",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert f"{passed} passed" in done.stdout.splitlines()[-1], done.stdout + done.stderr
