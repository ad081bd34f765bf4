"""A lending library: its catalogue, its members, and who has which book."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from flask import Flask

from library import catalogue, commands, errors, loans, members
from library.extensions import db


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ.get("LIBRARY_DATABASE", "sqlite:///library.db")
    app.config["LOAN_DAYS"] = 28
    app.config.update(config or {})
    db.init_app(app)
    app.register_blueprint(catalogue.blueprint)
    app.register_blueprint(members.blueprint)
    app.register_blueprint(loans.blueprint)
    commands.register(app)
    errors.register(app)
    return app
