"""Flask-SQLAlchemy-Lite: ``db.session``, which handlers commit."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask_sqlalchemy_lite import SQLAlchemy

from benchmarks.applications.frameworks import in_flask
from benchmarks.applications.sessions import SessionWork


def make(url: str, size: int) -> Any:
    app = Flask(__name__)
    app.config["SQLALCHEMY_ENGINES"] = {
        "default": {"url": url.replace("postgresql:", "postgresql+psycopg:"), "pool_size": size, "max_overflow": 0}
    }
    db = SQLAlchemy()
    db.init_app(app)
    in_flask(app, SessionWork(commits=True), lambda: db.session)
    return app
