"""What is open in a pool of SQLAlchemy's own: such a pool counts places, not connections, and those without a pool nothing.

Each record of a connection is remembered from the moment when that is opened, for as long as somebody has it: then it is
idle, used, or without a connection.  What was detached from the pool is its taker's, as with our pools.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.pool import QueuePool

__all__ = ["OtherPool", "limits", "other_pool"]


class OtherPool:
    """The connections of one engine, from now on.

    Args:
        engine: the engine; events of its pool stay when it is disposed of.
    """

    def __init__(self, engine: Engine) -> None:
        self._records: dict[int, weakref.ref[Any]] = {}
        event.listen(engine, "connect", self._connected)

    def _connected(self, dbapi_connection: Any, record: Any) -> None:
        number, records = id(record), self._records
        records[number] = weakref.ref(record, lambda gone: records.pop(number) if records.get(number) is gone else None)

    def counts(self) -> tuple[int, int]:
        """How many connections are idle, and how many are used."""
        known = [record for each in list(self._records.values()) if (record := each()) is not None]
        connected = [record for record in known if record.dbapi_connection is not None]
        used = sum(record.in_use for record in connected)
        return len(connected) - used, used


_known: weakref.WeakKeyDictionary[Engine, OtherPool] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def other_pool(engine: Engine) -> OtherPool:
    """That of an engine; known from the first time on that it is asked for."""
    with _making:
        found = _known.get(engine)
        if found is None:
            found = _known[engine] = OtherPool(engine)
        return found


def limits(pool: Any) -> tuple[float | None, float | None]:
    """How many connections a pool of SQLAlchemy's own may have open, and keeps when they are idle, if it says so."""
    if not isinstance(pool, QueuePool):
        return None, None
    overflow = pool._max_overflow
    return (None if overflow < 0 or not pool.size() else pool.size() + overflow), pool.size() or None
