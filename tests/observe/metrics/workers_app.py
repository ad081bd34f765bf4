"""A WSGI application of several workers, which gives its metrics to Prometheus."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import text

from respool import Database, PoolConfig
from respool.observe.metrics.prometheus import wsgi_app

db = Database(os.environ["SHOP_URL"], name="shop", pool=PoolConfig(min_size=0, max_size=3))
metrics = wsgi_app(db)
if os.environ.get("SHOP_USED"):
    with db.scope("before the workers"):
        db.session.execute(text("SELECT 1"))


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/metrics":
        return metrics(environ, start_response)
    if environ["PATH_INFO"] == "/order":
        with db.scope("order") as session:
            session.connection()
            session.execute(text("SELECT pg_sleep(0.05)"))
            session.commit()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
