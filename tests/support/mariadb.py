"""A real MariaDB for tests: the system's own binaries (Debian's ``mariadb-server``), run as our own child.

    with MariaServer() as server:
        engine = create_engine(server.url("pymysql"))

As root it runs as the package's user ``mysql``.  It listens on 127.0.0.1 only; ``root`` has no password there, and
``shopper`` has one.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pymysql

from tests.support.server import DatabaseServer, ServerError, account_of, free_port

__all__ = ["MariaError", "MariaMissing", "MariaServer"]

_INSTALL = "apt-get install mariadb-server, or `make topologies`"

_SETTINGS: dict[str, str] = {
    "bind-address": "127.0.0.1",
    "innodb-buffer-pool-size": "32M",
    "innodb-fast-shutdown": "2",
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-log-file-size": "8M",
    "max-connections": "200",
    "skip-log-bin": "",
    "skip-name-resolve": "",
}

_USERS = """
CREATE USER IF NOT EXISTS 'root'@'127.0.0.1';
GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;
CREATE USER IF NOT EXISTS 'shopper'@'127.0.0.1' IDENTIFIED BY 'secret';
GRANT ALL ON *.* TO 'shopper'@'127.0.0.1';
"""


class MariaError(ServerError):
    """The server could not be made, started or stopped; the end of its log is in the message."""


class MariaMissing(MariaError):
    """MariaDB is not installed."""


class MariaServer(DatabaseServer):
    """One server with a data folder of its own under the temporary folder.

    Args:
        timeout: how long a start or a stop may take, in seconds.

    Raises:
        MariaMissing: ``mariadbd`` is not installed; the message says how to.
    """

    prefix = "respool-maria-"
    quick_end = signal.SIGTERM
    error = MariaError

    def __init__(self, *, timeout: float = 60.0) -> None:
        super().__init__(account_of("mysql"), timeout=timeout)
        self._server = _find("mariadbd")
        self._installer = _find("mariadb-install-db")

    def url(self, driver: str = "pymysql", database: str = "mysql", user: str = "root") -> str:
        """An SQLAlchemy URL."""
        return f"mysql+{driver}://{user}@127.0.0.1:{self.port}/{database}"

    # -- what tests do to it

    def create_database(self, name: str) -> None:
        """Make an empty database."""
        self._administer(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")

    def drop_database(self, name: str) -> None:
        """Remove a database, after hanging up on whoever is still connected to it."""
        self.terminate_backends(name)
        self._administer(f"DROP DATABASE IF EXISTS `{name}`")

    def terminate_backends(self, database: str) -> int:
        """Hang up on all clients of one database; returns on how many, once they are gone."""
        victims = self._backends(database)
        for number in victims:
            with contextlib.suppress(pymysql.MySQLError):  # gone by itself
                self._administer(f"KILL HARD CONNECTION {number}")
        deadline = time.monotonic() + self._timeout
        while victims & self._backends(database):
            if time.monotonic() > deadline:
                raise MariaError(f"killed connections are still there after {self._timeout} s")
            time.sleep(0.001)
        return len(victims)

    def count_backends(self, database: str) -> int:
        """How many clients one database has."""
        return len(self._backends(database))

    # -- inside

    def _backends(self, database: str) -> set[int]:
        rows = self._administer(f"SELECT id FROM information_schema.processlist WHERE db = '{database}'")
        return {number for (number,) in rows}

    def _administer(self, statement: str) -> tuple[tuple[Any, ...], ...]:
        with pymysql.connect(host="127.0.0.1", port=self.port, user="root", autocommit=True) as connection:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return tuple(cursor.fetchall())

    def _create(self) -> None:
        base = self._make_folder()
        (base / "users.sql").write_text(_USERS)
        (base / "tmp").mkdir()
        self._hand_over()
        command = [
            str(self._installer),
            "--no-defaults",
            f"--datadir={base / 'data'}",
            f"--tmpdir={base / 'tmp'}",  # a server that starts clears up where it is: not in another's folder
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--innodb-log-file-size=8M",
        ]
        done = self._run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = done.communicate()
        if done.returncode:
            said = output.decode(errors="replace")
            raise MariaError(f"mariadb-install-db failed with status {done.returncode}:\n{said}")

    def _launch(self, new: bool) -> None:
        deadline = time.monotonic() + self._timeout
        while not self._came_up(deadline):
            if not new or "already in use" not in self.log_tail():
                raise MariaError(f"MariaDB does not start; its log ends with:\n{self.log_tail()}")
            self.port = free_port()  # somebody was faster

    def _came_up(self, deadline: float) -> bool:
        """Whether a newly started server answers; ``False`` when it ended instead."""
        folder = self.base
        places = {
            "datadir": str(folder / "data"),
            "init-file": str(folder / "users.sql"),
            "pid-file": str(folder / "run" / "pid"),
            "socket": str(folder / "run" / "socket"),
            "tmpdir": str(folder / "tmp"),
            "port": str(self.port),
        }
        flags = [f"--{name}={value}" if value else f"--{name}" for name, value in {**_SETTINGS, **places}.items()]
        with (folder / "log").open("wb") as log:
            self._process = self._run([self._server, "--no-defaults", *flags], stdout=log, stderr=subprocess.STDOUT)
        while self._process.poll() is None:
            with contextlib.suppress(pymysql.OperationalError):
                self._administer("SELECT 1")
                return True
            if time.monotonic() > deadline:
                self.kill9()
                raise MariaError(f"MariaDB is not up after {self._timeout} s; its log ends:\n{self.log_tail()}")
            time.sleep(0.01)
        self._process = None
        return False


def _find(program: str) -> Path:
    found = shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        raise MariaMissing(f"no MariaDB: {program} is not installed ({_INSTALL})")
    return Path(found)
