"""The interpreter ends without a word, whatever is still open, and a pool still works in its last functions."""

from __future__ import annotations

import subprocess
import sys

import pytest

THREADS = """
import atexit, sys, threading
import sqlalchemy as sa
from respool.engine import FairPool
from respool.pool import ConnectionPool

class Connection:
    def close(self): ...

pool = ConnectionPool(Connection, max_size=2, min_size=2)
held = [pool.acquire(), pool.acquire()]
waiting = threading.Thread(target=pool.acquire, daemon=True)
waiting.start()
while not pool.stats().waiting:
    pass
engine = sa.create_engine("sqlite:///" + sys.argv[1], poolclass=FairPool)
open_at_the_end = engine.connect()

@atexit.register
def last():
    with engine.connect() as connection:
        print(connection.scalar(sa.text("SELECT 'still works'")))
"""

LOOPS = """
import asyncio, sys
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from respool.engine import AsyncFairPool

engine = create_async_engine("sqlite+aiosqlite:///" + sys.argv[1], poolclass=AsyncFairPool)

async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # how fast this machine is says nothing
    async with engine.connect() as connection:
        result = await connection.scalar(sa.text("SELECT 'still works'"))
    await engine.dispose()
    return result

asyncio.run(main())
print(asyncio.run(main()))
"""

UNDISPOSED = LOOPS.replace("    await engine.dispose()\n", "")


@pytest.mark.parametrize("program", [THREADS, LOOPS, UNDISPOSED], ids=["threads", "loops", "undisposed"])
def test_promise_07_the_interpreter_ends_cleanly(program: str, sqlite_file: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program, sqlite_file],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "still works\n", "")
