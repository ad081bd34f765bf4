"""``respool demo``: the shop under uvicorn, and with ``--load`` its simulated customers in a process of their own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import signal
import socket
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from types import FrameType
from typing import Any

import uvicorn
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from respool import AsyncDatabase, PoolConfig
from respool.cli.demo.app import create_app
from respool.cli.demo.store import open_database, prepare
from respool.cli.demo.trouble import TROUBLES, comes_and_goes, routes_with
from respool.engine import mask
from respool.errors import ConfigError, MissingExtra, PoolError, RespoolError

__all__ = ["run"]

#: Seconds that a request waits for a connection where there is a trouble to be found.
_IMPATIENT = 10.0
#: Seconds for the database to answer at the start; at the end for the customers to finish and report, for requests
#: under way, and for connections still held.
_START, _REPORT, _GRACE, _DRAIN = 5.0, 45.0, 5, 10.0


class _Stop(Exception):
    """The demo cannot start; the text is all that its user needs to know."""


class _Server(uvicorn.Server):
    """Leaves the signals to us: the customers have to finish before the server does."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(options: argparse.Namespace) -> int:
    """Run the demo until Ctrl-C or the given time; 0 when all was well.

    Args:
        options: ``host``, ``port``, ``url``, ``load`` (customers), ``trouble`` and ``seconds`` (or ``None``).
    """
    try:
        return asyncio.run(_run(options))
    except _Stop as reason:
        print(f"respool demo: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # the second Ctrl-C: at once
        return 130


async def _run(options: argparse.Namespace) -> int:
    with _interrupt() as interrupted, _listening(options.host, options.port) as listener:
        # who waits in vain is to say so while somebody is looking
        pool = PoolConfig(timeout=_IMPATIENT) if options.trouble else PoolConfig()
        async with _database(options.url, pool) as db:
            _greet(options, db, listener)
            wrong = await _serve(options, db, listener, interrupted)
            wrong += _leftovers(db)
    print("\n".join(f"respool demo: {line}" for line in wrong) or "Stopped; nothing was left open.", flush=True)
    return 1 if wrong and options.trouble is None else 0  # else it was asked for


async def _serve(
    options: argparse.Namespace, db: AsyncDatabase, listener: socket.socket, interrupted: asyncio.Event
) -> list[str]:
    """Serve until it is time to stop; what went wrong, a line each."""
    app = create_app(db, routes_with(options.trouble) if options.trouble else None)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_keep_alive=75, timeout_graceful_shutdown=_GRACE
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stop = asyncio.create_task(interrupted.wait())
    away = asyncio.create_task(comes_and_goes(db)) if options.trouble == "db-away" else None
    wrong: list[str] = []
    try:
        if options.load:
            wrong += await _load(options, _address(options.host, listener), stop)
        else:
            await asyncio.wait({stop, serving}, timeout=options.seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
        if away is not None:
            away.cancel()
        server.should_exit = True
        await serving
    return wrong


async def _load(options: argparse.Namespace, address: str, stop: asyncio.Task[bool]) -> list[str]:
    """Run the customers until ``stop`` or the end of their time, and let them report."""
    command = [sys.executable, "-m", "respool.cli.demo.load", address, "--attached", "--clients", str(options.load)]
    if options.seconds is not None:
        command += ["--seconds", str(options.seconds)]
    customers = await asyncio.create_subprocess_exec(*command, stdin=PIPE)
    ended = asyncio.create_task(customers.wait())
    try:
        await asyncio.wait({stop, ended}, return_when=asyncio.FIRST_COMPLETED)
        _end_of_input(customers)
        code = await asyncio.wait_for(asyncio.shield(ended), _REPORT)
    except TimeoutError:
        return [f"the simulated customers did not finish within {_REPORT:.0f} s"]
    finally:
        if not ended.done():
            customers.kill()
            await ended
    return [] if code == 0 else [f"the simulated customers met failures (exit code {code}), see their report above"]


def _end_of_input(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _leftovers(db: AsyncDatabase) -> list[str]:
    stats = db.pool.stats()
    wrong = []
    if stats.acquired:
        wrong.append(f"{stats.acquired} connections were not given back")
    wrong += [f"still open: {scope.label}" for scope in db.scopes()]
    return wrong


@contextlib.contextmanager
def _interrupt() -> Iterator[asyncio.Event]:
    """An event that the first Ctrl-C (or SIGTERM) sets; the second one has its usual effect."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_signal(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        loop.call_soon_threadsafe(event.set)

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise _Stop(_why_not(host, port, error)) from error
    with listener:
        yield listener


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use: choose another with --port {port + 1}, or any free one with --port 0"
    if error.errno == errno.EACCES:
        return f"port {port} of {host} is not open to you: choose one above 1023 with --port 8000"
    return f"cannot listen on {host} port {port}: {error.strerror}; choose with --host and --port"


@contextlib.asynccontextmanager
async def _database(url: str, pool: PoolConfig) -> AsyncIterator[AsyncDatabase]:
    try:
        await _prepared(url)
    except (RespoolError, SQLAlchemyError, OSError, sqlite3.Error) as error:
        raise _Stop(_why_no_database(url, error)) from error
    db = open_database(url, pool)
    try:
        yield db
    finally:
        await db.close(timeout=_DRAIN)


async def _prepared(url: str) -> None:
    """Make the tables, with a pool of its own: one that does not wait for long when there is no database."""
    setup = open_database(url, PoolConfig(timeout=_START), name="shop set-up")
    try:
        if setup.engine.dialect.name == "sqlite":
            _try_sqlite(setup.engine.dialect, setup.engine.url)
        await prepare(setup)
    finally:
        await setup.close(timeout=_DRAIN)


def _try_sqlite(dialect: Dialect, url: URL) -> None:
    """Open the file once without aiosqlite, which leaves a thread behind when it cannot.

    Raises:
        sqlite3.Error: it cannot be opened, or is something else.
    """
    arguments: Any
    options: Any
    arguments, options = dialect.create_connect_args(url)
    with contextlib.closing(sqlite3.connect(*arguments, **options)) as connection:
        connection.execute("PRAGMA schema_version")


def _why_no_database(url: str, error: BaseException) -> str:
    if (
        isinstance(error, MissingExtra) and error.extra == "aiosqlite"
    ):  # as by default: the demo has an extra of its own
        return f'{error.headline}; pip install "respool[demo]"'
    if isinstance(error, ConfigError):
        return "; ".join([error.headline, *error.advice[:1]])
    reason = error.__cause__ if isinstance(error, PoolError) and error.__cause__ is not None else error
    if isinstance(reason, DBAPIError) and reason.orig is not None:
        reason = reason.orig
    line = str(reason).strip().partition("\n")[0]
    return f"cannot use {mask(url)}: {line or type(reason).__name__}"


def _address(host: str, listener: socket.socket) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{listener.getsockname()[1]}"


def _greet(options: argparse.Namespace, db: AsyncDatabase, listener: socket.socket) -> None:
    stats = db.pool.stats()
    customers = f"{options.load} simulated customers" if options.load else "none simulated: try --load 30"
    print(f"respool demo shop   {_address(options.host, listener)}")
    print(f"  database          {mask(db.engine.url)}")
    print(f"  pool              {stats.min_size} to {stats.max_size} connections")
    print(f"  customers         {customers}")
    print(f"  who holds what    {_address(options.host, listener)}/respool/")
    if options.trouble:
        print(f"  trouble           {TROUBLES[options.trouble]}")
    print(
        "  Ctrl-C stops it."
        if options.seconds is None
        else f"  Stops after {options.seconds:g} s; Ctrl-C stops it now."
    )
    sys.stdout.flush()
