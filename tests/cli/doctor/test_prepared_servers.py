"""The doctor is right on real servers, each of which is prepared so that something is to be found, or nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pymysql
import pytest

from tests.cli.doctor.conftest import Doctor, Prepared
from tests.support.mariadb import MariaServer
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres import PostgresMissing, PostgresServer

DRIVERS = ("psycopg", "psycopg2", "asyncpg")


@pytest.fixture(scope="module")
def small() -> Iterator[PostgresServer]:
    """A server with limits and times of its own."""
    settings = {
        "max_connections": "20",
        "superuser_reserved_connections": "3",
        "reserved_connections": "2",
        "idle_in_transaction_session_timeout": "1min",
        "statement_timeout": "30s",
        "lock_timeout": "1500ms",
        "tcp_keepalives_idle": "60",
    }
    try:
        server = PostgresServer(settings)
    except PostgresMissing as missing:
        pytest.skip(str(missing))
    with server:
        with psycopg.connect(server.url(None), autocommit=True, sslmode="disable") as connection:
            connection.execute("CREATE ROLE shop LOGIN")
            connection.execute("CREATE ROLE other LOGIN")
        yield server


def of(server: PostgresServer, driver: str = "psycopg", user: str = "shop") -> str:
    return server.url(driver).replace("postgres@", f"{user}@")


# -- 1: a server with limits and times ----------------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_servers_limits_and_times(doctor: Doctor, small: PostgresServer, driver: str) -> None:
    report = doctor(of(small, driver), "--pool", "7", "--leak-after", "20")
    assert (report.code, report.grave) == (0, [])
    facts = report.facts
    assert (facts["product"], facts["driver"], facts["user"], facts["database"]) == (
        "PostgreSQL",
        driver,
        "shop",
        "postgres",
    )
    assert facts["version"].startswith("18")
    assert facts["limits"][0] | {"used": 0} == {
        "whose": "the server",
        "connections": 15,
        "used": 0,
        "change": "max_connections in postgresql.conf, and a restart",
    }
    times = {name: each["seconds"] for name, each in facts["times"].items()}
    assert times["idle_in_transaction_session_timeout"] == 60
    assert (times["statement_timeout"], times["lock_timeout"]) == (30, 1.5)
    assert times["idle_session_timeout"] is None
    assert (facts["replica"], facts["read_only"], facts["superuser"], facts["proxy"]) == (False, None, False, None)
    assert facts["isolation"] == "read committed"
    assert 0 < facts["trip"] < 10
    assert 0 < facts["connect"] < 10


@pytest.mark.postgres
def test_too_many_for_the_server(doctor: Doctor, small: PostgresServer) -> None:
    report = doctor(of(small), "--workers", "4", "--pool", "4")
    assert report.code == 1
    assert report["D011"]["what"] == "4 workers × 4 = 16 connections, but the server allows 15"
    assert report["D011"]["do"][0] == "--pool 3: PoolConfig(max_size=3) in each worker"
    assert next(iter(report.codes)) == "D011", "the worst first"
    assert "D011" not in doctor(of(small), "--workers", "5", "--pool", "3").codes


@pytest.mark.postgres
def test_no_room_for_a_second_generation(doctor: Doctor, small: PostgresServer) -> None:
    arguments = (of(small), "--workers", "2", "--pool", "4", "--leak-after", "20")
    report = doctor(*arguments)
    assert (report.code, report.grave) == (0, ["D012"])
    assert doctor(*arguments, "--strict").code == 1
    assert doctor(of(small), "--pool", "7", "--leak-after", "20", "--strict").code == 0


@pytest.mark.postgres
def test_what_others_use(doctor: Doctor, small: PostgresServer) -> None:
    with ExitStack() as held:
        for _ in range(9):
            url = of(small, user="other").replace("+psycopg", "")
            held.enter_context(psycopg.connect(url, application_name="reports", sslmode="disable"))
        report = doctor(of(small), "--pool", "7", "--leak-after", "20")
        assert report.grave == ["D013"]
        assert report["D013"]["what"] == "1 worker × 7 = 7 connections, and others have 9 of the 15"
        assert report["D013"]["facts"] == ["9 by other in postgres (reports)"]
        assert report["D013"]["do"][0] == "--pool 6: PoolConfig(max_size=6) in each worker"


@pytest.mark.postgres
def test_a_superuser(doctor: Doctor, small: PostgresServer) -> None:
    report = doctor(small.url(), "--pool", "2", "--leak-after", "20")
    assert report.grave == ["D014"]
    assert report.facts["limits"][0]["connections"] == 20, "the reserved ones are for such"


# -- 2, 3: a role's and a database's limit --------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_roles_limit(doctor: Doctor, prepared: Prepared, driver: str) -> None:
    prepared.do("ALTER ROLE ROLE! CONNECTION LIMIT 17")
    report = doctor(prepared.url(driver), "--workers", "4", "--pool", "10")
    assert report.code == 1
    assert report["D011"]["what"] == f"4 workers × 10 = 40 connections, but the role {prepared.role} allows 17"
    assert report["D011"]["do"] == [
        "--pool 4: PoolConfig(max_size=4) in each worker",
        f"or raise the limit: ALTER ROLE {prepared.role} CONNECTION LIMIT …",
    ]
    assert "D011" not in doctor(prepared.url(driver), "--workers", "1", "--pool", "17").codes


def test_a_databases_limit(doctor: Doctor, prepared: Prepared) -> None:
    prepared.do("ALTER DATABASE DB! CONNECTION LIMIT 5")
    report = doctor(prepared.url(), "--workers", "6", "--pool", "1")
    assert report["D011"]["what"] == f"6 workers × 1 = 6 connections, but the database {prepared.database} allows 5"
    assert report["D011"]["do"][0] == "fewer workers"


# -- 4: a role's times ----------------------------------------------------------------------------------------------------


def test_times_that_were_set_for_the_role(doctor: Doctor, prepared: Prepared) -> None:
    prepared.do("ALTER ROLE ROLE! SET idle_session_timeout = '60s'")
    prepared.do("ALTER DATABASE DB! SET idle_in_transaction_session_timeout = '30s'")
    report = doctor(prepared.url())
    assert report.grave == ["D021", "D022"]
    assert report["D021"]["what"].startswith("idle_session_timeout is 60 s, and a connection may rest for 5 min")
    assert report["D021"]["facts"] == ["set by: user"]
    assert report["D022"]["facts"] == ["set by: database"]
    assert "D023" not in report.codes
    good = doctor(prepared.url(), "--max-idle", "45", "--leak-after", "20")
    assert good.grave == []
    kept = doctor(prepared.url(), "--max-idle", "45", "--min-size", "1", "--leak-after", "20")
    assert "max_lifetime, since min_size keeps connections beyond max_idle" in kept["D021"]["what"]


# -- 5: strict isolation, and nothing to be written ------------------------------------------------------------------------


def test_isolation_and_read_only(doctor: Doctor, prepared: Prepared) -> None:
    prepared.do("ALTER ROLE ROLE! SET default_transaction_isolation = 'serializable'")
    prepared.do("ALTER ROLE ROLE! SET default_transaction_read_only = on")
    report = doctor(prepared.url("asyncpg"))
    assert report["D032"]["what"] == "the default is SERIALIZABLE"
    assert report["D031"]["what"] == "default_transaction_read_only is on"
    assert report.code == 1
    assert doctor(prepared.url("asyncpg"), "--reads-only").code == 0


# -- 6: a replica -----------------------------------------------------------------------------------------------------------


@pytest.mark.postgres
def test_a_replica(doctor: Doctor) -> None:
    try:
        server = PostgresServer()
    except PostgresMissing as missing:
        pytest.skip(str(missing))
    with server:
        server.stop()
        signal = server.base / "data" / "standby.signal"
        signal.touch()
        os.chown(signal, (server.base / "data").stat().st_uid, (server.base / "data").stat().st_gid)
        server.start()
        report = doctor(server.url())
        assert report.facts["replica"]
        assert report["D031"]["what"] == "it is a standby, in recovery"
        assert report.code == 1
        assert doctor(server.url(), "--reads-only").code == 0


# -- 7, 8, 9: PgBouncer in its modes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_session_pooling(doctor: Doctor, bouncer: Callable[..., PgBouncer], driver: str) -> None:
    proxy = bouncer(pool_mode="session", default_pool_size="12", max_client_conn="50", client_idle_timeout="120")
    report = doctor(proxy.url(driver, user="shop"), "--leak-after", "20")
    assert report.facts["proxy"]["mode"] == "session"
    assert report.grave == []
    assert "D044" in report.codes
    assert report.facts["limits"][0]["connections"] == 197


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_session_pooling_with_a_console_that_may_be_read(
    doctor: Doctor, bouncer: Callable[..., PgBouncer], driver: str
) -> None:
    proxy = bouncer(
        pool_mode="session",
        default_pool_size="12",
        max_client_conn="50",
        client_idle_timeout="120",
        stats_users="shop",
    )
    report = doctor(proxy.url(driver, user="shop"), "--workers", "2", "--pool", "10")
    told = report.facts["proxy"]
    assert told["product"].startswith("PgBouncer 1.")
    assert (told["mode"], told["clients"], told["servers"]) == ("session", 50, 12)
    assert report["D011"]["what"] == "2 workers × 10 = 20 connections, but the proxy's pool allows 12"
    assert report["D021"]["what"].startswith("the proxy's client_idle_timeout is 2 min")
    assert "D044" not in report.codes


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("size", ["1", "10"])
def test_transaction_pooling(doctor: Doctor, bouncer: Callable[..., PgBouncer], driver: str, size: str) -> None:
    proxy = bouncer(pool_mode="transaction", default_pool_size=size)
    report = doctor(proxy.url(driver, user="shop"), "--workers", "100", "--leak-after", "20")
    assert report.facts["proxy"]["mode"] == "transaction"
    assert "D011" not in report.codes, "whoever finds no server connection waits for one"
    assert report["D043"]["level"] == "note"
    assert ("D042" in report.codes) == (driver != "psycopg2"), "psycopg2 prepares nothing"
    if size == "10" and driver != "psycopg2" and proxy_is_old(report.facts["proxy"]):
        assert report["D042"]["what"].endswith("it was tried, and failed")
    again = doctor(proxy.url(driver, user="shop"), "--no-prepare", "--leak-after", "20")
    assert again.grave == []


def proxy_is_old(told: dict[str, object]) -> bool:
    """Whether it cannot keep prepared statements; the ones that can have to be told to."""
    return told["keeps_prepared"] is not True


def test_transaction_pooling_with_its_console(doctor: Doctor, bouncer: Callable[..., PgBouncer]) -> None:
    proxy = bouncer(pool_mode="transaction", max_client_conn="50", stats_users="shop", idle_transaction_timeout="40")
    report = doctor(proxy.url(user="shop"), "--workers", "6", "--no-prepare")
    assert report["D011"]["what"] == "6 workers × 10 = 60 connections, but the proxy allows 50"
    assert report["D022"]["what"] == "the proxy's idle_transaction_timeout is 40 s, and leak_after is off"


@pytest.mark.parametrize("driver", DRIVERS)
def test_statement_pooling(doctor: Doctor, bouncer: Callable[..., PgBouncer], driver: str) -> None:
    report = doctor(bouncer(pool_mode="statement").url(driver, user="shop"))
    assert report.facts["proxy"]["mode"] == "statement"
    assert report["D041"]["level"] == "problem"
    assert report.code == 1


def test_none_of_this_is_said_of_a_server_without_a_proxy(doctor: Doctor, prepared: Prepared) -> None:
    for driver in DRIVERS:
        assert doctor(prepared.url(driver)).facts["proxy"] is None


# -- 10: MariaDB ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def maria(mariadb: MariaServer) -> Iterator[Callable[[str], None]]:
    """A MariaDB as it was, whatever is done to it by the function."""
    mariadb.start()

    def do(statement: str) -> None:
        with pymysql.connect(host="127.0.0.1", port=mariadb.port, user="root", autocommit=True) as connection:
            connection.cursor().execute(statement)

    do("CREATE USER 'clerk'@'127.0.0.1'")
    do("GRANT ALL ON *.* TO 'clerk'@'127.0.0.1'")
    yield do
    do("SET GLOBAL wait_timeout = 28800")
    do("SET GLOBAL read_only = 0")
    do("DROP USER 'clerk'@'127.0.0.1'")


@pytest.mark.parametrize("driver", ["pymysql", "aiomysql", "asyncmy"])
def test_a_mariadb(doctor: Doctor, mariadb: MariaServer, maria: Callable[[str], None], driver: str) -> None:
    maria("SET GLOBAL wait_timeout = 200")
    maria("ALTER USER 'clerk'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 30")
    url = mariadb.url(driver, user="clerk")
    report = doctor(url, "--workers", "4", "--pool", "10")
    facts = report.facts
    assert (facts["product"], facts["user"], facts["isolation"], facts["proxy"]) == (
        "MariaDB",
        "clerk",
        "repeatable read",
        None,
    )
    assert [(each["whose"], each["connections"]) for each in facts["limits"]] == [
        ("the server", 200),
        ("the user clerk", 30),
    ]
    assert report["D011"]["what"] == "4 workers × 10 = 40 connections, but the user clerk allows 30"
    assert report["D021"]["what"].startswith("wait_timeout is 3.33 min, and a connection may rest for 5 min")
    assert report["D032"]["what"] == "the default is REPEATABLE READ"
    good = doctor(url, "--workers", "1", "--max-idle", "100")
    assert (good.code, good.grave) == (0, [])
    assert good["D023"]["do"] == ["SET GLOBAL idle_transaction_timeout = 60"]


def test_a_mariadb_that_takes_no_writes(doctor: Doctor, mariadb: MariaServer, maria: Callable[[str], None]) -> None:
    maria("SET GLOBAL read_only = 1")
    report = doctor(mariadb.url("pymysql", user="clerk"))
    assert report["D031"]["what"] == "read_only is on"
    assert report.code == 1


# -- 11, 12, 13: SQLite ------------------------------------------------------------------------------------------------------


def make(path: str, journal: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE product (id INTEGER PRIMARY KEY)")
    connection.close()


@pytest.mark.parametrize("driver", ["pysqlite", "aiosqlite"])
def test_an_sqlite_file(doctor: Doctor, sqlite_file: str, driver: str) -> None:
    make(sqlite_file, "delete")
    report = doctor(f"sqlite+{driver}:///{sqlite_file}?timeout=0")
    assert report.grave == ["D061", "D062"]
    assert report.facts["file"] | {"threadsafe": 1} == {
        "path": sqlite_file,
        "journal": "delete",
        "busy_timeout": 0.0,
        "writable": True,
        "folder_writable": True,
        "threadsafe": 1,
    }
    assert report.facts["limits"] == []


def test_an_sqlite_file_with_a_log(doctor: Doctor, sqlite_file: str) -> None:
    make(sqlite_file, "wal")
    report = doctor(f"sqlite:///{sqlite_file}", "--strict")
    assert (report.code, report.codes) == (0, {})
    assert report.facts["file"]["busy_timeout"] == 5


def test_an_sqlite_file_that_cannot_be_written(doctor: Doctor, sqlite_file: str) -> None:
    make(sqlite_file, "delete")
    url = f"sqlite:///file:{sqlite_file}?mode=ro&uri=true"
    report = doctor(url)
    assert report["D063"]["what"] == f"{sqlite_file} takes no writes"
    assert report.code == 1
    assert "D063" not in doctor(url, "--reads-only").codes


def test_a_folder_that_cannot_be_written(doctor: Doctor, sqlite_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make(sqlite_file, "wal")
    # root may write anywhere: what the system says to others
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != Path(sqlite_file).parent)
    report = doctor(f"sqlite:///{sqlite_file}")
    assert report["D063"]["what"] == f"the folder of {sqlite_file} is not writable for this user"


def test_an_sqlite_database_in_memory(doctor: Doctor) -> None:
    report = doctor("sqlite://", "--workers", "3")
    assert report.codes == {"D064": "note"}
    assert report["D064"]["what"] == "3 workers, and a database for each"


def test_a_file_that_is_not_there_is_not_made(doctor: Doctor, sqlite_file: str) -> None:
    report = doctor(f"sqlite:///{sqlite_file}")
    assert (report.code, list(report.codes)) == (2, ["D006"])
    assert not Path(sqlite_file).exists()
