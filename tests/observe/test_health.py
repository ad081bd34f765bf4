"""Health: said at once, with the database down, the pool full and the event loop blocked; nothing is asked or waited for."""

from __future__ import annotations

import asyncio
import json
import math
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from respool import AsyncDatabase, Database, PoolConfig
from respool.errors import ConfigError, PoolTimeout
from respool.observe import Health, Probes, health, observe
from respool.observe.observation import observation
from respool.observe.probes.conditions import SERVING, STATES
from respool.testing import FakeClock
from tests.support.server import free_port
from tests.web.clients import call_asgi, call_wsgi


@pytest.fixture
def db(sqlite_file: str) -> Iterator[Database]:
    db = Database(f"sqlite:///{sqlite_file}", name="shop", pool=PoolConfig(max_size=2))
    yield db
    db.close()


@pytest.fixture
def away() -> Iterator[Database]:
    """A database at a port where nobody listens."""
    url = f"postgresql+psycopg://shop:secret@127.0.0.1:{free_port()}/shop"
    db = Database(url, name="away", pool=PoolConfig(timeout=60, connect_timeout=5))
    yield db
    db.close()


def clock_of(db: Database) -> FakeClock:
    """From now on the pool's time goes on by hand."""
    (monitor,) = db.pool.running_monitors()
    clock = FakeClock(monitor.clock())
    monitor.clock = clock
    return clock


def state_of(found: Health) -> tuple[bool, str]:
    (row,) = found.databases
    assert row.ok == (row.state in SERVING) == found.ok
    return found.ok, row.state


def ask_in_vain(db: Database) -> None:
    """Ask a database that is away for a connection, and go before it is there."""
    db.pool._longest_wait = 0.3
    with pytest.raises(PoolTimeout):
        db.engine.connect()
    while db.pool.running_monitors()[0].state.connecting:  # one that was under way when the caller left
        threading.Event().wait(0.001)


class Line:
    """Somebody who waits for a connection, in a thread."""

    def __init__(self, db: Database) -> None:
        self.got: Any = None
        self._thread = threading.Thread(target=self._wait, args=(db,))
        self._thread.start()
        while not db.pool.stats().waiting:
            threading.Event().wait(0.001)

    def _wait(self, db: Database) -> None:
        try:
            db.engine.connect().close()
        except Exception as error:
            self.got = error

    def join(self) -> None:
        self._thread.join()


# -- what is told -----------------------------------------------------------------------------------------------------


def test_a_database_that_nobody_has_used_is_ready_and_nothing_is_opened(db: Database) -> None:
    assert state_of(health(db)) == (True, "ok")
    assert db.pool.stats().connects == 0
    assert health(db).reason == "all is well"


def test_a_full_pool_is_ready_as_long_as_connections_come_back(db: Database) -> None:
    clock = clock_of(db)
    with db.engine.connect(), db.engine.connect():
        clock.advance(4.9)
        assert state_of(health(db)) == (True, "full")
        clock.advance(0.2)
        found = health(db)
        assert state_of(found) == (False, "exhausted")
        assert found.reason == "database 'shop': all 2 connections are held, and none has come back for 5.1 s"
        assert found.databases[0].figures["acquired"] == 2
        assert state_of(health(db, exhausted_after=6)) == (True, "full")
    assert state_of(health(db)) == (True, "ok")


def test_one_that_is_given_back_and_taken_again_is_coming_back(db: Database) -> None:
    clock = clock_of(db)
    with db.engine.connect():
        with db.engine.connect():
            clock.advance(4)
        with db.engine.connect():
            clock.advance(4)
            assert state_of(health(db)) == (True, "full")


def test_who_waits_for_too_long_says_that_it_is_exhausted(db: Database) -> None:
    clock = clock_of(db)
    with db.engine.connect(), db.engine.connect():
        line = Line(db)
        clock.advance(2)
        assert state_of(health(db)) == (True, "full")
        clock.advance(3.5)
        found = health(db)
        assert state_of(found) == (False, "exhausted")
        assert "the first of 1 in line has waited for 5.5 s" in found.reason
    line.join()


def test_the_limit_is_half_of_what_callers_are_ready_to_wait(sqlite_file: str) -> None:
    db = Database(f"sqlite:///{sqlite_file}", pool=PoolConfig(max_size=1, timeout=2))
    clock = clock_of(db)
    with db.engine.connect():
        clock.advance(0.9)
        assert state_of(health(db)) == (True, "full")
        clock.advance(0.2)
        assert state_of(health(db)) == (False, "exhausted")
    db.close()


