"""What is found wrong, and that each finding names the line to change; looked at by hand, so that no time has to pass."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text

from respool import AsyncDatabase, Database, PoolConfig
from respool.engine import only_looks
from respool.engine.pools.lending import noted
from respool.errors import ConcurrentUse, ConfigError, PoolTimeout
from respool.observe import observe, snapshot
from respool.observe.findings import holding
from respool.observe.findings.board import Board
from respool.observe.findings.holding import Holding
from respool.observe.findings.kinds import KINDS
from respool.observe.findings.loops import Loops
from respool.observe.observation import observation
from respool.observe.recording.recorder import recorder_of
from tests.support.threads import thread_with_the_number_of

WRITE = text("INSERT INTO item (name) VALUES ('a')")


def here(after: int = 0) -> str:
    """The line of the caller, so many lines on."""
    import sys

    frame = sys._getframe(1)
    return f"{os.path.relpath(frame.f_code.co_filename)}:{frame.f_lineno + after}"


def found(kind: str) -> list[Any]:
    return [finding for finding in observation.board.all() if finding.kind.name == kind]


def look(db: Any, looks: Callable[[Any], object]) -> None:
    recorder = recorder_of(db)
    assert recorder is not None
    looks(recorder)


def test_held_while_something_else_is_waited_for(shop: Database) -> None:
    board = Board()
    never, ready = threading.Event(), threading.Event()
    lines: list[str] = []

    def work() -> None:
        with shop.scope("order") as session:
            session.execute(WRITE)
            lines.append(here(2))
            ready.set()
            never.wait()
            session.rollback()

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    try:
        watching = Holding(board, idle_hold=0.0)
        for _ in range(100):  # until the thread has come to its wait
            look(shop, watching.look)
            if any(each.place == lines[0] for each in board.all()):
                break
        else:
            pytest.fail(str(board.all()))
        look(shop, watching.look)
    finally:
        never.set()
        thread.join()
    finding = next(each for each in board.all() if each.place == lines[0])
    assert (finding.kind.code, finding.count, finding.route, finding.database) == ("F001", 1, "order", "shop")
    assert "work() holds a connection" in finding.what
    assert "last statement: INSERT INTO item (name) VALUES ('a')" in finding.facts
    assert any("taken at" in fact for fact in finding.facts)


async def test_held_by_a_task_that_awaits_something_else(sqlite_file: str, watch: Callable[..., Any]) -> None:
    db = watch(AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}", name="shop"))
    board, never, ready = Board(), asyncio.Event(), asyncio.Event()
    line = ""

    async def work() -> None:
        nonlocal line
        async with db.scope("order") as session:
            await session.execute(text("CREATE TABLE t (x INTEGER)"))
            ready.set()
            line = here(1)
            await never.wait()
            await session.rollback()

    task = asyncio.create_task(work())
    await ready.wait()
    look(db, Holding(board, idle_hold=0.0).look)
    never.set()
    await task
    await db.close()
    assert [(each.kind.name, each.place) for each in board.all()] == [("held-idle", line)]


def test_a_connection_that_nobody_gives_back(shop: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "_GRACE", 0.0)
    board, kept = Board(), []

    def take() -> None:
        kept.append(shop.engine.connect())

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    watching = Holding(board, idle_hold=0.0)
    look(shop, watching.look)
    look(shop, watching.look)
    (finding,) = board.all()
    assert (finding.kind.code, finding.count) == ("F002", 1)
    assert finding.place == f"{os.path.relpath(__file__)}:{take.__code__.co_firstlineno + 1}"
    kept.pop().close()


async def test_tasks_of_a_loop_that_is_late_are_not_blamed(sqlite_file: str, watch: Callable[..., Any]) -> None:
    db = watch(AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}", name="shop"))
    board, loops = Board(), Loops(Board(), blocked=60.0)
    async with db.engine.connect():
        assert not loops.are_late(db.pool)
        loops.look(db)
        assert loops.are_late(db.pool)  # nothing was awaited since
        look(db, lambda recorder: Holding(board, idle_hold=0.0).look(recorder, late=loops.are_late(db.pool)))
        assert board.all() == []
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not loops.are_late(db.pool)
        look(db, lambda recorder: Holding(board, idle_hold=0.0).look(recorder, late=loops.are_late(db.pool)))
    assert [each.kind.code for each in board.all()] == ["F001"]
    await db.close()


def test_an_ended_thread_whose_number_is_given_again(shop: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "_GRACE", 0.0)
    board, kept = Board(), []
    thread = threading.Thread(target=lambda: kept.append(shop.engine.connect()))
    thread.start()
    thread.join()
    with thread_with_the_number_of(thread):
        look(shop, Holding(board, idle_hold=0.0).look)
    assert [each.kind.code for each in board.all()] == ["F002"]
    kept.pop().close()


def test_a_connection_that_is_used_is_no_finding(shop: Database) -> None:
    board = Board()

    @event.listens_for(shop.engine, "do_execute")
    def look_meanwhile(*args: Any) -> None:
        look(shop, Holding(board, idle_hold=0.0).look)

    with shop.scope("work") as session:
        session.execute(text("SELECT 1"))
        session.rollback()
    assert board.all() == []


def test_one_statement_again_and_again(shop: Database) -> None:
    with shop.scope("list") as session:
        line = here(2)
        for _ in range(5):
            session.execute(text("SELECT * FROM item"))
        for _ in range(5):
            session.execute(WRITE)
        session.rollback()
    observation.look()
    (finding,) = found("n-plus-one")
    assert (finding.place, finding.worst, finding.route) == (line, 5, "list")
    assert "the statement: SELECT * FROM item" in finding.facts


def test_four_times_is_no_finding_and_neither_are_five_lines(shop: Database) -> None:
    with shop.scope("list") as session:
        for _ in range(4):
            session.execute(text("SELECT 1"))
        session.execute(text("SELECT 1"))
    observation.look()
    assert found("n-plus-one") == []


def test_a_connection_beside_one_that_is_held(shop: Database) -> None:
    with shop.scope("outer") as session:
        session.execute(WRITE)
        with shop.scope("inner") as inner:
            line = here(1)
            inner.execute(text("SELECT 1"))
        session.rollback()
    observation.look()
    (finding,) = found("nested")
    assert (finding.place, finding.route) == (line, "inner")


def test_changes_that_are_dropped(shop: Database) -> None:
    with pytest.warns(match="1 uncommitted change rolled back"), shop.scope("work") as session:
        session.execute(WRITE)
    (finding,) = found("changes-dropped")
    assert finding.database == "shop"
    assert finding.place is not None
    assert finding.place.startswith(os.path.relpath(__file__))
    assert finding.facts == ("INSERT INTO item (text)",)


async def test_a_session_used_by_two(sqlite_file: str, watch: Callable[..., Any]) -> None:
    db = watch(AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}", name="shop"))
    async with db.scope("work") as session:
        results = await asyncio.gather(
            *(session.execute(text("SELECT 1")) for _ in range(2)), return_exceptions=True
        )  # fmt: skip
    await db.close()
    assert sum(isinstance(each, ConcurrentUse) for each in results) == 1
    assert len(found("used-by-two")) == 1


def test_a_pool_that_is_exhausted(shop: Database) -> None:
    shop.pool.resize(max_size=1)
    shop.pool._longest_wait = 0.0
    with shop.scope("holder") as session:
        session.execute(WRITE)
        with pytest.raises(PoolTimeout):
            shop.engine.connect()
        session.rollback()
    (finding,) = found("pool-exhausted")
    assert finding.database == "shop"
    assert any("holder" in fact for fact in finding.facts)


def test_a_loop_that_stands_still(sqlite_file: str, watch: Callable[..., Any]) -> None:
    board = Board()
    loops = Loops(board, blocked=0.0)
    db = watch(AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}", name="shop"))
    blocked, go_on = threading.Event(), threading.Event()
    line = ""

    async def stand_still() -> None:
        nonlocal line
        async with db.scope("work") as session:
            await session.execute(text("SELECT 1"))
        beaten = asyncio.Event()
        asyncio.get_running_loop().call_soon(beaten.set)
        loops.look(db)
        await beaten.wait()
        await asyncio.sleep(0)
        assert loops.blocked(db.pool) == 0.0
        blocked.set()
        line = here(1)
        go_on.wait()
        await db.close()

    thread = threading.Thread(target=lambda: asyncio.run(stand_still()))
    thread.start()
    blocked.wait()
    try:
        for _ in range(100):
            loops.look(db)
            if board.all():
                break
            time.sleep(0.001)
        assert loops.blocked(db.pool) > 0.0
    finally:
        go_on.set()
        thread.join()
    (finding,) = board.all()
    assert (finding.kind.code, finding.place) == ("F007", line)


def test_a_database_that_is_away(watch: Callable[..., Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        db = watch(
            Database(f"postgresql+psycopg://me:s3cret@127.0.0.1:{port}/shop", name="shop", pool=PoolConfig(timeout=0.5))
        )
        with pytest.raises(PoolTimeout), db.engine.connect():
            pass
        observation.look()
        db.close()
    (finding,) = found("database-away")
    assert finding.place == f"postgresql+psycopg://me:***@127.0.0.1:{port}/shop"
    assert "s3cret" not in str(finding.facts)
    assert found("pool-exhausted") == []  # that is only what follows from it


def test_a_slow_connect(sqlite_file: str, watch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    db = watch(Database(f"sqlite:///{sqlite_file}", name="shop"))
    monkeypatch.setattr(observation.connects, "_slow", 0.0)
    with db.engine.connect():
        pass
    observation.look()
    assert [each.kind.code for each in found("slow-connect")] == ["F010"]
    db.close()


def test_a_listener_that_costs_trips(shop: Database) -> None:
    @event.listens_for(shop.engine, "before_cursor_execute")
    def set_tenant(*args: Any) -> None: ...

    @event.listens_for(shop.engine, "before_cursor_execute")
    @only_looks
    def log(*args: Any) -> None: ...

    observation.look()
    (finding,) = found("lease-costs")
    assert finding.place == f"{os.path.relpath(__file__)}:{set_tenant.__code__.co_firstlineno}"


def test_a_finding_is_logged_once(shop: Database, caplog: pytest.LogCaptureFixture) -> None:
    board = Board()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            board.found("leak", "a connection", database="shop", place="app.py:3", facts=["a fact"])
    said = "[F002] a connection at app.py:3, database 'shop': a connection is not given back\n  a fact\n"
    assert [record.getMessage() for record in caplog.records] == [f"{said}  do: {KINDS['leak'].advice[0]}"]
    assert board.all()[0].count == 3


def test_findings_are_bounded() -> None:
    board = Board()
    logging.getLogger("respool.observe").disabled = True
    try:
        for number in range(500):
            board.found("leak", "x" * 10, database="shop", place=f"app.py:{number}", facts=["y" * 10_000] * 100)
    finally:
        logging.getLogger("respool.observe").disabled = False
    assert len(board.all()) == 200
    assert board.all()[0].place == "app.py:499"
    assert (len(board.all()[0].facts), len(board.all()[0].facts[0])) == (20, 500)


def test_findings_and_the_verdict_stand_in_the_snapshot(shop: Database) -> None:
    assert snapshot(shop)["verdict"] == "All is well."
    observation.board.found("leak", "a connection is lost", database="shop", place="app.py:3")
    observation.board.found("leak", "of another one", database="other", place="app.py:3")
    seen = snapshot(shop)
    assert [row["code"] for row in seen["findings"]] == ["F002"]
    assert seen["verdict"] == "All is served; 1 finding, the latest: a connection is lost at app.py:3."
    shop.pool.resize(max_size=1)
    with shop.engine.connect():
        busy = snapshot(shop)["verdict"]
    assert busy == "Database 'shop': all 1 connections are in use, and nobody waits. a connection is lost at app.py:3."


def test_what_is_no_database_is_refused() -> None:
    with pytest.raises(ConfigError, match="observe\\(\\) got an object of type Engine"):
        observe(create_engine("sqlite://"))


def test_a_database_that_is_dropped_is_forgotten(sqlite_file: str) -> None:
    before = [*observation.recorders], len(noted)
    db = Database(f"sqlite:///{sqlite_file}", name="dropped")
    observe(db)
    with db.scope("work") as session:
        session.execute(text("SELECT 1"))
    other = Database(db.engine, name="of the same pool")
    observe(other)
    del db, session
    gc.collect()
    observation.look()
    assert "dropped" not in [database.name for database in observation.databases]
    assert len(observation.recorders) == len(before[0]) + 1
    pool: Any = other.pool
    assert pool.meter.recorders == (recorder_of(other),)
    pool.dispose()
    other.close()
    del other, pool
    gc.collect()
    observation.look()
    assert ([*observation.recorders], len(noted)) == before
