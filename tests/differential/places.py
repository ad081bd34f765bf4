"""Where programs run: a database for each side, put back in order after each program, and a second client to look at it.

The second client has a connection of its own, in autocommit, and waits for nobody: what it may not do at once is refused.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sqlite3
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import psycopg

from tests.differential.schema import MARIADB, POSTGRESQL, ROWS, SQLITE, TABLES
from tests.support.mariadb import MariaServer
from tests.support.postgres import PostgresServer

#: Linux's folder without a disk: SQLite waits for the disk at each COMMIT.
_MEMORY = "/dev/shm"

__all__ = ["DRIVERS", "OTHERS", "MariaPlace", "Place", "PostgresPlace", "Refused", "SqlitePlace"]

#: Each driver with its database, and whether it is for asyncio.
DRIVERS: dict[str, tuple[str, bool]] = {
    "sqlite": ("sqlite", False),
    "aiosqlite": ("sqlite", True),
    "psycopg": ("postgresql", False),
    "psycopg_async": ("postgresql", True),
    "psycopg2": ("postgresql", False),
    "asyncpg": ("postgresql", True),
    "mariadb": ("mariadb", False),
}

#: What a second client does between two steps, on every database.
OTHERS: dict[str, str] = {
    "update": "UPDATE widgets SET name = 'other ' || id, size = size + 100 WHERE id IN (1, 2)",
    "insert": "INSERT INTO widgets (id, name, size, tenant) VALUES (50, 'fifty', 50, 1)",
    "delete": "DELETE FROM widgets WHERE id = 4",
    "parts": "UPDATE parts SET name = 'other', version = version + 1 WHERE id IN (1, 2)",
    "less parts": "DELETE FROM parts WHERE id = 1",
    "gauge": "UPDATE gauges SET level = level + 1",
    "migrate": "ALTER TABLE gauges ALTER COLUMN level TYPE bigint",
    "lock": "LOCK TABLE widgets IN ACCESS EXCLUSIVE MODE",
}

#: Ends a wait for a lock in PostgreSQL, in milliseconds: the program's, and the second client's.
_PROGRAM_WAITS, _OTHER_WAITS = 60, 20


class Refused(Exception):
    """The second client would have had to wait for the program."""


class Place(ABC):
    """One side's database.

    Args:
        driver: one of ``DRIVERS``.
    """

    database: str  #: the kind: ``"sqlite"``, ``"postgresql"``, ``"mariadb"``

    def __init__(self, driver: str) -> None:
        self.driver = driver

    @property
    @abstractmethod
    def url(self) -> str:
        """For SQLAlchemy."""

    @property
    def second_url(self) -> str:
        """For the second engine: SQLAlchemy commits two connections in any order, which must not lock each other out."""
        return self.url

    @abstractmethod
    def begin(self, journal: str) -> None:
        """A program begins: all is as ever."""

    @abstractmethod
    def rows(self) -> str:
        """All that is saved, as somebody else sees it."""

    @abstractmethod
    def other(self, what: str) -> None:
        """A second client does one of ``OTHERS``.

        Raises:
            Refused: it would have had to wait.
        """

    @abstractmethod
    def leftovers(self) -> list[str]:
        """What the program's idle connections hold on the server: transactions, locks."""

    def kill(self) -> int:
        """Hang up on the program; returns on how many connections."""
        return 0

    @abstractmethod
    def restore(self) -> None:
        """The program's engines are disposed of: put everything back."""

    @abstractmethod
    def close(self) -> None:
        """No program will run here any more."""


