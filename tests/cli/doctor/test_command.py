"""The command line: what is asked for, exit codes, a report that reads well, and why there is no connection, told apart."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from respool import Database, PoolConfig
from respool.cli.doctor import report
from respool.cli.doctor.connecting import failure_of
from respool.cli.main import main
from respool.observe import snapshot
from tests.cli.doctor.conftest import Doctor, Prepared
from tests.support.mariadb import MariaServer
from tests.support.server import free_port

PG_DRIVERS = ("psycopg", "psycopg2", "asyncpg")


@pytest.fixture
def shop(sqlite_file: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An SQLite database with which all is well."""
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    db = Database(f"sqlite:///{sqlite_file}")
    with db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = wal")
    db.close()
    return f"sqlite:///{sqlite_file}"


def judged(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["doctor", *arguments, "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)["plan"]
    return told


# -- why there is no connection ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", PG_DRIVERS)
@pytest.mark.parametrize(
    "parts, code",
    [
        ({"user": "nobody_of_this_name"}, "D004"),
        ({"database": "no_such_database"}, "D006"),
        ({"port": 1}, "D002"),
    ],
)
def test_postgresql_refuses(doctor: Doctor, prepared: Prepared, driver: str, parts: dict[str, Any], code: str) -> None:
    found = doctor(prepared.url(driver, **parts))
    assert (found.code, list(found.codes)) == (2, [code])
    assert found.told["facts"] is None


@pytest.mark.parametrize("driver", PG_DRIVERS)
def test_a_name_that_nobody_knows(doctor: Doctor, driver: str) -> None:
    found = doctor(f"postgresql+{driver}://shop@no-such-host.invalid/shop", "--timeout", "5")
    assert (found.code, list(found.codes)) == (2, ["D001"])


@pytest.mark.parametrize("driver", PG_DRIVERS)
def test_tls_that_the_server_has_not(doctor: Doctor, prepared: Prepared, driver: str) -> None:
    option = "ssl" if driver == "asyncpg" else "sslmode"
    found = doctor(f"{prepared.url(driver)}?{option}=require")
    assert (found.code, list(found.codes)) == (2, ["D005"])


@pytest.mark.parametrize("driver", PG_DRIVERS)
def test_a_limit_that_is_used_up(doctor: Doctor, prepared: Prepared, driver: str) -> None:
    prepared.do("ALTER ROLE ROLE! CONNECTION LIMIT 1")
    with psycopg.connect(prepared.url().replace("+psycopg", ""), sslmode="disable"):
        found = doctor(prepared.url(driver))
    assert (found.code, list(found.codes)) == (2, ["D007"])


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("driver", PG_DRIVERS)
def test_a_server_that_says_nothing(doctor: Doctor, silent: int, driver: str) -> None:
    found = doctor(f"postgresql+{driver}://shop@127.0.0.1:{silent}/shop", "--timeout", "1")
    assert (found.code, list(found.codes)) == (2, ["D003"])


@pytest.mark.parametrize("driver", ["pymysql", "aiomysql", "asyncmy"])
def test_mariadb_refuses(doctor: Doctor, mariadb: MariaServer, driver: str) -> None:
    mariadb.start()
    for url, code in (
        (mariadb.url(driver, user="nobody"), "D004"),
        (mariadb.url(driver, database="nowhere"), "D006"),
        (mariadb.url(driver).replace(f":{mariadb.port}", f":{free_port()}"), "D002"),
        (mariadb.url(driver).replace("127.0.0.1", "no-such-host.invalid"), "D001"),
    ):
        found = doctor(url)
        assert (url, found.code, list(found.codes)) == (url, 2, [code])


@pytest.mark.parametrize(
    "words, code",
    [
        ('FATAL: no pg_hba.conf entry for host "10.0.0.1", user "x", database "y", SSL encryption', "D004"),
        ("FATAL: password authentication failed for user", "D004"),
        ("SSL error: certificate verify failed", "D005"),
        ("FATAL: the database system is starting up", "D008"),
        ("FATAL: sorry, too many clients already", "D007"),
        ("FATAL: remaining connection slots are reserved for roles with the SUPERUSER attribute", "D007"),
        ("FATAL: no such database: shop", "D006"),
        ("FATAL: no such user: shop", "D004"),
        ("connection timeout expired", "D003"),
        ('connection to server on socket "/run/.s.PGSQL.5432" failed: No such file or directory', "D002"),
        ("something else", "D009"),
    ],
)
def test_words(words: str, code: str) -> None:
    assert failure_of(Exception(words)).code == code


def test_a_password_is_shown_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", f"postgresql+psycopg://shop:very-secret@127.0.0.1:{free_port()}/shop"]) == 2
    printed = capsys.readouterr()
    assert "very-secret" not in printed.out + printed.err
    assert "shop:***@" in printed.out


# -- what is asked for ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "no database was named"),
        (["postgres://shop@db/shop"], "SQLAlchemy's name of 'postgres' is 'postgresql'"),
        (["postgresql://shop@db/shop"], "names no driver"),
        (["oracle+oracledb://shop@db/shop"], "oracledb"),
        (["not a url"], "is not a database URL"),
        (["sqlite://", "--min-size", "20"], "min_size=20 is larger than max_size=10"),
        (["sqlite://", "--snapshot", "/no/such/file"], "No such file or directory"),
    ],
)
def test_a_wrong_command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.delenv("RESPOOL_URL", raising=False)
    assert main(["doctor", *arguments]) == 2
    output, printed = capsys.readouterr()
    assert output == ""
    assert said in printed


