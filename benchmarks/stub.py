"""A database that is not there: its connections cost nothing, so that only the pools' own work is measured.

``StubServer`` counts what is open, and can be slow or away.  ``StubDialect`` lets SQLAlchemy speak to it::

    create_engine("stub://", creator=server.connect)
    create_async_engine("stub+asyncio://", creator=server.connect_in_greenlet)
"""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

from sqlalchemy.dialects import registry
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import await_only

__all__ = ["StubConnection", "StubDialect", "StubServer"]


class StubConnection:
    """What every pool under test asks of a connection: to be closed, and (SQLAlchemy's) to be rolled back."""

    def __init__(self, server: StubServer) -> None:
        self._server = server

    def rollback(self) -> None:
        """Nothing was done."""

    def commit(self) -> None:
        """Nothing was done."""

    def close(self) -> None:
        self._server.count(-1)

    async def aclose(self) -> None:
        self.close()


class StubServer:
    """Opens stub connections, and counts those that are open."""

    def __init__(self) -> None:
        self.open = 0
        self.connect_seconds = 0.0  #: how long a connect takes that begins now
        self.away = False  #: whether a connect that begins now is refused in the end
        self._lock = threading.Lock()

    def connect(self) -> StubConnection:
        seconds, refused = self.connect_seconds, self.away
        if seconds:
            time.sleep(seconds)
        return self._answer(refused)

    async def connect_async(self) -> StubConnection:
        seconds, refused = self.connect_seconds, self.away
        if seconds:
            await asyncio.sleep(seconds)
        return self._answer(refused)

    def connect_in_greenlet(self) -> StubConnection:
        """The same for SQLAlchemy's async engines."""
        return await_only(self.connect_async())

    def count(self, change: int) -> None:
        with self._lock:
            self.open += change

    def _answer(self, refused: bool) -> StubConnection:
        if refused:
            raise ConnectionRefusedError("the stub server is away")
        self.count(+1)
        return StubConnection(self)


class StubError(Exception):
    """The stub driver's only error."""


class StubDialect(DefaultDialect):
    """SQLAlchemy's side of it."""

    name = driver = "stub"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        return SimpleNamespace(paramstyle="qmark", Error=StubError, OperationalError=StubError)

    def initialize(self, connection: Any) -> None:
        """There is nothing to find out."""

    def do_ping(self, dbapi_connection: Any) -> bool:
        return True


class AsyncStubDialect(StubDialect):
    is_async = True
    has_terminate = True


registry.register("stub", __name__, "StubDialect")
registry.register("stub.asyncio", __name__, "AsyncStubDialect")