def test_closed_and_suspended(db: Database) -> None:
    db.pool.suspend()
    assert state_of(health(db)) == (False, "suspended")
    db.pool.resume()
    assert state_of(health(db)) == (True, "ok")
    db.close()
    assert state_of(health(db)) == (False, "closed")
    assert health(db).reason == "database 'shop': it is closed"


def test_warming_up(db: Database) -> None:
    (monitor,) = db.pool.running_monitors()
    db.pool.suspend()  # so that nothing is opened yet
    monitor.step(monitor.state.warm_up, 2)
    monitor.state.suspended = False
    found = health(db)
    assert state_of(found) == (False, "warming")
    assert "0 of the 2 connections to begin with are open" in found.reason


def test_away_while_somebody_asks(away: Database) -> None:
    line = Line(away)
    while away.pool.running_monitors()[0].state.outage is None:
        threading.Event().wait(0.001)
    clock = clock_of(away)
    clock.advance(3)
    found = health(away)
    assert state_of(found) == (False, "away")
    assert found.databases[0].figures["away"] >= 3
    assert re.search(r"it does not answer, for \d+\.\d s now", found.reason)
    assert "1 wait for it" in found.reason
    assert state_of(health(away, away_after=10)) == (True, "short")
    assert "refused" in (found.databases[0].last_error or "")
    assert "secret" not in found.json()
    away.close()
    line.join()


def test_one_that_nobody_asks_any_more_is_tried_again(away: Database) -> None:
    """Else a process that gets no requests since it is not ready would stay so for ever."""
    ask_in_vain(away)
    (monitor,) = away.pool.running_monitors()
    clock = clock_of(away)
    monitor.state.outage.retry_at = clock() + 5
    assert state_of(health(away)) == (False, "away")
    clock.advance(5)
    assert state_of(health(away)) == (True, "untried")


def test_one_that_is_tried_by_the_pool_itself_stays_away(away: Database) -> None:
    ask_in_vain(away)
    (monitor,) = away.pool.running_monitors()
    clock_of(away).advance(10)
    monitor.state.min_size = 1
    assert state_of(health(away)) == (False, "away")


def test_connections_that_are_open_go_on(db: Database) -> None:
    (monitor,) = db.pool.running_monitors()
    with db.engine.connect():
        db.pool.suspend()
        monitor.step(monitor.state.warm_up, 2)
        monitor.state.suspended = False
        monitor.step(monitor.state.resume)
        while db.pool.stats().total < 2:
            threading.Event().wait(0.001)
        from respool.pool.core.backoff import Outage

        monitor.state.outage = Outage(monitor.clock())
        found = health(db)
        assert state_of(found) == (True, "short")
        assert "the 2 that are open go on" in found.databases[0].reason
        monitor.state.outage = None


def test_another_pool_is_not_measured() -> None:
    db = Database(create_engine("sqlite://", poolclass=NullPool))
    assert state_of(health(db)) == (True, "unmeasured")
    assert "NullPool" in health(db).databases[0].reason
    db.close()


async def test_an_async_pool_before_its_first_use_and_after(sqlite_file: str) -> None:
    db = AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}", name="async")
    assert state_of(health(db)) == (True, "unused")
    async with db.scope("one") as session:
        await session.execute(text("SELECT 1"))
        assert state_of(health(db)) == (True, "ok")
        assert health(db).databases[0].figures["acquired"] == 1
    await db.close()


def test_what_a_loop_that_has_ended_knew_is_of_no_interest(sqlite_file: str) -> None:
    db = AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}", name="async")

    async def use() -> None:
        async with db.scope("one") as session:
            await session.execute(text("SELECT 1"))

    loop = asyncio.new_event_loop()
    loop.run_until_complete(use())
    db.pool.running_monitors()[0].state.suspended = True
    assert state_of(health(db)) == (True, "unused")
    db.pool.running_monitors()[0].state.suspended = False
    loop.run_until_complete(db.close())
    loop.close()


# -- several ----------------------------------------------------------------------------------------------------------


def test_of_several_one_can_be_done_without(db: Database) -> None:
    reports = Database("sqlite://", name="reports")
    reports.close()
    assert not health(db, reports)
    found = health(db, reports, required=[db])
    assert found
    assert found.reason == "database 'reports': it is closed", "it is told all the same"
    assert [(row.name, row.ok, row.required) for row in found.databases] == [
        ("shop", True, True),
        ("reports", False, False),
    ]
    assert not health(db, reports, required=["reports"])


def test_what_is_refused(db: Database) -> None:
    with pytest.raises(ConfigError, match="'shopp' is required, but was not given, did you mean 'shop'"):
        health(db, required=["shopp"])
    with pytest.raises(ConfigError, match="got an object of type str"):
        health("shop")
    with pytest.raises(ConfigError, match="no 'exhausted_afer', did you mean 'exhausted_after'"):
        Probes(db, exhausted_afer=3)


