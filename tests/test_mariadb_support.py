"""The MariaDB that the tests rely on: it starts, answers, can be taken away and given back, and leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pymysql
import pytest

from tests.support import mariadb as support
from tests.support.mariadb import MariaError, MariaMissing, MariaServer
from tests.support.processes import runs

pytestmark = pytest.mark.mariadb


@pytest.fixture(scope="module")
def server() -> Iterator[MariaServer]:
    """One that these tests may hurt."""
    try:
        server = MariaServer()
    except MariaMissing as missing:
        pytest.skip(str(missing))
    with server:
        yield server


def ask(server: MariaServer, question: str, database: str | None = None, **who: str) -> object:
    with pymysql.connect(
        host="127.0.0.1", port=server.port, database=database, **{"user": "root", **who}
    ) as connection:
        with connection.cursor() as cursor:
            cursor.execute(question)
            row = cursor.fetchone()
            assert row is not None
            return row[0]


def test_runs_unprivileged_as_a_direct_child(server: MariaServer) -> None:
    process = psutil.Process(server.pid)
    assert process.ppid() == os.getpid()
    assert process.uids().real != 0


def test_a_user_with_a_password(server: MariaServer) -> None:
    assert ask(server, "SELECT 1", user="shopper", password="secret") == 1
    with pytest.raises(pymysql.OperationalError, match="denied"):
        ask(server, "SELECT 1", user="shopper", password="guess")


def test_restart_and_kill_keep_port_and_data(server: MariaServer) -> None:
    server.create_database("kept")
    port = server.port
    for again in (server.restart, server.kill9):
        again()
        server.start()
        assert server.port == port
        assert ask(server, "SELECT DATABASE()", "kept") == "kept"
    server.stop()
    with pytest.raises(pymysql.OperationalError, match="refused"):
        ask(server, "SELECT 1")
    server.start()
    server.drop_database("kept")


def test_terminate_backends_hangs_up_on_one_database_only(server: MariaServer) -> None:
    server.create_database("crowded")
    there = {"host": "127.0.0.1", "port": server.port, "user": "root"}
    with pymysql.connect(**there, database="mysql") as spared, pymysql.connect(**there, database="crowded") as victim:
        assert server.count_backends("crowded") == 1
        assert server.terminate_backends("crowded") == 1
        assert server.count_backends("crowded") == 0
        spared.ping(reconnect=False)
        with pytest.raises(pymysql.OperationalError):
            victim.ping(reconnect=False)
    server.drop_database("crowded")


def test_close_leaves_no_process_and_no_file(server: MariaServer) -> None:
    with MariaServer() as other:
        base, pid = other.base, other.pid
        assert pid is not None
        assert other.port != server.port
    assert not runs(pid)
    assert not base.exists()
    with pytest.raises(MariaError, match="call start"):
        other.base


def test_dies_with_the_process_that_started_it(server: MariaServer) -> None:
    script = """
        import os
        from tests.support.mariadb import MariaServer

        server = MariaServer()
        server.start()
        print(server.base, flush=True)
        os.kill(os.getpid(), 9)
    """
    root = Path(support.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=root, stdout=subprocess.PIPE, text=True, check=False
    )
    base = done.stdout.splitlines()[0]  # this comes when the reaper, which holds the other end too, is done
    assert not Path(base).exists()
    assert not [process.pid for process in psutil.process_iter(["cmdline"]) if base in str(process.info["cmdline"])]


def test_where_it_is_missing_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support.shutil, "which", lambda program, path: None)
    with pytest.raises(MariaMissing, match="apt-get install mariadb-server"):
        MariaServer()
