"""The shop behind the WSGI servers: Flask on a Database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response

from respool import Database
from respool.web.flask import install
from tests.servers.common import ABOUT, LOCK, POOL, PORTION, PORTIONS, URL, USED_BEFORE_FORK, figures
from tests.servers.trouble import TROUBLE, LateCookies, Troubled, TroubledPool
from tests.session.shop import Order

app = Flask(__name__)
options = {"pool_observer": TroubledPool()} if TROUBLE else {}
db = Database(URL, pool=POOL, commit="on_success", engine_options=options)
install(app, db)
if TROUBLE:
    db.observe(Troubled())
    app.session_interface = LateCookies(db)


def use() -> int:
    with db.scope("before the fork") as session:
        return int(session.execute(ABOUT, {"number": 0}).one().backend)


before = use() if USED_BEFORE_FORK else 0


@app.get("/figures")
def tell() -> dict[str, int]:
    return figures(db)


@app.get("/check/<int:number>")
def check(number: int) -> dict[str, Any]:
    row = db.session.execute(ABOUT, {"number": number}).one()
    return {"number": row.number, "backend": row.backend, "pid": os.getpid(), "before": before}


@app.post("/order/<int:product>/<note>")
def order(product: int, note: str) -> str:
    db.session.add(Order(product_id=product, note=note))
    return note


@app.post("/slow/<int:key>/<note>")
def slow(key: int, note: str) -> str:
    db.session.add(Order(product_id=1, note=note))
    db.session.flush()
    db.session.execute(LOCK, {"key": key})
    return note


@app.post("/long/<note>")
def long(note: str) -> Response:
    db.session.add(Order(product_id=1, note=note))

    def body() -> Iterator[bytes]:
        for _ in range(PORTIONS):
            yield PORTION

    return Response(body())