# -- nothing is waited for --------------------------------------------------------------------------------------------


class Untouchable:
    """A lock that nobody may ask for."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the pool's lock was asked: {name}")


def test_no_lock_is_taken(db: Database, away: Database) -> None:
    """By construction: however long somebody holds it, the answer is there."""
    ask_in_vain(away)
    away.pool.running_monitors()[0].state.outage.retry_at = math.inf  # nobody tries meanwhile
    for database, ready in ((db, 200), (away, 503)):
        (monitor,) = database.pool.running_monitors()
        lock = monitor._lock
        monitor._lock = Untouchable()
        try:
            assert Probes(database).answer("/ready").status == ready
            with pytest.raises(AssertionError, match="was asked"):
                database.pool.stats()
        finally:
            monitor._lock = lock


async def test_a_blocked_loop_is_told_by_another_thread(sqlite_file: str) -> None:
    db = AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}", name="async")
    observe(db)
    try:
        async with db.scope("one") as session:
            await session.execute(text("SELECT 1"))
        observation.look()
        await asyncio.sleep(0)  # its sign of life
        probes = Probes(db, blocked_after=0.5, dead_after=1.0)
        seen: list[tuple[int, int, str]] = []

        def ask() -> None:
            while (not seen or seen[-1][1] == 200) and len(seen) < 1000:
                seen.append(
                    (probes.answer("/ready").status, probes.answer("/live").status, probes.health().databases[0].state)
                )
                threading.Event().wait(0.01)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()  # the loop stands still as long as this
        assert seen[0] == (200, 200, "ok")
        assert (503, 200, "blocked") in seen
        assert seen[-1][1:] == (503, "blocked")
    finally:
        observation.remove(db)
        await db.close()


# -- the answers to probes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/ready", "/health/ready", "/ready/", "/a/b/ready"])
async def test_the_last_part_of_the_path_counts(db: Database, path: str) -> None:
    probes = Probes(db)
    for answer in (await call_asgi(probes.asgi, path), call_wsgi(probes.wsgi, path)):
        assert answer.error is None
        assert answer.status == 200
        told = json.loads(answer.body)
        assert (told["ready"], told["reason"]) == (True, "all is well")
        assert [row["name"] for row in told["databases"]] == ["shop"]


async def test_a_database_that_is_closed_is_answered_503(db: Database) -> None:
    probes = Probes(db)
    db.close()
    for answer in (await call_asgi(probes.asgi, "/ready"), call_wsgi(probes.wsgi, "/ready")):
        assert answer.status == 503
        assert json.loads(answer.body)["reason"] == "database 'shop': it is closed"
    assert call_wsgi(probes.wsgi, "/live").status == 200, "no restart would open it"


async def test_mounted_at_the_path_itself(db: Database) -> None:
    probes = Probes(db)
    assert (await call_asgi(probes.asgi, "/", scope={"root_path": "/ready"})).status == 200
    assert (await call_asgi(probes.asgi, "/ready", scope={"root_path": "/ready"})).status == 200
    assert (await call_asgi(probes.asgi, "", scope={"root_path": "/live"})).status == 200


async def test_other_paths_and_methods(db: Database) -> None:
    probes = Probes(db)
    assert (await call_asgi(probes.asgi, "/")).status == call_wsgi(probes.wsgi, "/").status == 404
    for answer in (await call_asgi(probes.asgi, "/live", "POST"), call_wsgi(probes.wsgi, "/live", "POST")):
        assert answer.status == 405
    for answer in (await call_asgi(probes.asgi, "/live", "HEAD"), call_wsgi(probes.wsgi, "/live", "HEAD")):
        assert (answer.status, answer.body) == (200, b"")
    with pytest.raises(NotImplementedError, match="websocket"):
        await probes.asgi({"type": "websocket"}, None, None)  # type: ignore[arg-type]


def test_the_drivers_words_are_told_to_whom_they_are_meant_for(away: Database) -> None:
    ask_in_vain(away)
    assert "refused" not in Probes(away).answer("/ready").body.decode()
    assert "refused" in Probes(away, details=True).answer("/ready").body.decode()
    assert "refused" in json.loads(health(away).json())["databases"][0]["last_error"]


def test_the_answers_headers(db: Database) -> None:
    answer = Probes(db).answer("/live")
    assert dict(answer.headers) == {
        "Content-Type": "application/json",
        "Content-Length": str(len(answer.body)),
        "Cache-Control": "no-store",
    }


def test_every_state_is_in_the_documents() -> None:
    from tests.docs.test_reference import DOCS, table

    told = [row[0].strip("`") for row in table(DOCS / "how-to" / "health-checks.md", "What is told")]
    assert told == list(STATES)
