"""Figures are added up by the template of a route, whichever the framework: never by the path that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text

from respool import AsyncDatabase
from respool.observe import observe
from respool.observe.recording.recorder import UNKNOWN, recorder_of
from respool.web.fastapi import install
from tests.session.shop import fill
from tests.web.contract import Place
from tests.web.stands import ALL
from tests.web.stands.base import Stand

#: As each framework writes it.
TEMPLATES = {
    "Starlette": "{what}/{number:int}",
    **dict.fromkeys(("Flask", "Quart", "Django", "Django (ASGI)"), "<what>/<int:number>"),
    **dict.fromkeys(("Sanic", "Sanic (ASGI)"), "<what:str>/<number:int>"),
    **dict.fromkeys(("Falcon", "Falcon (ASGI)"), "{what}/{number:int}"),
    "Bottle": "<what>/<number:int>",
}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.title())
async def test_the_template_is_told(kind: type[Stand], shop_url: str, tmp_path: Path) -> None:
    other_url = f"sqlite:///{tmp_path / 'other.db'}"
    fill(other_url)
    async with Place(kind, shop_url, other_url).open() as stand:
        db: Any = stand.db
        observation = observe(db)
        try:
            assert (await stand.call("/do/order/1")).status == 200
            recorder = recorder_of(db)
            assert recorder is not None
            recorder.read()
            told = UNKNOWN if kind.name in ("ASGI", "WSGI") else f"/do/{TEMPLATES.get(kind.name, '{what}/{number}')}"
            assert list(recorder.routes) == [f"POST {told}"]
        finally:
            observation.remove(db)


def test_the_prefixes_of_fastapis_routers_are_part_of_it(sqlite_file: str) -> None:
    db = AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}")
    app, router = FastAPI(), APIRouter(prefix="/tea")
    install(app, db)

    @router.get("/{name}")
    async def tea(name: str) -> None:
        await db.session.execute(text("SELECT 1"))

    app.include_router(router, prefix="/shop")
    observation = observe(db)
    try:
        with TestClient(app) as client:
            assert client.get("/shop/tea/green").status_code == 200
        recorder = recorder_of(db)
        assert recorder is not None
        recorder.read()
        assert list(recorder.routes) == ["GET /shop/tea/{name}"]
    finally:
        observation.remove(db)
