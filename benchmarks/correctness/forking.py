"""Forks a process whose pool is warm: ``python -m benchmarks.correctness.forking KEY URL``; prints what the workers saw."""

from __future__ import annotations

import json
import logging
import os
import random
import select
import signal
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.util import setup_testing_defaults

from benchmarks.applications.peers import PEERS

WORKERS, READS, PATIENCE = 4, 100, 5.0


def read(app: Any, number: int) -> str:
    """One request: whether its row is its own."""
    environ: dict[str, Any] = {"PATH_INFO": f"/items/{number}"}
    setup_testing_defaults(environ)
    statuses = []
    parts = app(environ, lambda status, headers, exc_info=None: statuses.append(status))
    body = b"".join(parts)
    if hasattr(parts, "close"):
        parts.close()
    if not statuses[0].startswith("200"):
        return "error"
    return "right" if json.loads(body) == {"id": number, "name": f"item {number}", "stock": 1000000} else "wrong"


def work(app: Any, seed: int, out: int) -> None:
    """One worker: counts what it sees, and says so after each request."""
    chance = random.Random(seed)
    for _ in range(READS):
        try:
            seen = read(app, chance.randint(1, 1000))
        except Exception:
            seen = "error"
        os.write(out, seen[0].encode())


def main(key: str, url: str) -> None:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    app = PEERS[key].make(url, 5)
    with ThreadPoolExecutor(5) as threads:
        list(threads.map(lambda number: read(app, number), range(1, 51)))
    pipes: dict[int, int] = {}
    for seed in range(WORKERS):
        into, out = os.pipe()
        pid = os.fork()
        if pid == 0:
            work(app, seed, out)
            os._exit(0)
        os.close(out)
        pipes[into] = pid
    seen: Counter[str] = Counter()
    until, left = time.monotonic() + PATIENCE, dict(pipes)
    while left and (ready := select.select(list(left), [], [], max(0.0, until - time.monotonic()))[0]):
        for into in ready:
            data = os.read(into, 4096)
            seen.update(data.decode())
            if not data:
                del left[into]
    for pid in left.values():
        os.kill(pid, signal.SIGKILL)
    for pid in pipes.values():
        os.waitpid(pid, 0)
    counts = {"right": seen["r"], "wrong": seen["w"], "error": seen["e"], "hung": len(left)}
    print(json.dumps(counts), flush=True)
    os._exit(0)  # the pool's threads are not the question


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
