"""What the two shops behind the servers have in common: where the database is, and what is told of a process."""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy import text

from respool import PoolConfig

__all__ = ["ABOUT", "LOCK", "POOL", "PORTION", "PORTIONS", "URL", "USED_BEFORE_FORK", "figures"]

URL = os.environ["SHOP_URL"]
#: Have a connection in the pool when the application is imported: with a server that forks later, before the fork.
USED_BEFORE_FORK = bool(os.environ.get("SHOP_USED"))

POOL = PoolConfig(max_size=4, timeout=20)

#: The number that was asked for comes back from the database, with who answered.
ABOUT = text("SELECT :number AS number, pg_backend_pid() AS backend")
#: Waits for as long as the test wants: it holds the lock.
LOCK = text("SELECT pg_advisory_xact_lock(:key)")

#: The parts of a long answer: more than the sockets' buffers hold.
PORTION, PORTIONS = b"x" * 65_536, 512


def figures(db: Any) -> dict[str, int]:
    """What a process has in use. The request that asks uses no session, so it does not count."""
    return {"pid": os.getpid(), "acquired": db.pool.stats().acquired, "scopes": len(db.scopes())}
