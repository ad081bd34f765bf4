"""``examples/flask_shop.py``: the same shop with threads."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from flask import Flask
from sqlalchemy import select

from respool import Database
from tests.cli.shops import environment

FILE = Path(__file__).resolve().parents[2] / "examples" / "flask_shop.py"


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("flask_shop", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["flask_shop"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["flask_shop"]


@pytest.fixture
def app(example: ModuleType, sqlite_file: str) -> Iterator[Flask]:
    app = example.create_app(f"sqlite:///{sqlite_file}")
    yield app
    app.extensions["shop_database"].close()


def everything(app: Flask, example: ModuleType) -> list[list[tuple[object, ...]]]:
    """All that is in the database, to be compared."""
    db: Database = app.extensions["shop_database"]
    with db.engine.connect() as connection:
        return [
            [tuple(row) for row in connection.execute(select(kind.__table__).order_by("id"))]
            for kind in (example.Product, example.Order, example.OrderLine)
        ]


def test_an_order_takes_from_the_shelf_and_reads_back(app: Flask) -> None:
    client = app.test_client()
    before = client.get("/products/1").get_json()
    placed = client.post("/orders", json={"product_id": 1, "quantity": 2})
    order = placed.get_json()
    assert placed.status_code == 201
    assert order["total_cents"] == 2 * before["price_cents"]
    assert client.get(placed.headers["Location"]).get_json() == order
    assert client.get("/orders?limit=1").get_json() == {"items": [order]}
    assert client.get("/products/1").get_json() == {**before, "stock": before["stock"] - 2}


@pytest.mark.parametrize(
    "body, status",
    [
        ({"product_id": 1, "quantity": 1000}, 409),
        ({"product_id": 99999, "quantity": 1}, 404),
        ({"product_id": 1, "quantity": 0}, 422),
        ({"product_id": 1, "quantity": "2"}, 422),
        ({"product_id": 1, "quantity": True}, 422),
        ({"product_id": 2**31, "quantity": 1}, 422),
        ({"product_id": 1}, 422),
        ([], 422),
    ],
)
def test_a_refused_order_changes_nothing(app: Flask, example: ModuleType, body: object, status: int) -> None:
    before = everything(app, example)
    answer = app.test_client().post("/orders", json=body)
    assert answer.status_code == status
    assert answer.get_json()["detail"]
    assert everything(app, example) == before


def test_products(app: Flask) -> None:
    client = app.test_client()
    page = client.get("/products?limit=2&offset=1").get_json()
    assert [each["id"] for each in page["items"]] == [2, 3]
    assert client.get("/products?q=YARN").get_json()["total"] == 3
    assert client.get("/products?category=Tools&limit=1").get_json()["total"] == 3
    for query in ("limit=0", "limit=101", "limit=²", "offset=-1"):
        assert client.get(f"/products?{query}").status_code == 422
    for number in ("99999", str(10**30)):
        assert client.get(f"/products/{number}").status_code == 404
        assert client.get(f"/orders/{number}").status_code == 404
        assert client.post(f"/products/{number}/restock").status_code == 404


def test_the_last_pieces_are_sold_once(app: Flask) -> None:
    client = app.test_client()
    assert client.post("/orders", json={"product_id": 1, "quantity": 97}).status_code == 201

    def buy(_: int) -> int:
        return app.test_client().post("/orders", json={"product_id": 1, "quantity": 1}).status_code

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(buy, range(8))) == [201] * 3 + [409] * 5
    assert client.get("/products/1").get_json()["stock"] == 0
    assert client.post("/products/1/restock").get_json()["stock"] == 100


def test_the_page_and_the_snapshot(app: Flask) -> None:
    client = app.test_client()
    assert "Tailor&#39;s shears" in client.get("/").text
    (seen,) = client.get("/_respool").get_json()["databases"]
    assert (seen["name"], seen["scopes"], seen["pool"]["acquired"]) == ("flask shop", [], 0)


def test_a_second_start_keeps_the_orders(app: Flask, example: ModuleType, sqlite_file: str) -> None:
    order = app.test_client().post("/orders", json={"product_id": 1, "quantity": 2}).get_json()
    app.extensions["shop_database"].close()
    again = example.create_app(f"sqlite:///{sqlite_file}")
    assert again.test_client().get(f"/orders/{order['id']}").get_json() == order
    assert again.test_client().get("/products").get_json()["total"] == len(everything(again, example)[0]) == 13
    again.extensions["shop_database"].close()


def test_it_runs_as_its_readme_says(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(FILE), "--port", "0"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        try:
            started = next(line for line in process.stderr if "Running on" in line)
            address = started.split()[-1]
            body = json.dumps({"product_id": 1, "quantity": 2}).encode()
            request = urllib.request.Request(f"{address}/orders", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert answer.status == 201
        finally:
            process.kill()
    assert (tmp_path / "flask-shop.db").exists()