class SqlitePlace(Place):
    """A new file for each program."""

    database = "sqlite"

    def __init__(self, driver: str) -> None:
        super().__init__(driver)
        self._folder = Path(
            tempfile.mkdtemp(prefix="respool-programs-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
        )
        self._numbers = itertools.count()
        self._file = self._folder
        self._client: sqlite3.Connection | None = None
        for journal in ("delete", "wal"):
            with sqlite3.connect(self._folder / journal) as connection:
                connection.execute(f"PRAGMA journal_mode = {journal}")
                connection.executescript(SQLITE + ROWS)
            connection.close()

    @property
    def url(self) -> str:
        scheme = "sqlite+aiosqlite" if self.driver == "aiosqlite" else "sqlite"
        return f"{scheme}:///{self._file}"

    @property
    def second_url(self) -> str:
        return f"{self.url}.second"

    def begin(self, journal: str) -> None:
        self._file = self._folder / f"{next(self._numbers)}.db"
        shutil.copyfile(self._folder / journal, self._file)
        shutil.copyfile(self._folder / journal, f"{self._file}.second")
        self._client = sqlite3.connect(self._file, isolation_level=None, timeout=0, check_same_thread=False)

    def _run(self, sql: str) -> list[Any]:
        assert self._client is not None
        try:
            return self._client.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise Refused(str(error)) from error

    def rows(self) -> str:
        try:
            found = [
                f"{table}: {self._run(f'SELECT {columns} FROM {table} ORDER BY id')}" for table, columns in _TABLES
            ]
            return "\n".join([*found, f"made: {self._run(_MADE)}"])
        except Refused:
            return "locked"

    def other(self, what: str) -> None:
        if what == "lock":
            self._run("BEGIN EXCLUSIVE")
            self._run("ROLLBACK")
        elif what != "migrate":  # SQLite has no such thing
            self._run(OTHERS[what])

    def leftovers(self) -> list[str]:
        try:
            self.other("lock")
        except Refused:
            return ["locked"]
        return []

    def restore(self) -> None:
        assert self._client is not None
        self._client.close()
        for file in self._folder.glob(f"{self._file.name}*"):
            file.unlink(missing_ok=True)

    def close(self) -> None:
        shutil.rmtree(self._folder)


_TABLES = list(TABLES.items())
_MADE = "SELECT name FROM sqlite_master WHERE name = 'made'"


class PostgresPlace(Place):
    """A database of a server."""

    database = "postgresql"

    def __init__(self, driver: str, server: PostgresServer) -> None:
        super().__init__(driver)
        self._server = server
        self._name = f"programs_{uuid.uuid4().hex[:12]}"
        server.create_database(self._name)
        self._client = psycopg.connect(server.url(None, self._name), autocommit=True, sslmode="disable")
        self._client.execute(_ROLE)
        self._client.execute(POSTGRESQL)
        self._client.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO differential_reader")
        self._client.execute(f"ALTER DATABASE {self._name} SET lock_timeout = {_PROGRAM_WAITS}")
        self._client.execute(f"SET lock_timeout = {_OTHER_WAITS}")
        self._client.execute("CALL restore()")
        self._begin = self.rows()
        self._programs = 0

    @property
    def url(self) -> str:
        return self._server.url(self.driver, self._name)

    def begin(self, journal: str) -> None:
        self._programs += 1
        if self._programs % 250 == 0:
            self._client.execute("VACUUM")

    def rows(self) -> str:
        try:
            return str(self._client.execute("SELECT snapshot()").fetchone()[0])  # type: ignore[index]
        except psycopg.errors.LockNotAvailable:
            return "locked"

    def other(self, what: str) -> None:
        try:
            with self._client.transaction():
                self._client.execute(OTHERS[what])
        except psycopg.errors.LockNotAvailable as error:
            raise Refused(str(error)) from error

    def leftovers(self) -> list[str]:
        before: list[str] = []
        for _ in range(20):  # who hangs up is gone a moment later
            found = [" ".join(row) for row in self._client.execute(_LEFTOVERS, [self._name, self._name]).fetchall()]
            if not found or found == before:
                return found
            before = found
            time.sleep(0.01)
        return before

    def kill(self) -> int:
        victims = [pid for pid, _ in self._client.execute(_KILL, [self._name]).fetchall()]
        pause = 0.0005  # pg_terminate_backend() itself would wait in steps of 100 ms
        while victims and self._client.execute(_LIVING, [victims]).fetchone() != (0,):
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
        return len(victims)

    def restore(self) -> None:
        self.kill()
        if self.rows() != self._begin:
            self._client.execute("CALL restore()")

    def close(self) -> None:
        self._client.close()
        self._server.drop_database(self._name)


_ROLE = """
DO $$ BEGIN CREATE ROLE differential_reader; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$
"""
_KILL = """
SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = %s AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
_LIVING = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)"
_LEFTOVERS = """
SELECT 'connection', state FROM pg_stat_activity
WHERE datname = %s AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'idle'
UNION ALL
SELECT 'lock', concat_ws(' ', locktype, mode, relation::regclass, objid) FROM pg_locks
WHERE database = (SELECT oid FROM pg_database WHERE datname = %s) AND pid <> pg_backend_pid()
    AND coalesce(relation::regclass::text, '') NOT LIKE 'pg\\_%%'  -- of the system's own tables: whoever asks has them
ORDER BY 1, 2
"""


class MariaPlace(Place):
    """A database of a MariaDB server."""

    database = "mariadb"

    def __init__(self, driver: str, server: MariaServer) -> None:
        super().__init__(driver)
        import pymysql

        self._server = server
        self._name = f"programs_{uuid.uuid4().hex[:12]}"
        server.create_database(self._name)
        self._client = pymysql.connect(
            host="127.0.0.1", port=server.port, user="root", database=self._name, autocommit=True
        )
        self._locked = (pymysql.err.OperationalError, (1205, 1213))
        for statement in re.split(r";\s*\n(?=CREATE|\Z)", MARIADB):
            if statement.strip():
                self._run(statement)
        self._run(f"SET SESSION innodb_lock_wait_timeout = 0, lock_wait_timeout = 1, sql_mode = '{_SQL_MODE}'")
        self._run("SET GLOBAL innodb_lock_wait_timeout = 1")
        self._fill()
        self._begin = self.rows()

    @property
    def url(self) -> str:
        return self._server.url("pymysql", self._name)

    def begin(self, journal: str) -> None:
        pass

    def _run(self, sql: str) -> list[Any]:
        kind, codes = self._locked
        try:
            with self._client.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall())
        except kind as error:
            if error.args[0] not in codes:
                raise
            raise Refused(str(error)) from error

    def rows(self) -> str:
        found = [f"{table}: {self._run(f'SELECT {columns} FROM {table} ORDER BY id')}" for table, columns in _TABLES]
        return "\n".join([*found, f"made: {self._run('SHOW TABLES LIKE {!r}'.format('made'))}"])

    def other(self, what: str) -> None:
        if what == "lock":
            self._run("LOCK TABLES widgets WRITE NOWAIT")
            self._run("UNLOCK TABLES")
        elif what == "migrate":
            self._run("ALTER TABLE gauges NOWAIT MODIFY COLUMN level BIGINT")
        else:
            self._run(OTHERS[what])

    def leftovers(self) -> list[str]:
        mine = self._client.thread_id()
        found = self._run(
            "SELECT trx_state FROM information_schema.innodb_trx t JOIN information_schema.processlist p"
            f" ON p.id = t.trx_mysql_thread_id WHERE p.db = '{self._name}' AND p.id <> {mine}"
        )
        return [f"transaction {state}" for (state,) in found]

    def kill(self) -> int:
        found = self._run(
            f"SELECT id FROM information_schema.processlist WHERE db = '{self._name}' AND id <> {self._client.thread_id()}"
        )
        for (number,) in found:
            self._run(f"KILL HARD CONNECTION {number}")
        deadline = time.monotonic() + 5
        while self._server.count_backends(self._name) > 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        return len(found)

    def restore(self) -> None:
        self.kill()
        if self.rows() != self._begin:
            self._fill()

    def _fill(self) -> None:
        for table in ("parts", "widgets", "gauges", "audit"):
            self._run(f"DELETE FROM {table}")
            self._run(f"ALTER TABLE {table} AUTO_INCREMENT = 100")
        self._run("DROP TABLE IF EXISTS made")
        self._run("ALTER TABLE gauges MODIFY COLUMN level INTEGER")
        for statement in ROWS.split(";\n"):
            if statement.strip():
                self._run(statement)

    def close(self) -> None:
        self._client.close()
        self._server.drop_database(self._name)


_SQL_MODE = "PIPES_AS_CONCAT,STRICT_TRANS_TABLES"
