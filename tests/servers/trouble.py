"""What goes wrong on purpose in the two shops, where ``SHOP_TROUBLE`` says so.

Observers that fail, block and go back in; extensions that write at the last moment before the first byte; and a time
limit inside of the application, which may run out at any moment of a COMMIT.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import MutableMapping
from typing import Any

from flask.sessions import NullSession, SecureCookieSessionInterface

from respool import SessionObserver
from respool.pool import PoolObserver
from tests.session.shop import Order

__all__ = ["TROUBLE", "LastMoment", "LateCookies", "Troubled", "TroubledPool", "late"]

#: Whether there is to be any.
TROUBLE = bool(os.environ.get("SHOP_TROUBLE"))

_chance = random.Random()


class NoExceptionError(BaseException):
    """What nobody catches by ``except Exception``."""


def _misbehave(again: Any = None) -> None:
    """Now and then fail, with what is no Exception, too; block; or go back to where one was called from."""
    what = _chance.random()
    if what < 0.02:
        raise RuntimeError("an observer's own")
    if what < 0.03:
        raise NoExceptionError("an observer's own")
    if what < 0.05:
        time.sleep(0.005)
    elif what < 0.08 and again is not None:
        again()


class Troubled(SessionObserver):
    """Hears of all steps that come too late to change anything."""

    def created(self, session: Any) -> None:
        _misbehave()

    def committed(self, session: Any, changes: Any) -> None:
        _misbehave(session.get_bind)

    def rolled_back(self, session: Any, lost: Any) -> None:
        _misbehave(session.get_bind)

    def closed(self, session: Any) -> None:
        _misbehave(session.connection)

    def removed(self, session: Any) -> None:
        _misbehave(session.connection)


class TroubledPool(PoolObserver):
    def connected(self, seconds: float) -> None:
        _misbehave()

    def connect_failed(self, error: BaseException) -> None:
        _misbehave()

    def closed(self, reason: str) -> None:
        _misbehave()


def late(note: str) -> Order:
    """The row of an extension that keeps books: it is there if that of the request is, and else it is not."""
    return Order(product_id=1, note=f"late {note}")


class LateCookies(SecureCookieSessionInterface):
    """Flask's browser sessions, kept by an extension in the database of the request.

    Args:
        db: that database.
    """

    def __init__(self, db: Any) -> None:
        self._db = db

    def open_session(self, app: Any, request: Any) -> Any:
        return NullSession()

    def is_null_session(self, obj: object) -> bool:
        return False

    def save_session(self, app: Any, session: Any, response: Any) -> None:
        from flask import request

        if request.endpoint == "order":
            self._db.session.add(late((request.view_args or {})["note"]))


class LastMoment:
    """ASGI: writes a row of its own before the first byte of an order's answer, and cuts off what takes too long.

    Args:
        app: what is within.
        db: the database of the request.
    """

    def __init__(self, app: Any, db: Any) -> None:
        self._app = app
        self._db = db

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        parts = scope.get("path", "").split("/")[1:]
        started = False

        async def last_moment(message: Any) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                if parts[0] == "order" and message["status"] == 200:
                    self._db.session.add(late(parts[2]))
                await send(message)
                started = True
            else:
                await send(message)

        if parts[0] != "cut":
            await self._app(scope, receive, last_moment)
            return
        try:
            async with asyncio.timeout(int(parts[1]) / 1_000_000):
                await self._app(scope, receive, last_moment)
        except TimeoutError:
            if started:
                raise
            await send({"type": "http.response.start", "status": 504, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})
