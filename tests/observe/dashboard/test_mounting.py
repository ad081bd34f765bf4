"""The page by ASGI and by WSGI, mounted where the frameworks mount things, and what it consists of."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.resources import files
from typing import Any

import pytest
from flask import Flask
from litestar import Litestar, asgi
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.routing import Mount
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from respool import Database
from respool.observe.dashboard import Dashboard, dashboard
from respool.observe.dashboard.content import RECENT, STATEMENTS
from respool.observe.observation import observation
from respool.web.asgi import RequestScopeMiddleware
from tests.web.clients import Answer, call_asgi, call_wsgi, living, talk_asgi

PAGE = files("respool.observe.dashboard").joinpath("page")
HOST = {"Host": "localhost"}


async def get(app: Any, path: str, method: str = "GET", **scope: Any) -> Answer:
    """Ask an ASGI application by a name that the page has."""
    return await call_asgi(app, path, method, scope={"headers": [(b"host", b"localhost")], **scope})


def get_wsgi(app: Any, path: str, method: str = "GET") -> Answer:
    def with_client(environ: Any, start_response: Any) -> Any:
        environ["REMOTE_ADDR"] = "127.0.0.1"
        environ["SERVER_PROTOCOL"] = "HTTP/1.1"
        return app(environ, start_response)

    return call_wsgi(with_client, path, method)


def starlette(page: Dashboard) -> Any:
    return Starlette(routes=[Mount("/respool", page)])


def fastapi(page: Dashboard) -> Any:
    from fastapi import FastAPI

    app = FastAPI()
    app.mount("/respool", page)
    return app


def litestar(page: Dashboard) -> Any:
    @asgi("/respool", is_mount=True, copy_scope=True)
    async def mount(scope: Any, receive: Any, send: Any) -> None:
        await page.asgi(scope, receive, send)

    return Litestar([mount])


@pytest.mark.parametrize("mounted", [starlette, fastapi, litestar])
async def test_mounted_in_an_asgi_framework(db: Database, mounted: Any) -> None:
    app = mounted(dashboard(db, title="Shop"))
    page = await get(app, "/respool/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<title>Shop: databases</title>" in page.body
    assert b'data-live="stream"' in page.body
    without = await get(app, "/respool")
    assert without.headers["location"] in ("./respool/", "http://localhost/respool/")
    assert (await get(app, "/respool/main.js")).headers["content-type"] == "text/javascript; charset=utf-8"
    seen = json.loads((await get(app, "/respool/live")).body)
    assert [each["name"] for each in seen["databases"]] == ["shop"]
    assert (await get(app, "/respool/nowhere")).status == 404


async def test_within_the_scope_of_a_request(db: Database) -> None:
    app = RequestScopeMiddleware(starlette(dashboard(db)), db)
    assert (await get(app, "/respool/live")).status == 200
    assert db.pool.stats().total == 0


def test_mounted_in_a_wsgi_framework(db: Database) -> None:
    flask = Flask("shop")
    flask.wsgi_app = DispatcherMiddleware(flask.wsgi_app, {"/respool": dashboard(db)})  # type: ignore[method-assign]
    slash = get_wsgi(flask, "/respool")
    assert (slash.status, slash.headers["location"]) == (308, "./respool/")
    page = get_wsgi(flask, "/respool/")
    assert (page.status, b'data-live="poll"' in page.body) == (200, True)
    assert get_wsgi(flask, "/respool/live").headers["content-type"] == "application/json"
    assert get_wsgi(flask, "/respool/events").status == 404
    head = get_wsgi(flask, "/respool/", "HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(page.body)))


@pytest.mark.parametrize(
    "root, path", [("", "/respool"), ("/shop", "/shop/respool"), ("/shop", "/respool"), ("/shop/", "/shop/respool")]
)
async def test_the_slash_is_asked_for_relative_to_whatever_is_in_front(db: Database, root: str, path: str) -> None:
    async def nothing(*call: Any) -> None:
        raise AssertionError("the application is not asked")

    app = RequestScopeMiddleware(nothing, db, dashboard="/respool")
    answer = await get(app, path, root_path=root)
    assert (answer.status, answer.headers["location"]) == (308, "./respool/")
    assert (await get(app, f"{path}/", root_path=root)).status == 200


async def test_on_its_own(db: Database) -> None:
    page = dashboard(db)
    async with living(page) as said:
        assert (await get(page, "/")).status == 200
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert await talk_asgi(page, "/", []) == []


async def test_it_answers_while_there_is_no_connection_to_be_had(db: Database) -> None:
    with db.engine.connect(), db.engine.connect():
        seen = json.loads((await get(dashboard(db), "/live")).body)
        assert seen["databases"][0]["pool"]["acquired"] == 2


async def test_requests_that_are_over_are_few_where_it_is_live_and_all_in_the_snapshot(db: Database) -> None:
    page = dashboard(db)
    for number in range(RECENT + 5):
        with db.scope(f"job {number}") as session:
            session.execute(text("SELECT 1"))
    live, whole = [json.loads((await get(page, path)).body) for path in ("/live", "/snapshot")]
    assert len(live["databases"][0]["requests"]) == RECENT
    assert len(whole["databases"][0]["requests"]) == RECENT + 5
    assert live["databases"][0]["requests"][0]["label"] == f"job {RECENT + 4}"


async def test_statements_are_few_where_it_is_live_and_all_in_the_snapshot(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"kind": "get", "text": "SELECT", "planned": False, "why": "so", "advice": "do"}
    found = [{**row, "why": f"so {number}"} for number in range(STATEMENTS + 5)]
    plans = {"on": True, "advice": None, "known": len(found), "planned": 0, "obstacles": [], "statements": found}
    monkeypatch.setattr("respool.observe.snapshots.planning", lambda database: plans)
    live, whole = [json.loads((await get(dashboard(db), path)).body) for path in ("/live", "/snapshot")]
    (live, whole) = [seen["databases"][0]["plans"] for seen in (live, whole)]
    assert [row["why"] for row in live["statements"]] == [f"so {number}" for number in range(STATEMENTS)]
    assert len(whole["statements"]) == live["known"] == STATEMENTS + 5


def test_it_observes(db: Database) -> None:
    assert observation.databases == []
    dashboard(db)
    assert observation.databases == [db]


def test_a_title_is_text(db: Database) -> None:
    page = get_wsgi(dashboard(db, title="<script>alert(1)</script>"), "/").body
    assert b"<script>alert" not in page
    assert b"&lt;script&gt;alert" in page


def test_nothing_is_from_elsewhere_and_nothing_is_markup() -> None:
    for file in PAGE.iterdir():
        words = file.read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[^\s'\"]+", words)) <= {"http://www.w3.org/2000/svg"}, file.name
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|srcdoc", words
        ), file.name
        assert not re.search(r"<[a-z][^>]* (?:style|on[a-z]+)=", words), file.name


def test_the_page_and_its_scripts_speak_of_the_same_elements() -> None:
    page = PAGE.joinpath("page.html").read_text(encoding="utf-8")
    scripts = "".join(PAGE.joinpath(name).read_text(encoding="utf-8") for name in ("main.js", "tabs.js", "draw.js"))
    there, asked = set(re.findall(r' id="([\w-]+)"', page)), set(re.findall(r'\$\("([\w-]+)"\)', scripts))
    assert len(asked) > 20
    assert asked <= there


def test_without_a_page_nothing_of_it_is_loaded() -> None:
    code = "import sys, respool.web.asgi, respool.web.wsgi, respool.observe; print([m for m in sys.modules if 'dashboard' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_room_can_be_called_by_its_name() -> None:
    code = (
        "from respool import Database; import respool.observe.dashboard; from respool.observe import dashboard;"
        "print(type(dashboard(Database('sqlite://'))).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Dashboard"
