"""The plugin as a user has it: a project of his own, its tests run by pytest, in any order and by several workers."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.postgres import PostgresServer

ROOT = Path(__file__).resolve().parent.parent.parent

_MODELS = """
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)

ALL = select(Product.id).order_by(Product.id)
"""

_SYNC = """
import os
from flask import Flask, jsonify
from models import ALL, Product
from respool import Database
from respool.web.flask import install

db = Database(os.environ["SHOP_URL"], commit="on_success")
app = Flask(__name__)
install(app, db)

@app.post("/<int:number>")
def add(number):
    db.session.add(Product(id=number))
    db.session.commit()
    return jsonify(list(db.session.scalars(ALL)))
"""

_ASYNC = """
import os
from fastapi import FastAPI
from models import ALL, Product
from respool import AsyncDatabase
from respool.web.fastapi import install

db = AsyncDatabase(os.environ["SHOP_URL"], commit="on_success")
app = FastAPI()
install(app, db)

@app.post("/{number}")
async def add(number: int):
    db.session.add(Product(id=number))
    await db.session.commit()
    return list(await db.session.scalars(ALL))
"""

_CONFTEST = """
import os
import random
import pytest
from models import Base, Product
from respool.testing import DatabaseTemplate
from shop import db

def create(connection):
    Base.metadata.create_all(connection)
    connection.execute(Product.__table__.insert(), {"id": 100})

@pytest.fixture(scope="session")
def respool_database():
    return DatabaseTemplate(db, create)

def pytest_collection_modifyitems(items):
    random.Random(os.environ["ORDER"]).shuffle(items)
"""

_SYNC_TESTS = """
import pytest
from shop import app, db

@pytest.mark.parametrize("number", range(8))
def test_rolled_back(respool_rollback, respool_no_leaks, number):
    assert respool_rollback is db
    assert app.test_client().post("/1").json == [1, 100]

@pytest.mark.parametrize("number", range(2))
def test_fresh(respool_fresh, number):
    assert app.test_client().post("/1").json == [1, 100]
    with db.scope("outer") as session:
        session.connection()
        with session.unit(new=True):
            pass
"""

_ASYNC_TESTS = """
import pytest
from fastapi.testclient import TestClient
from httpx import ASGITransport, AsyncClient
from shop import app, db

@pytest.mark.parametrize("number", range(4))
def test_in_a_client_of_threads(respool_rollback, number):
    with TestClient(app) as client:
        assert client.post("/1").json() == [1, 100]

@pytest.mark.parametrize("number", range(2))
def test_fresh(respool_fresh, number):
    with TestClient(app) as client:
        assert client.post("/1").json() == [1, 100]

async def asks(number):
    async with AsyncClient(transport=ASGITransport(app), base_url="http://shop") as client:
        assert (await client.post("/1")).json() == [1, 100]
"""

_ANYIO = """
@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.fixture
async def seeded(respool_rollback):
    from models import Product
    async with db.scope("seed") as session:
        session.add(Product(id=2))

@pytest.mark.anyio
@pytest.mark.parametrize("number", range(3))
async def test_anyio(respool_rollback, respool_no_leaks, number):
    await asks(number)

@pytest.mark.anyio
async def test_seeded_by_a_coroutine(seeded):
    async with AsyncClient(transport=ASGITransport(app), base_url="http://shop") as client:
        assert (await client.post("/1")).json() == [1, 2, 100]
"""

_ASYNCIO = """
@pytest.mark.asyncio
@pytest.mark.parametrize("number", range(3))
async def test_asyncio(respool_rollback, respool_no_leaks, number):
    await asks(number)
"""


_INI = "[pytest]\nfilterwarnings = error\n"


def run(folder: Path, url: str, *plugins: str, order: str = "1", options: Sequence[str] = ()) -> tuple[int, str]:
    """Run the tests of a project, with these plugins beside ours; the exit code, and what was said."""
    named = [word for plugin in ("respool.testing.plugin", *plugins) for word in ("-p", plugin)]
    path = os.pathsep.join([str(folder), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--rootdir", str(folder), "-p", "no:cacheprovider", *named, *options],
        cwd=folder,
        env={
            **os.environ,
            "SHOP_URL": url,
            "ORDER": order,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": path,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pytest.ini").write_text(_INI)
    (folder / "models.py").write_text(_MODELS)
    (folder / "conftest.py").write_text(_CONFTEST)
    return folder


def test_nothing_of_a_test_is_seen_in_the_next(project: Path) -> None:
    (project / "shop.py").write_text(_SYNC)
    (project / "test_shop.py").write_text(_SYNC_TESTS)
    for order in ("1", "2"):
        code, said = run(project, "sqlite:///developers.db", order=order)
        assert code == 0, said
        assert "10 passed" in said
    assert not (project / "developers.db").exists()


def test_nor_where_several_workers_run_them(project: Path, postgres: PostgresServer) -> None:
    (project / "shop.py").write_text(_SYNC)
    (project / "test_shop.py").write_text(_SYNC_TESTS)
    code, said = run(project, postgres.url("psycopg"), "xdist", options=["-n", "2"])
    assert code == 0, said
    assert "10 passed" in said


def test_the_same_with_anyio(project: Path) -> None:
    (project / "shop.py").write_text(_ASYNC)
    (project / "test_shop.py").write_text(_ASYNC_TESTS + _ANYIO)
    code, said = run(project, "sqlite+aiosqlite:///developers.db", "anyio.pytest_plugin")
    assert code == 0, said
    assert "10 passed" in said


@pytest.mark.skipif(importlib.util.find_spec("pytest_asyncio") is None, reason="pytest-asyncio is not installed")
def test_the_same_with_pytest_asyncio(project: Path, postgres: PostgresServer) -> None:
    (project / "shop.py").write_text(_ASYNC)
    (project / "test_shop.py").write_text(_ASYNC_TESTS + _ASYNCIO)
    (project / "pytest.ini").write_text(_INI + "asyncio_default_fixture_loop_scope = function\n")
    code, said = run(project, postgres.url("asyncpg"), "pytest_asyncio.plugin")
    assert code == 0, said
    assert "9 passed" in said


def test_a_project_without_its_fixture_is_told_what_to_write(project: Path) -> None:
    (project / "conftest.py").write_text("")
    (project / "test_shop.py").write_text("def test_it(respool_rollback):\n    pass\n\ndef test_other():\n    pass\n")
    code, said = run(project, "")
    assert code == 1
    assert "respool_database is not defined" in said
    assert "return DatabaseTemplate(db, Base.metadata.create_all)" in said
    assert "1 passed, 1 error" in said


def test_what_is_no_database_is_refused(project: Path) -> None:
    (project / "shop.py").write_text(_SYNC)
    conftest = (project / "conftest.py").read_text()
    (project / "test_shop.py").write_text(
        "def test_it(respool_rollback):\n    pass\n\ndef test_a(respool_fresh):\n    pass\n"
    )
    (project / "conftest.py").write_text(conftest.replace("return DatabaseTemplate(db, create)", "return db.engine"))
    code, said = run(project, "sqlite://")
    assert "gave an object of type Engine" in said
    (project / "conftest.py").write_text(conftest.replace("return DatabaseTemplate(db, create)", "return [db]"))
    code, said = run(project, "sqlite://")
    assert "gave the database 'default' as it is" in said
    assert "1 passed, 1 error" in said
    assert code == 1


def test_the_plugin_stands_in_the_package() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points.pytest11]\nrespool = "respool.testing.plugin"' in text
