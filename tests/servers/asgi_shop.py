"""The shop behind the ASGI servers: FastAPI on an AsyncDatabase."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from respool import AsyncDatabase
from respool.web.fastapi import install
from tests.servers.common import ABOUT, LOCK, POOL, PORTION, PORTIONS, URL, USED_BEFORE_FORK, figures
from tests.servers.trouble import TROUBLE, LastMoment, Troubled, TroubledPool
from tests.session.shop import Order

app = FastAPI()
options = {"pool_observer": TroubledPool()} if TROUBLE else {}
db = AsyncDatabase(URL, pool=POOL, commit="on_success", engine_options=options)
install(app, db)
if TROUBLE:
    db.observe(Troubled())
    app.add_middleware(LastMoment, db=db)


async def use() -> int:
    async with db.scope("before the fork") as session:
        return int((await session.execute(ABOUT, {"number": 0})).one().backend)


before = asyncio.run(use()) if USED_BEFORE_FORK else 0


@app.get("/figures")
async def tell() -> dict[str, int]:
    return figures(db)


@app.get("/check/{number}")
async def check(number: int) -> dict[str, Any]:
    row = (await db.session.execute(ABOUT, {"number": number})).one()
    return {"number": row.number, "backend": row.backend, "pid": os.getpid(), "before": before}


@app.post("/order/{product}/{note}")
async def order(product: int, note: str) -> str:
    db.session.add(Order(product_id=product, note=note))
    return note


@app.post("/cut/{microseconds}/{note}")
async def cut(microseconds: int, note: str) -> str:
    db.session.add(Order(product_id=1, note=note))
    return note


@app.post("/slow/{key}/{note}")
async def slow(key: int, note: str) -> str:
    db.session.add(Order(product_id=1, note=note))
    await db.session.flush()
    await db.session.execute(LOCK, {"key": key})
    return note


@app.post("/long/{note}")
async def long(note: str) -> StreamingResponse:
    db.session.add(Order(product_id=1, note=note))

    async def body() -> AsyncIterator[bytes]:
        for _ in range(PORTIONS):
            yield PORTION

    return StreamingResponse(body())
