"""A pytest plugin for other people's test suites: puts our sessions where the suite expects the stock ones.

They belong to no scope, as a session that is managed by hand.  ``FOREIGN_MODE`` is their ``begin``: ``on_use`` as with
SQLAlchemy's sessions, or ``on_write``; or ``together``, ``on_write`` with our pools below.

They read by plans; not with ``RESPOOL_PLANS=off``; with ``at_once`` a statement's first execution is answered by its plan.

One default is set back to SQLAlchemy's: ``expire_on_commit=True``, since much of the suite is about just that.  The name
in ``sqlalchemy.orm.session`` stays the stock class: the suite reads from it which methods a session has to have, and
calls each of them on the name that it imports, which is ours.
"""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import sqlalchemy.ext.asyncio
import sqlalchemy.orm
from at_once import answer_at_once
from foreign_results import leased, made

import respool
from respool.session.life import Life
from respool.session.reader import Reader
from respool.session.session import eligibility

MODE = os.environ["FOREIGN_MODE"]
BEGIN = "on_use" if MODE == "on_use" else "on_write"

if MODE == "together":
    import swap_pool  # noqa: F401


class Session(respool.Session):
    """Our session under the name that the suite looks for in error messages, with the stock session's default."""

    def __init__(self, bind: Any = None, *, expire_on_commit: bool = True, **options: Any) -> None:
        super().__init__(bind, expire_on_commit=expire_on_commit, **{**options, "begin": BEGIN})
        made[type(self).__name__] += 1

    def _connection_for_bind(self, *args: Any, **options: Any) -> Any:
        connection = super()._connection_for_bind(*args, **options)
        if isinstance(connection, Reader):
            leased()
        return connection


# As those of a database, they read by plans; what is overridden above hands on.
PLANS = os.environ.get("RESPOOL_PLANS", "on")
Life.planned = PLANS != "off"
eligibility.settle(Session)
if PLANS == "at_once":
    answer_at_once()


class AsyncSession(respool.AsyncSession):
    """The same for asyncio."""

    sync_session_class = Session

    def __init__(self, bind: Any = None, **options: Any) -> None:
        super().__init__(bind, **{**options, "begin": BEGIN})


def pytest_runtest_logfinish() -> None:
    """Some tests leave a listener with the suite's engine; under one that nobody knows all later reads had transactions."""
    testing = sys.modules.get("sqlalchemy.testing")
    if testing is not None and testing.db is not None and len(testing.db.dispatch.before_cursor_execute):
        testing.db.dispatch.before_cursor_execute.clear()


def _swap(module: Any, maker: Any, ours: type[Any]) -> None:
    setattr(module, ours.__name__, ours)
    maker.__init__.__kwdefaults__["class_"] = ours


# What our own modules find under SQLAlchemy's names stays SQLAlchemy's.
_stock = SimpleNamespace(**vars(sqlalchemy.orm))
for _name, _module in sys.modules.copy().items():
    if _name.startswith("respool.") and getattr(_module, "orm", None) is sqlalchemy.orm:
        vars(_module)["orm"] = _stock

_swap(sqlalchemy.orm, sqlalchemy.orm.sessionmaker, Session)
_swap(sqlalchemy.ext.asyncio, sqlalchemy.ext.asyncio.async_sessionmaker, AsyncSession)
