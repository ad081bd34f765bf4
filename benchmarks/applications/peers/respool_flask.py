"""respool with Flask and psycopg."""

from __future__ import annotations

from typing import Any

from flask import Flask

from benchmarks.applications.frameworks import in_flask
from benchmarks.applications.sessions import SessionWork
from respool import Database, PoolConfig
from respool.web.flask import install


def make(url: str, size: int, max_waiting: int | None = None) -> Any:
    db = Database(
        url.replace("postgresql:", "postgresql+psycopg:"),
        commit="on_success",
        pool=PoolConfig(max_size=size, max_waiting=max_waiting),
    )
    app = Flask(__name__)
    install(app, db)
    in_flask(app, SessionWork(commits=False), lambda: db.session)
    return app
