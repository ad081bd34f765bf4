"""The demo shop's application, in this process: every endpoint, and that a refusal changes nothing."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import func, select, text

from respool import AsyncDatabase, PoolConfig
from respool.cli.demo import catalogue
from respool.cli.demo.app import create_app
from respool.cli.demo.models import Order, OrderLine, Product
from tests.cli.shops import open_shop


@pytest.fixture
def url(sqlite_file: str) -> str:
    return f"sqlite+aiosqlite:///{sqlite_file}"


async def everything(db: AsyncDatabase) -> tuple[object, ...]:
    """All that is in the database, to be compared."""
    async with db.engine.connect() as connection:
        tables = (Product.__table__, Order.__table__, OrderLine.__table__)
        return tuple([(await connection.execute(select(table).order_by("id"))).all() for table in tables])


# -- products --------------------------------------------------------------------------------------------------------


async def test_products_come_a_page_at_a_time(url: str) -> None:
    async with open_shop(url) as (client, _):
        first = (await client.get("/products", params={"limit": 3})).json()
        second = (await client.get("/products", params={"limit": 3, "offset": 3})).json()
    rows = list(catalogue.products())
    assert first == {"items": rows[:3], "total": len(rows), "limit": 3, "offset": 0}
    assert second["items"] == rows[3:6]


async def test_products_are_found_by_name_and_category(url: str) -> None:
    async with open_shop(url) as (client, _):
        found = (await client.get("/products", params={"q": "TEAL", "category": "Yarn", "limit": 100})).json()
        wild = (await client.get("/products", params={"q": "100%"})).json()
        none = (await client.get("/products", params={"category": "Hats"})).json()
    expected = [row for row in catalogue.products() if "teal" in row["name"] and row["category"] == "Yarn"]
    assert expected
    assert found["items"] == expected
    assert found["total"] == len(expected)
    assert wild["total"] == 0  # a % is a sign like any other
    assert none == {"items": [], "total": 0, "limit": 20, "offset": 0}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "offset=-1", "offset=99999999999999999999", "q=%00", f"q={'a' * 101}"]
)
async def test_a_query_that_is_not_accepted_is_422(url: str, query: str) -> None:
    async with open_shop(url) as (client, _):
        answer = await client.get(f"/products?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", query.partition("=")[0]]


async def test_one_product(url: str) -> None:
    async with open_shop(url) as (client, _):
        there = await client.get("/products/7")
        missing = await client.get("/products/99999")
        huge = await client.get("/products/99999999999999999999")
    assert (there.status_code, there.json()) == (200, next(r for r in catalogue.products() if r["id"] == 7))
    assert (missing.status_code, missing.json()) == (404, {"detail": "no product 99999"})
    assert huge.status_code == 422


# -- orders ----------------------------------------------------------------------------------------------------------


async def test_an_order_takes_from_the_shelf_and_reads_back(url: str) -> None:
    async with open_shop(url) as (client, _):
        before = (await client.get("/products/1")).json()
        placed = await client.post("/orders", json={"product_id": 1, "quantity": 2})
        after = (await client.get("/products/1")).json()
        again = await client.get(placed.headers["location"])
        latest = (await client.get("/orders", params={"limit": 1})).json()
    order = placed.json()
    line = {"product_id": 1, "name": before["name"], "quantity": 2, "price_cents": before["price_cents"]}
    assert placed.status_code == 201
    assert (order["total_cents"], order["lines"]) == (2 * before["price_cents"], [line])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", order["created_at"])
    assert after == {**before, "stock": before["stock"] - 2}
    assert (again.status_code, again.json()) == (200, order)
    assert latest == {"items": [order]}


async def test_the_latest_orders_come_first(url: str) -> None:
    async with open_shop(url) as (client, _):
        numbers = [
            (await client.post("/orders", json={"product_id": each, "quantity": 1})).json()["id"] for each in (1, 2, 3)
        ]
        latest = (await client.get("/orders")).json()["items"]
        missing = await client.get("/orders/99999")
    assert [order["id"] for order in latest] == numbers[::-1]
    assert (missing.status_code, missing.json()) == (404, {"detail": "no order 99999"})


@pytest.mark.parametrize(
    "body, status",
    [
        ({"product_id": 1, "quantity": 1000}, 409),
        ({"product_id": 99999, "quantity": 1}, 404),
        ({"product_id": 1, "quantity": 0}, 422),
        ({"product_id": 1, "quantity": -1}, 422),
        ({"product_id": 1, "quantity": 1.5}, 422),
        ({"product_id": 1, "quantity": "2"}, 422),
        ({"product_id": 1, "quantity": True}, 422),
        ({"product_id": 2**31, "quantity": 1}, 422),
        ({"product_id": 1, "quantity": 1, "price_cents": 1}, 422),
        ({"product_id": 1}, 422),
        ([], 422),
    ],
)
async def test_a_refused_order_changes_nothing(url: str, body: object, status: int) -> None:
    async with open_shop(url) as (client, db):
        before = await everything(db)
        answer = await client.post("/orders", json=body)
        after = await everything(db)
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert after == before


async def test_the_last_pieces_are_sold_once(url: str) -> None:
    async with open_shop(url) as (client, _):
        stock = (await client.get("/products/1")).json()["stock"]
        assert (await client.post("/orders", json={"product_id": 1, "quantity": stock - 3})).status_code == 201
        wishes = [client.post("/orders", json={"product_id": 1, "quantity": 1}) for _ in range(8)]
        statuses = sorted(answer.status_code for answer in await asyncio.gather(*wishes))
        left = (await client.get("/products/1")).json()["stock"]
    assert statuses == [201] * 3 + [409] * 5
    assert left == 0


async def test_writers_on_sqlite_stand_in_line_without_a_connection(url: str) -> None:
    async with open_shop(url) as (_, db):
        app = create_app(db)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://shop") as client:
            async with app.state.writing:
                second = asyncio.create_task(client.post("/orders", json={"product_id": 1, "quantity": 1}))
                while not app.state.writing._waiters:
                    await asyncio.sleep(0)
                assert db.pool.stats().acquired == 0
            assert (await second).status_code == 201


async def test_restocking_fills_the_shelf(url: str) -> None:
    async with open_shop(url) as (client, _):
        await client.post("/orders", json={"product_id": 1, "quantity": 5})
        filled = await client.post("/products/1/restock")
        there = (await client.get("/products/1")).json()
        missing = await client.post("/products/99999/restock")
    assert filled.status_code == 200
    assert filled.json() == there
    assert there["stock"] == catalogue.FULL_SHELF
    assert missing.status_code == 404


# -- the database ----------------------------------------------------------------------------------------------------


async def test_a_second_start_keeps_the_orders_and_fills_nothing_twice(url: str) -> None:
    async with open_shop(url) as (client, _):
        order = (await client.post("/orders", json={"product_id": 1, "quantity": 2})).json()
    async with open_shop(url) as (client, db):
        assert (await client.get(f"/orders/{order['id']}")).json() == order
        async with db.scope("count") as session:
            assert await session.scalar(select(func.count()).select_from(Product)) == len(list(catalogue.products()))


async def test_sqlite_is_set_up(url: str) -> None:
    async with open_shop(url) as (_, db), db.engine.connect() as connection:
        pragmas = [(await connection.scalar(text(f"PRAGMA {each}"))) for each in ("journal_mode", "foreign_keys")]
    assert pragmas == ["wal", 1]


async def test_it_works_on_postgresql(postgres: object, pg_url: str) -> None:
    for driver in ("psycopg", "asyncpg"):
        async with open_shop(pg_url.replace("psycopg", driver)) as (client, db):
            placed = await client.post("/orders", json={"product_id": 1, "quantity": 2})
            assert placed.status_code == 201, placed.text
            assert (await client.get(placed.headers["location"])).json() == placed.json()
            before = await everything(db)
            assert (await client.post("/orders", json={"product_id": 1, "quantity": 1000})).status_code == 409
            assert (await client.get("/products", params={"q": "teal"})).json()["total"] > 0
            assert await everything(db) == before
            assert db.scopes() == ()


# -- what is seen of it ----------------------------------------------------------------------------------------------


async def test_the_snapshot_answers_while_the_pool_is_exhausted(url: str) -> None:
    async with open_shop(url, PoolConfig(max_size=1)) as (client, db):
        async with db.scope("inventory") as session:
            await session.connection()
            answer = await asyncio.wait_for(client.get("/_respool"), 30)
        after = (await client.get("/_respool")).json()
    (seen,) = answer.json()["databases"]
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert (seen["pool"]["max_size"], seen["pool"]["acquired"], seen["pool"]["idle"]) == (1, 1, 0)
    assert [(scope["label"], scope["holds_connection"]) for scope in seen["scopes"]] == [("inventory", True)]
    assert after["databases"][0]["scopes"] == []
    assert after["databases"][0]["pool"]["acquired"] == 0


@pytest.mark.parametrize("path, kind", [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")])
async def test_the_page_loads_nothing_from_elsewhere(url: str, path: str, kind: str) -> None:
    async with open_shop(url) as (client, _):
        answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "'unsafe" not in answer.headers["content-security-policy"]
    addresses = set(re.findall(r"https?://[^\s'\"]+", answer.text)) - {"http://www.w3.org/2000/svg"}
    assert addresses == set()


async def test_the_page_and_its_script_speak_of_the_same_elements(url: str) -> None:
    async with open_shop(url) as (client, _):
        page, script = (await client.get("/")).text, (await client.get("/page.js")).text
        answer: httpx2.Response = await client.get("/_respool")
    there = set(re.findall(r' id="([\w-]+)"', page))
    asked = set(re.findall(r'(?:\$|write)\("([\w-]+)"', script))
    assert asked
    assert asked <= there
    pool = answer.json()["databases"][0]["pool"]
    for name in set(re.findall(r"\bpool\.(\w+)", script)):
        assert name in pool
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", script)


def test_the_catalogue_is_the_same_every_time() -> None:
    first, second = list(catalogue.products()), list(catalogue.products())
    assert first == second
    assert [row["id"] for row in first] == list(range(1, len(first) + 1))
    assert len({row["name"] for row in first}) == len(first) > 200
    assert all(0 < row["stock"] <= catalogue.FULL_SHELF and row["price_cents"] > 0 for row in first)


def test_the_page_is_in_the_package() -> None:
    folder = Path(catalogue.__file__).parent / "page"
    assert {file.name for file in folder.iterdir()} == {"page.html", "page.css", "page.js"}
