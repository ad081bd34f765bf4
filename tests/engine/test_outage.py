"""The database goes away and comes back: callers wait, few connects are tried, and all are served."""

from __future__ import annotations

import asyncio
import ssl
import threading
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from respool.engine import AsyncFairPool, FairPool
from respool.engine.dialects.outage import is_outage
from respool.errors import PoolTimeout
from respool.pool import PoolObserver
from tests.support.postgres import PostgresServer

ONE = sa.select(sa.literal(1))


class Failures(PoolObserver):
    """Sets an event at the first failed connect."""

    def __init__(self) -> None:
        self.first = threading.Event()

    def connect_failed(self, error: BaseException) -> None:
        self.first.set()


def test_promise_10_callers_wait_through_an_outage(pg_url: str, postgres: PostgresServer) -> None:
    failures = Failures()
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=5, pool_observer=failures)
    answers: list[Any] = []

    def read() -> None:
        with engine.connect() as connection:
            answers.append(connection.scalar(ONE))

    read()
    postgres.stop()
    threads = [threading.Thread(target=read) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert failures.first.wait(30)
    assert engine.pool.stats().database_away  # type: ignore[attr-defined]
    postgres.start()
    for thread in threads:
        thread.join()
    assert answers == [1] * 21
    engine.dispose()


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_promise_10_tasks_wait_through_an_outage(pg_url: str, postgres: PostgresServer, driver: str) -> None:
    failures = Failures()
    url = postgres.url(driver, str(sa.make_url(pg_url).database))
    engine = create_async_engine(url, poolclass=AsyncFairPool, max_size=5, pool_observer=failures)

    async def read() -> Any:
        async with engine.connect() as connection:
            return await connection.scalar(ONE)

    assert await read() == 1
    await asyncio.to_thread(postgres.stop)
    tasks = [asyncio.create_task(read()) for _ in range(20)]
    assert await asyncio.to_thread(failures.first.wait, 30)
    await asyncio.to_thread(postgres.start)
    assert await asyncio.gather(*tasks) == [1] * 20
    await engine.dispose()


def test_promise_11_a_timeout_in_an_outage_has_the_connect_error_as_cause(postgres: PostgresServer) -> None:
    url = sa.make_url(postgres.url()).set(port=1)
    engine = sa.create_engine(url, poolclass=FairPool, pool_timeout=0.2)
    with pytest.raises(PoolTimeout) as timeout:
        engine.connect()
    assert isinstance(timeout.value.__cause__, engine.dialect.loaded_dbapi.OperationalError)
    assert timeout.value.facts["database_away"]
    engine.dispose()


def test_a_database_that_says_no_is_not_waited_for(postgres: PostgresServer) -> None:
    engine = sa.create_engine(postgres.url(database="nowhere"), poolclass=FairPool)
    with pytest.raises(sa.exc.OperationalError, match="nowhere"):
        engine.connect()
    engine.dispose()


class _PostgresError(Exception):
    sqlstate = "57P03"


class _Dialect:
    """Of MySQL, where nothing else is said."""

    name = "mysql"

    class dbapi:
        class OperationalError(Exception): ...

        class InterfaceError(Exception): ...


@pytest.mark.parametrize(
    "error, away",
    [
        (_PostgresError(), True),
        (ConnectionRefusedError(), True),
        (_Dialect.dbapi.OperationalError(2003, "can't connect"), True),
        (_Dialect.dbapi.OperationalError(1045, "access denied"), False),
        (_Dialect.dbapi.OperationalError(1203, "User shop already has more than 'max_user_connections'"), True),
        (_Dialect.dbapi.OperationalError(2003, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"), False),
        (_Dialect.dbapi.OperationalError(2026, "SSL connection error"), False),
        (FileNotFoundError(2, "No such file or directory", "/run/secrets/password"), False),
        (PermissionError(13, "Permission denied", "/run/secrets/password"), False),
        (FileNotFoundError(2, "No such file or directory"), True),  # asyncpg, when a Unix socket is not there
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), False),
        (ssl.SSLError(1, "wrong version number"), False),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), True),
        (ConnectionError("PostgreSQL server at 'db:5432' rejected SSL upgrade"), False),
        (ValueError("a bug"), False),
    ],
    ids=repr,
)
def test_what_counts_as_away(error: Exception, away: bool) -> None:
    assert is_outage(_Dialect, error) is away


class _PostgreSQL(_Dialect):
    name = "postgresql"


@pytest.mark.parametrize(
    "text, away",
    [
        ('connection to server at "127.0.0.1", port 1 failed: Connection refused', True),
        ("connection timeout expired", True),
        ('could not translate host name "db" to address: Temporary failure in name resolution', True),
        (
            'connection to server on socket "/tmp/.s.PGSQL.1" failed: No such file or directory\n\tIs the server running',
            True,
        ),
        ("server closed the connection unexpectedly", True),
        ("SSL connection has been closed unexpectedly", True),
        ("SSL SYSCALL error: EOF detected", True),
        ("session is read-only", True),
        ("FATAL:  the database system is starting up", True),
        ("FATAL:  no more connections allowed (max_client_conn)", True),
        ("FATAL:  query_wait_timeout", True),
        ("FATAL:  sorry, too many clients already", True),
        ("FATAL:  server login has been failing, try again later (server_login_retry)", True),
        ('FATAL:  password authentication failed for user "shop"', False),
        ("fe_sendauth: no password supplied", False),
        ("server does not support SSL, but SSL was required", False),
        ("SSL error: certificate verify failed", False),
        ('root certificate file "/nowhere/root.crt" does not exist', False),
        ('could not open certificate file "/nowhere/client.crt": No such file or directory', False),
        ('private key file "client.key" has group or world access', False),
        ('invalid sslmode value: "yes"', False),
        ('invalid connection option "colour"', False),
        ('definition of service "shop" not found', False),
        ("channel binding required, but SSL not in use", False),
    ],
)
def test_what_passes_and_what_does_not(text: str, away: bool) -> None:
    assert is_outage(_PostgreSQL, _Dialect.dbapi.OperationalError(text)) is away


def test_no_host_is_fit_for_a_moment() -> None:
    class TargetServerAttributeNotMatched(Exception):
        """As asyncpg's."""

    assert is_outage(
        _PostgreSQL, TargetServerAttributeNotMatched("None of the hosts match the target attribute requirement")
    )


@pytest.mark.parametrize(
    "options",
    [
        {"sslmode": "require"},
        {"sslmode": "verify-full", "sslrootcert": "/nowhere/root.crt"},
        {"colour": "red"},
        {"sslmode": "perhaps"},
    ],
)
def test_what_can_never_succeed_is_told_at_once(postgres: PostgresServer, options: dict[str, str]) -> None:
    engine = sa.create_engine(postgres.url(), poolclass=FairPool, connect_args=options)
    with pytest.raises(sa.exc.DBAPIError) as told:
        engine.connect()
    assert not isinstance(told.value, PoolTimeout)
    engine.dispose()
