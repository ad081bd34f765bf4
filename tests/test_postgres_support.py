"""The server that the other tests rely on: it starts, answers, can be taken away and given back, and leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tests.support import postgres as support
from tests.support.postgres import PostgresError, PostgresMissing, PostgresServer
from tests.support.processes import runs

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that these tests may hurt."""
    try:
        server = PostgresServer({"max_connections": "20"})
    except PostgresMissing as missing:
        pytest.skip(str(missing))
    with server:
        yield server


def ask(server: PostgresServer, question: str) -> object:
    with psycopg.connect(server.url(driver=None)) as connection:
        row = connection.execute(question).fetchone()
        assert row is not None
        return row[0]


def test_answers_through_psycopg(pg_url: str) -> None:
    engine = create_engine(pg_url, poolclass=NullPool)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT current_database()")) == pg_url.rsplit("/", 1)[1]
        assert int(connection.scalar(text("SHOW server_version_num"))) >= 180000


async def test_answers_through_asyncpg(postgres: PostgresServer, pg_url: str) -> None:
    database = pg_url.rsplit("/", 1)[1]
    engine = create_async_engine(postgres.url("asyncpg", database), poolclass=NullPool)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT current_database()")) == database


async def test_answers_through_psycopg_in_asyncio(pg_url: str) -> None:
    engine = create_async_engine(pg_url, poolclass=NullPool)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1


def test_runs_unprivileged_as_a_direct_child(server: PostgresServer) -> None:
    assert server.pid is not None
    process = psutil.Process(server.pid)
    assert process.ppid() == os.getpid()
    assert process.uids().real != 0


def test_settings_are_passed_on(server: PostgresServer) -> None:
    assert ask(server, "SHOW max_connections") == "20"
    assert ask(server, "SHOW fsync") == "off"


def test_restart_keeps_port_and_data(server: PostgresServer) -> None:
    url = server.create_database("kept")
    pid, port = server.pid, server.port
    server.restart()
    assert server.port == port
    assert server.pid != pid
    with create_engine(url, poolclass=NullPool).connect() as connection:
        assert connection.scalar(text("SELECT current_database()")) == "kept"
    server.drop_database("kept")


def test_stopped_server_refuses_until_it_is_started(server: PostgresServer) -> None:
    server.stop()
    assert not server.running
    with pytest.raises(psycopg.OperationalError, match="refused"):
        ask(server, "SELECT 1")
    server.start()
    assert ask(server, "SELECT 1") == 1


@pytest.mark.parametrize("mode", ["smart", "fast", "immediate"])
def test_every_mode_stops_it(server: PostgresServer, mode: support.StopMode) -> None:
    pid = server.pid
    assert pid is not None
    server.stop(mode)
    assert not runs(pid)
    server.start()


def test_killed_server_recovers_what_was_committed(server: PostgresServer) -> None:
    with psycopg.connect(server.url(driver=None)) as connection:
        connection.execute("CREATE TABLE saved AS SELECT 42 AS answer")
        connection.execute("SELECT pg_switch_wal()")
        connection.commit()
        server.kill9()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert not server.running
    server.start()
    assert ask(server, "SELECT answer FROM saved") == 42


def test_terminate_backends_hangs_up_on_one_database_only(server: PostgresServer) -> None:
    name = "crowded"
    server.create_database(name)
    with psycopg.connect(server.url(driver=None)) as spared:
        with psycopg.connect(server.url(driver=None, database=name)) as victim:
            assert server.terminate_backends(name) == 1
            with pytest.raises(psycopg.OperationalError):
                victim.execute("SELECT 1")
        assert spared.execute("SELECT 1").fetchone() == (1,)
    server.drop_database(name)


def test_close_leaves_no_process_and_no_file() -> None:
    with PostgresServer() as server:
        base, pid = server.base, server.pid
        assert pid is not None
        assert runs(pid)
        assert base.exists()
    assert not runs(pid)
    assert not base.exists()
    with pytest.raises(PostgresError, match="call start"):
        server.base


def test_close_after_a_kill_leaves_nothing_either() -> None:
    with PostgresServer() as server:
        base = server.base
        segment = (base / "data" / "postmaster.pid").read_text().split("\n")[6].split()[1]
        assert shared_memory_exists(segment)
        server.kill9()
    assert not base.exists()
    assert not shared_memory_exists(segment)


def shared_memory_exists(segment: str) -> bool:
    table = Path("/proc/sysvipc/shm")
    if not table.exists():
        pytest.skip("needs /proc/sysvipc/shm")
    return any(line.split()[1] == segment for line in table.read_text().splitlines()[1:])


@pytest.mark.parametrize("when", ["_came_up", "_administer"])  # killed before it is up, killed while it runs
def test_dies_with_the_process_that_started_it(when: str) -> None:
    script = f"""
        import os
        from tests.support.postgres import PostgresServer

        class Doomed(PostgresServer):
            def {when}(self, *arguments):
                print(self.base, flush=True)
                if self._process is None:
                    self._run([self._bin / "postgres", "-D", self.base / "data"], None, None)
                os.kill(os.getpid(), 9)

        server = Doomed()
        server.start()
        server.create_database("never")
    """
    root = Path(support.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=root, stdout=subprocess.PIPE, text=True, check=False
    )
    base = done.stdout.splitlines()[0]  # this comes when the reaper, which holds the other end too, is done
    assert not Path(base).exists()
    assert not [process.pid for process in psutil.process_iter(["cmdline"]) if base in str(process.info["cmdline"])]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_binaries_out_of_reach_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install = support._find_install()
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o700)
    for part in install.parents[1].glob(f"{install.parent.name}*"):
        (locked / part.name).symlink_to(part)
    monkeypatch.setattr(support, "_find_install", lambda: locked / install.parent.name / install.name)
    with PostgresServer() as server:
        assert list((server.base / "install").glob("*/*/bin/postgres"))
        assert ask(server, "SELECT 1") == 1


def test_a_start_that_fails_says_why_and_leaves_nothing() -> None:
    server = PostgresServer({"max_connections": "many"})
    with pytest.raises(PostgresError, match='invalid value for parameter "max_connections"'):
        server.start()
    assert not server.running
    with pytest.raises(PostgresError, match="call start"):
        server.base
