"""A worker for tests: does what it is told, a line each, and says when it is done. Run as ``worker.py DATABASE APPLICATION``."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import warnings

from sqlalchemy import text

from respool import AsyncDatabase, Database, PoolConfig
from respool.observe import observe

gate = threading.Event()
holding = threading.Semaphore(0)
db = Database(f"sqlite:///{sys.argv[1]}", name="shop", begin="on_use", pool=PoolConfig(max_size=2, timeout=None))


def hold() -> None:
    with db.scope("GET /hold") as session:
        session.execute(text("SELECT 1"))
        holding.release()
        gate.wait()  # HOLDS


def queue() -> None:
    with db.scope("GET /queue") as session:
        session.execute(text("SELECT 2"))  # WAITS


def in_threads(function: object, count: int) -> None:
    for _ in range(count):
        threading.Thread(target=function, daemon=True).start()  # type: ignore[arg-type]


async def stand_still() -> None:
    other = AsyncDatabase(f"sqlite+aiosqlite:///{sys.argv[1]}", name="async")
    observe(other)
    async with other.scope("GET /block") as session:
        await session.execute(text("SELECT 3"))
    holding.release()
    gate.wait()  # BLOCKS


def fork() -> int:
    reading, writing = os.pipe()
    until, parent = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads run; that is what is tested
        child = os.fork()
    if child == 0:
        os.write(writing, b".")  # its hooks have run
        os.close(parent)
        os.read(until, 1)  # ends with its parent
        os._exit(0)
    os.read(reading, 1)
    return child


def do(command: str, count: int) -> object:
    if command == "hold":
        in_threads(hold, count)
        for _ in range(count):
            holding.acquire()
    elif command == "queue":
        in_threads(queue, count)
        while db.pool.stats().waiting < count:
            time.sleep(0.001)
    elif command == "block":
        in_threads(lambda: asyncio.run(stand_still()), 1)
        holding.acquire()
    elif command == "fork":
        return fork()
    return "done"


observe(db, application=sys.argv[2])
print("ready", flush=True)
for line in sys.stdin:
    words = [*line.split(), "1"]
    print(do(words[0], int(words[1])), flush=True)
