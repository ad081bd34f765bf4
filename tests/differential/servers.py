"""A database of a PostgreSQL or a MariaDB server, for each side."""

from __future__ import annotations

import re
import time
import uuid
from contextlib import suppress
from typing import Any

import psycopg
import pymysql

from tests.differential.places import OTHERS, Place, Refused
from tests.differential.schema import MARIADB, POSTGRESQL, ROWS, TABLES
from tests.support.mariadb import MariaServer
from tests.support.postgres import PostgresServer

__all__ = ["MariaPlace", "PostgresPlace"]

#: Ends a wait for a lock in PostgreSQL, in milliseconds: the program's, and the second client's.
_PROGRAM_WAITS, _OTHER_WAITS = 60, 20


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
        except (psycopg.errors.LockNotAvailable, psycopg.errors.IntegrityError) as error:
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
        self._server = server
        self._name = f"programs_{uuid.uuid4().hex[:12]}"
        server.create_database(self._name)
        self._client = pymysql.connect(
            host="127.0.0.1", port=server.port, user="root", database=self._name, autocommit=True
        )
        self._refusals = (_LOCKED, 1213, 1062, 1451, 1452)  # locks, and what is not unique or has children
        for statement in re.split(r";\s*\n(?=CREATE|\Z)", MARIADB):
            if statement.strip():
                self._run(statement)
        self._run(f"SET SESSION innodb_lock_wait_timeout = 0, lock_wait_timeout = 1, sql_mode = '{_SQL_MODE}'")
        self._run("SET GLOBAL innodb_lock_wait_timeout = 0")
        self._fill()
        self._begin = self.rows()

    @property
    def url(self) -> str:
        return self._server.url("pymysql", self._name)

    def begin(self, journal: str) -> None:
        pass

    def _run(self, sql: str) -> list[Any]:
        try:
            with self._client.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall())
        except pymysql.MySQLError as error:
            if error.args[0] not in self._refusals:
                raise
            raise Refused(str(error)) from error

    def rows(self) -> str:
        found = [
            f"{table}: {self._run(f'SELECT {columns} FROM {table} ORDER BY id')}" for table, columns in TABLES.items()
        ]
        return "\n".join([*found, f"made: {self._run('SHOW TABLES LIKE {!r}'.format('made'))}"])

    def other(self, what: str) -> None:
        deadline = time.monotonic() + _HANGING_UP
        while True:
            try:
                self._other(what)
                return
            except Refused as refused:
                cause: Any = refused.__cause__
                if cause.args[0] != _LOCKED or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _other(self, what: str) -> None:
        if what == "lock":
            self._run("LOCK TABLES widgets WRITE NOWAIT")
            self._run("UNLOCK TABLES")
        elif what == "migrate":
            self._run("ALTER TABLE gauges NOWAIT MODIFY COLUMN level BIGINT")
        else:
            self._run(OTHERS[what])

    def leftovers(self) -> list[str]:
        mine = self._client.thread_id()
        question = (
            "SELECT trx_state FROM information_schema.innodb_trx t JOIN information_schema.processlist p"
            f" ON p.id = t.trx_mysql_thread_id WHERE p.db = '{self._name}' AND p.id <> {mine}"
        )
        deadline = time.monotonic() + _HANGING_UP
        while (found := self._run(question)) and time.monotonic() < deadline:
            time.sleep(0.01)
        return [f"transaction {state}" for (state,) in found]

    def kill(self) -> int:
        found = self._run(
            f"SELECT id FROM information_schema.processlist WHERE db = '{self._name}' AND id <> {self._client.thread_id()}"
        )
        for (number,) in found:
            with suppress(pymysql.MySQLError):  # it is gone by itself
                self._run(f"KILL HARD CONNECTION {number}")
        deadline = time.monotonic() + 5
        while self._server.count_backends(self._name) > 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        return len(found)

    def restore(self) -> None:
        self.kill()
        if self.rows() != self._begin:
            self._fill()
        else:
            self._forget()

    def _forget(self) -> None:
        """What stays though it was rolled back, and what is in no row."""
        for table in _TABLES:
            self._run(f"ALTER TABLE {table} AUTO_INCREMENT = 100")
        self._run("ALTER TABLE gauges MODIFY COLUMN level INTEGER")

    def _fill(self) -> None:
        for table in _TABLES:
            self._run(f"DELETE FROM {table}")
        self._run("DROP TABLE IF EXISTS made")
        self._forget()
        for statement in ROWS.split(";\n"):
            if statement.strip():
                self._run(statement)

    def close(self) -> None:
        self._client.close()
        self._server.drop_database(self._name)


_TABLES = ("parts", "widgets", "gauges", "audit")
_SQL_MODE = "PIPES_AS_CONCAT,STRICT_TRANS_TABLES"
_LOCKED = 1205
#: Seconds within which MariaDB hears that a connection was closed, and ends its transaction.
_HANGING_UP = 0.3