@pytest.mark.parametrize("option", [["--workers", "0"], ["--pool", "x"], ["--max-idle", "-1"], ["--max-idle", "never"]])
def test_an_option_that_is_not_accepted(option: list[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["doctor", "sqlite://", *option])
    assert done.value.code == 2


def test_what_is_not_given_comes_from_the_environment(
    shop: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judged(capsys, shop)["source"] == "the defaults; say --workers and --pool"
    for name, value in {"RESPOOL_URL": shop, "RESPOOL_MAX_SIZE": "7", "WEB_CONCURRENCY": "3"}.items():
        monkeypatch.setenv(name, value)
    told = judged(capsys)
    assert (told["workers"], told["pool"]["max_size"], told["connections"]) == (3, 7, 21)
    assert told["source"] == "WEB_CONCURRENCY, max_size=7"
    told = judged(capsys, "--workers", "2", "--pool", "4", "--max-idle", "none", "--max-lifetime", "60")
    assert (told["workers"], told["pool"]["max_size"]) == (2, 4)
    assert (told["pool"]["max_idle"], told["pool"]["max_lifetime"]) == (None, 60)


def test_the_settings_of_processes_that_run(
    shop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Database(shop, name="large", pool=PoolConfig(max_size=6, max_idle=50))
    small = Database(shop, name="small", pool=PoolConfig(max_size=4))
    other = Database("sqlite://", name="other")
    (tmp_path / "seen.json").write_text(json.dumps([snapshot(large, other), snapshot(small)]))
    told = judged(capsys, shop, "--snapshot", str(tmp_path / "seen.json"))
    assert (told["source"], told["workers"], told["connections"]) == ("2 pools that run", 2, 12)
    assert told["pool"]["max_idle"] == 50
    with (tmp_path / "seen.json").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert judged(capsys, shop, "--snapshot", "-")["workers"] == 2
    for database in (large, small, other):
        database.close()


@pytest.mark.parametrize(
    "text, said", [("nonsense", "this is no snapshot"), ("{}", "it has no databases"), ("[]", "it has no databases")]
)
def test_a_snapshot_that_is_none(
    shop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "seen.json").write_text(text)
    assert main(["doctor", shop, "--snapshot", str(tmp_path / "seen.json")]) == 2
    assert said in capsys.readouterr().err


def test_a_snapshot_of_another_database(shop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Database("sqlite:///other.db", name="other")
    (tmp_path / "seen.json").write_text(json.dumps(snapshot(other)))
    assert main(["doctor", shop, "--snapshot", str(tmp_path / "seen.json")]) == 2
    assert "they have: sqlite:///other.db" in capsys.readouterr().err
    other.close()


# -- the report -------------------------------------------------------------------------------------------------------


def test_all_is_well(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", shop, "--strict"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{shop}\n")
    assert printed.endswith("\nAll is well.\n")


def test_a_report_for_people(prepared: Prepared, capsys: pytest.CaptureFixture[str]) -> None:
    prepared.do("ALTER ROLE ROLE! CONNECTION LIMIT 5")
    prepared.do("ALTER ROLE ROLE! SET idle_session_timeout = '60s'")
    assert main(["doctor", prepared.url(), "--workers", "4"]) == 1
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[2] == "PROBLEM  D011  the pools together may open more than is allowed"
    assert "  do: --pool 1: PoolConfig(max_size=1) in each worker" in lines
    assert "WARNING  D021  idle connections are closed by the other side" in lines
    assert lines[-1] == "More on each: respool explain D011"
    assert re.fullmatch(r"1 problem, \d+ warnings?, \d+ notes?\.", lines[-2])
    assert max(map(len, lines)) <= 80
    assert "\033" not in printed, "nobody looks at it at a terminal"


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert report.colours()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not report.colours()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not report.colours()


def test_with_colours_the_words_are_the_same(
    shop: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["doctor", shop, "--workers", "2"])
    plain = capsys.readouterr().out
    monkeypatch.setattr("respool.cli.doctor.command.colours", lambda: True)
    main(["doctor", shop, "--workers", "2"])
    coloured = capsys.readouterr().out
    assert "\033[32mAll is well.\033[0m" in coloured
    bare = re.sub(r"\033\[[\d;]*m", "", coloured)
    assert re.sub(r"[\d.]+ [mµ]?s", "", bare) == re.sub(r"[\d.]+ [mµ]?s", "", plain)
