"""The demo's troubles: each one is found, at the line that has it; and by a new user, whatever he looks at."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from respool import AsyncDatabase, PoolConfig
from respool.cli.demo import trouble
from respool.cli.demo.app import create_app
from respool.cli.demo.store import open_database, prepare
from respool.observe.findings import holding
from respool.observe.findings.board import Board
from respool.observe.findings.connects import Connects
from respool.observe.findings.holding import Holding
from respool.observe.findings.loops import Loops
from respool.observe.observation import observation
from respool.observe.recording.recorder import recorder_of
from tests.cli.shops import run, running_demo
from tests.support.browser import BrowserMissing, opened

SOURCE = Path(trouble.__file__).read_text(encoding="utf-8")


def line_of(words: str) -> str:
    """Where the guilty line is."""
    (number,) = [n for n, line in enumerate(SOURCE.splitlines(), 1) if words in line]
    return f"trouble.py:{number}"


GUILTY = {
    "hold": line_of("await asyncio.sleep(_ELSEWHERE)"),
    "leak": line_of("await db.engine.connect()"),
    "n+1": line_of('await session.refresh(order, ["lines"])'),
    "block": line_of("time.sleep(_COMPUTING)"),
    "db-away": "connection refused (by --trouble db-away)",
}


class Shop:
    """A shop with a trouble, in this process."""

    def __init__(self, db: AsyncDatabase, client: httpx2.AsyncClient) -> None:
        self.db, self.client, self.board = db, client, Board()

    @property
    def recorder(self) -> Any:
        return recorder_of(self.db)

    def found(self, kind: str, board: Board | None = None) -> list[str]:
        return [str(each.place) for each in (board or self.board).all() if each.kind.name == kind]


@pytest.fixture
def shop(sqlite_file: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """``async with shop("hold") as there``: its database is observed, and looked at by the test alone."""
    monkeypatch.setattr(observation, "_run", lambda: None)

    class Opened:
        def __init__(self, name: str) -> None:
            self.name = name

        async def __aenter__(self) -> Shop:
            self.db = open_database(f"sqlite+aiosqlite:///{sqlite_file}", PoolConfig(timeout=60))
            await prepare(self.db)
            app = create_app(self.db, trouble.routes_with(self.name))
            self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://shop")
            return Shop(self.db, self.client)

        async def __aexit__(self, *error: object) -> None:
            await self.client.aclose()
            observation.remove(self.db)
            await self.db.close()

    yield Opened
    observation.board.clear()


async def until(happens: Any) -> None:
    while not happens():
        await asyncio.sleep(0)


async def test_hold(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "_ELSEWHERE", 3600)
    async with shop("hold") as there:
        request = asyncio.create_task(there.client.get("/products/1"))
        look = Holding(there.board, 0.0).look

        def found() -> bool:
            look(there.recorder)
            return any(GUILTY["hold"] in place for place in there.found("held-idle"))

        await until(found)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)


async def test_leak(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "_GRACE", 0.0)
    async with shop("leak") as there:
        for _ in range(40):
            assert (await there.client.get("/orders")).status_code == 200
        Holding(there.board, 0.0).look(there.recorder)
        (place,) = there.found("leak")
        assert place.endswith(GUILTY["leak"])
        for connection in trouble._kept:
            await connection.close()
        trouble._kept.clear()


async def test_n_plus_one(shop: Any) -> None:
    async with shop("n+1") as there:
        for number in range(1, 6):
            answer = await there.client.post("/orders", json={"product_id": number, "quantity": 1})
            assert answer.status_code == 201
        orders = (await there.client.get("/orders", params={"limit": 5})).json()["items"]
        assert [order["lines"][0]["product_id"] for order in orders] == [5, 4, 3, 2, 1]
        there.recorder.read()
        assert any(place.endswith(GUILTY["n+1"]) for place in there.found("n-plus-one", observation.board))


async def test_block(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shop("block") as there:
        loops = Loops(there.board, 0.0)

        def look_twice() -> None:
            """A sign of life is asked for, and there is none."""
            loops.look(there.db)
            loops.look(there.db)

        with ThreadPoolExecutor(1) as elsewhere:
            # as Python's own is: no line of the user's
            file = os.path.join(sysconfig.get_path("stdlib"), "time.py")
            made: dict[str, Any] = {"elsewhere": elsewhere, "look_twice": look_twice}
            exec(compile("def sleep(seconds): elsewhere.submit(look_twice).result()", file, "exec"), made)
            monkeypatch.setattr(trouble, "time", SimpleNamespace(sleep=made["sleep"]))
            await find_it(there, loops)


async def find_it(there: Shop, loops: Loops) -> None:
    assert (await there.client.get("/products", params={"limit": 1})).status_code == 200
    loops.look(there.db)
    await asyncio.sleep(0)
    assert there.found("blocked-loop") == []
    assert (await there.client.get("/products", params={"q": "teal"})).json()["total"] > 0
    (place,) = there.found("blocked-loop")
    assert place.endswith(GUILTY["block"])


async def test_db_away(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: asyncio.Queue[None] = asyncio.Queue()

    async def sleep(seconds: float) -> None:
        await turns.get()

    monkeypatch.setattr(trouble, "asyncio", SimpleNamespace(sleep=sleep))
    async with shop("db-away") as there:
        going = asyncio.create_task(trouble.comes_and_goes(there.db))
        assert (await there.client.get("/products/1")).status_code == 200
        connects = Connects(there.board, 60.0)
        connects.look(there.db)
        turns.put_nowait(None)
        await until(lambda: turns.empty() and there.db.pool.stats().total == 0)
        request = asyncio.create_task(there.client.get("/products/1"))
        await until(lambda: there.db.pool.stats().database_away)
        connects.look(there.db)
        (found,) = there.board.all()
        assert (found.kind.name, GUILTY["db-away"] in found.facts[0]) == ("database-away", True)
        turns.put_nowait(None)
        assert (await request).status_code == 200
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)


def test_there_is_no_other_trouble(tmp_path: Path) -> None:
    code, _, errors = run(tmp_path, "demo", "--trouble", "rain")
    assert code == 2
    assert all(name in errors for name in trouble.TROUBLES)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real one, where there is one."""
    try:
        with opened() as browser:
            yield browser
    except BrowserMissing:
        yield None


