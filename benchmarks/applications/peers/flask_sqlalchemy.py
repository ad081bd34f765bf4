"""Flask-SQLAlchemy: ``db.session``, which handlers commit."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from benchmarks.applications.frameworks import in_flask
from benchmarks.applications.models import Base
from benchmarks.applications.sessions import SessionWork


def make(url: str, size: int) -> Any:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = url.replace("postgresql:", "postgresql+psycopg:")
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_size": size, "max_overflow": 0}
    db = SQLAlchemy(app, model_class=Base)
    in_flask(app, SessionWork(commits=True), lambda: db.session())
    return app
