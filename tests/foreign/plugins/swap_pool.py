"""A pytest plugin for SQLAlchemy's own test suite: puts our pools where the suite expects the stock ones.

The suite takes ``QueuePool`` and ``AsyncAdaptedQueuePool`` from these modules, and so do SQLAlchemy's dialects when an
engine is made without a ``poolclass``.  So the names are replaced before the suite is imported.  ``FOREIGN_MODE`` is
``as_queue_pool``; ``fair``, our defaults, with every server taken for near; or ``far``, the same with every server taken
for far, so that BEGIN goes along with a first statement.
"""

from __future__ import annotations

import os
from math import inf
from typing import Any

import sqlalchemy
import sqlalchemy.pool
import sqlalchemy.pool.impl
from foreign_results import made

from respool.engine import AsyncFairPool, FairPool
from respool.engine.dialects import pipelining

MODE = os.environ["FOREIGN_MODE"]

# else it would be chance: a busy machine's own server looks far
pipelining.FAR = -inf if MODE == "far" else inf

#: What a stock pool does by default, in arguments that every user of ours can give too.
STOCK_ARGUMENTS = {
    "pool_size": 5,
    "max_overflow": 10,
    "timeout": 30.0,
    "use_lifo": False,
    "as_queue_pool": MODE == "as_queue_pool",
}


class QueuePool(FairPool):
    """Our pool under the name that the suite looks for in error messages, with the stock pool's arguments."""

    def __init__(self, creator: Any, **arguments: Any) -> None:
        if "pool_config" not in arguments:  # else it is a copy of a pool, made by recreate()
            arguments = {**STOCK_ARGUMENTS, **arguments}
        super().__init__(creator, **arguments)
        made[type(self).__name__] += 1


class AsyncAdaptedQueuePool(AsyncFairPool, QueuePool):
    """The same for asyncio; a ``QueuePool``, as the stock one is."""


for _module in (sqlalchemy, sqlalchemy.pool, sqlalchemy.pool.impl):
    for _ours in (QueuePool, AsyncAdaptedQueuePool):
        setattr(_module, _ours.__name__, _ours)
