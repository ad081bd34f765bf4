"""A real PgBouncer for tests: the system's own (Debian's ``pgbouncer``), run as our own child in front of a PostgreSQL.

    with PgBouncer(postgres, pool_mode="transaction") as bouncer:
        engine = create_engine(bouncer.url("psycopg", "shop"))

It listens on 127.0.0.1 only and trusts ``postgres`` and ``shop``.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg

from tests.support.postgres import PostgresServer
from tests.support.server import DatabaseServer, ServerError, account_of, free_port

__all__ = ["BouncerError", "BouncerMissing", "PgBouncer"]

_INSTALL = "apt-get install pgbouncer, or `make topologies`"


class BouncerError(ServerError):
    """PgBouncer could not be started; the end of its log is in the message."""


class BouncerMissing(BouncerError):
    """PgBouncer is not installed."""


class PgBouncer(DatabaseServer):
    """One PgBouncer in front of one PostgreSQL.

    Args:
        server: what it leads to; it runs already.
        timeout: how long a start or a stop may take, in seconds.
        settings: lines of its configuration: ``pool_mode="transaction"``.

    Raises:
        BouncerMissing: ``pgbouncer`` is not installed; the message says how to.
    """

    prefix = "respool-bouncer-"
    quick_end = signal.SIGTERM
    error = BouncerError

    def __init__(self, server: PostgresServer, *, timeout: float = 30.0, **settings: str) -> None:
        super().__init__(account_of("nobody", (65534, 65534)), timeout=timeout)
        found = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        if found is None:
            raise BouncerMissing(f"no PgBouncer: it is not installed ({_INSTALL})")
        self._program = Path(found)
        self._server = server
        self._settings = settings

    def url(self, driver: str | None = "psycopg", database: str = "postgres", user: str = "postgres") -> str:
        """An SQLAlchemy URL; with ``driver=None`` one for the drivers themselves."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://{user}@127.0.0.1:{self.port}/{database}"

    def _create(self) -> None:
        self._make_folder()
        self._hand_over()

    def _launch(self, new: bool) -> None:
        deadline = time.monotonic() + self._timeout
        while not self._came_up(deadline):
            if not new or "in use" not in self.log_tail():
                raise BouncerError(f"PgBouncer does not start; its log ends with:\n{self.log_tail()}")
            self.port = free_port()  # somebody was faster

    def _came_up(self, deadline: float) -> bool:
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": str(self.base / "run"),
            "auth_type": "trust",
            "auth_file": str(self.base / "users"),
            "ignore_startup_parameters": "extra_float_digits",
            **self._settings,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        server = f"* = host=127.0.0.1 port={self._server.port}"
        (self.base / "users").write_text('"postgres" ""\n"shop" ""\n')
        (self.base / "ini").write_text("\n".join(["[databases]", server, "[pgbouncer]", *lines, ""]))
        self._hand_over()
        with (self.base / "log").open("wb") as log:
            self._process = self._run([self._program, self.base / "ini"], stdout=log, stderr=subprocess.STDOUT)
        while self._process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url(driver=None), connect_timeout=5, sslmode="disable").close()
                return True
            if time.monotonic() > deadline:
                self.kill9()
                raise BouncerError(f"PgBouncer is not up after {self._timeout} s; its log ends:\n{self.log_tail()}")
            time.sleep(0.01)
        self._process = None
        return False