@pytest.mark.slow
@pytest.mark.parametrize("name", trouble.TROUBLES)
def test_a_new_user_finds_it_within_a_minute(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What is wrong, and where: from the page alone, from ``top`` alone, from /metrics alone and from the log alone."""
    sockets = tmp_path / "sockets"
    sockets.mkdir(mode=0o700)
    monkeypatch.setenv("RESPOOL_OBSERVE_SOCKET", str(sockets))
    with running_demo(tmp_path, "--load", "10", "--trouble", name) as demo:
        if browser is not None:
            _from_the_page(browser, demo.address, name)
        kind, place = FOUND[name]
        until_it_says(lambda: run(tmp_path, "top", "--once")[1], re.escape(place))
        found = f'respool_finding="{kind}",respool_place="'
        until_it_says(lambda: demo.ask("/metrics/")[1].decode(), f'{found}.*{place if name != "db-away" else ""}"')
        _, _, log = demo.end(signal.SIGINT)
        assert place in log


#: The kind of finding, and what leads to it, in whatever says so.
FOUND = {
    "hold": ("held-idle", GUILTY["hold"]),
    "leak": ("leak", GUILTY["leak"]),
    "n+1": ("n-plus-one", GUILTY["n+1"]),
    "block": ("blocked-loop", GUILTY["block"]),
    "db-away": ("database-away", "connection refused"),
}


def until_it_says(ask: Callable[[], str], pattern: str) -> None:
    """Ask again until it does; the test's own limit ends it."""
    while not re.search(pattern, ask()):
        pass


def _from_the_page(browser: Any, address: str, name: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/")
    page.click("text=who holds what")
    where = GUILTY[name] if name != "db-away" else "does not answer"
    seen = "([words, found]) => document.querySelector(found).textContent.includes(words)"
    page.wait_for_function(seen, arg=[where, "#short" if name != "db-away" else "#verdict"], timeout=60_000)
    assert re.search(r"Do: \w", page.inner_text("#short"))
    page.click('nav a[href="#findings"]')
    page.wait_for_function(seen, arg=[GUILTY[name], "#findings-list"], timeout=60_000)
    page.close()
