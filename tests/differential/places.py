"""Where programs run: a database for each side, put back in order after each program, and a second client to look at it.

The second client has a connection of its own, in autocommit, and waits for nobody: what it may not do at once is refused.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from tests.differential.schema import ROWS, SQLITE, TABLES

#: Linux's folder without a disk: SQLite waits for the disk at each COMMIT.
_MEMORY = "/dev/shm"

__all__ = ["DRIVERS", "OTHERS", "Place", "Refused", "SqlitePlace"]

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


class Refused(Exception):
    """The second client would have had to wait for the program, or may not."""


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
        except (sqlite3.OperationalError, sqlite3.IntegrityError) as error:
            if isinstance(error, sqlite3.OperationalError) and "locked" not in str(error):
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
