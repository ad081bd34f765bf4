"""Shops for the tests: in this process, and as a process of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2

from respool import AsyncDatabase, PoolConfig
from respool.cli.demo.app import create_app
from respool.cli.demo.store import open_database, prepare

SOURCE = Path(__file__).resolve().parents[2] / "src"


@asynccontextmanager
async def open_shop(
    url: str, pool: PoolConfig | None = None
) -> AsyncIterator[tuple[httpx2.AsyncClient, AsyncDatabase]]:
    """The demo's application on this database, without a socket."""
    db = open_database(url, pool)
    try:
        await prepare(db)
        transport = httpx2.ASGITransport(app=create_app(db))
        async with httpx2.AsyncClient(transport=transport, base_url="http://shop") as client:
            yield client, db
    finally:
        await db.close()


class Demo:
    """``respool demo`` as a process of its own, on a free port, in a folder of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            command("demo", "--port", "0", *options),
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # a buffer of ours would swallow lines that communicate() then misses
        )
        assert self.process.stdout is not None
        first = self.process.stdout.readline().decode()
        self.address = first.split()[-1] if first else ""

    def ask(self, path: str, body: object = None) -> tuple[int, Any]:
        """Send a request (a POST when there is a body); its status and its JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = answer.read()
            return answer.status, json.loads(content) if "json" in answer.headers["Content-Type"] else content

    def end(self, how: signal.Signals | None = None) -> tuple[int, str, str]:
        """Send a signal, or none, and wait for the end: the exit code, the output and the errors."""
        if how is not None:
            self.process.send_signal(how)
        try:
            output, errors = self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return self.process.returncode, output.decode(), errors.decode()


@contextmanager
def running_demo(folder: Path, *options: str) -> Iterator[Demo]:
    demo = Demo(folder, *options)
    try:
        yield demo
    finally:
        if demo.process.poll() is None:
            demo.process.kill()
        demo.process.communicate()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "respool", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1"}


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the command line to its end: the exit code, the output and the errors."""
    done = subprocess.run(
        command(*arguments), cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr
