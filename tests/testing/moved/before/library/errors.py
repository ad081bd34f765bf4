from __future__ import annotations

from flask import Flask
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import HTTPException

from library.extensions import db


def register(app: Flask) -> None:
    @app.errorhandler(IntegrityError)
    def refused(error: IntegrityError) -> tuple[dict[str, str], int]:
        db.session.rollback()
        return {"error": "the database does not allow that"}, 409

    @app.errorhandler(HTTPException)
    def answered(error: HTTPException) -> tuple[dict[str, str], int]:
        return {"error": error.description or error.name}, error.code or 500
