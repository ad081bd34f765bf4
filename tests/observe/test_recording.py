"""What is noted of connections, statements and scopes: by whom, where, how long; and that nothing is when nobody looks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import column, create_engine, event, exc, literal, select, table, text

from respool import AsyncDatabase, Database, PoolConfig
from respool.engine import FairPool, only_looks
from respool.engine.pools.checkout import Checkout
from respool.errors import PoolTimeout
from respool.observe import observe, snapshot
from respool.observe.observation import observation
from respool.observe.recording.account import SHORT, Account, Use
from respool.observe.recording.meter import OUTSIDE
from respool.observe.recording.recorder import Recorder, recorder_of
from respool.observe.recording.routes import MOST_ROUTES, OTHERS, Routes
from respool.session.reads.begin import rule_of
from respool.web.fastapi import install
from tests.session.shop import Product, fill

WRITE = text("INSERT INTO item (name) VALUES (:name)")


def connections(db: Any) -> list[Any]:
    return [row for row in snapshot(db)["databases"][0]["connections"] if row["state"] == "acquired"]


def requests(db: Any) -> list[Any]:
    return snapshot(db)["databases"][0]["requests"]


def line_of(function: Callable[..., Any], after: int) -> str:
    code = function.__code__
    return f"{os.path.relpath(code.co_filename)}:{code.co_firstlineno + after}"


def test_a_database_that_nobody_observes_pays_nothing(sqlite_file: str) -> None:
    db = Database(f"sqlite:///{sqlite_file}")
    with db.scope("work") as session:
        session.execute(text("SELECT 1"))
        scope = db.scope_here()
        assert scope is not None
        assert (db.pool.meter, scope.account) == (None, None)
        assert connections(db)[0]["taken_at"] is None
    assert recorder_of(db) is None
    db.close()


def test_who_holds_a_connection_and_what_for(shop: Database) -> None:
    with shop.scope("work") as session:
        session.execute(WRITE, {"name": "secret"})
        (row,) = connections(shop)
        session.rollback()
    assert row["label"] == row["route"] == "work"
    assert row["taken_at"].startswith(line_of(test_who_holds_a_connection_and_what_for, 2))
    assert row["sql"] == "INSERT INTO item (name) VALUES (?)"
    assert (row["executing"], row["statements"]) == (False, 1)
    assert row["idle"] >= 0.0
    assert row["in_sql"] > 0.0
    assert connections(shop) == []


def test_a_scope_that_is_over_tells_where_its_time_went(shop: Database) -> None:
    with shop.scope("work") as session:
        session.execute(WRITE, {"name": "a"})
        session.commit()
    (row, *_) = requests(shop)
    assert (row["label"], row["outcome"], row["statements"]) == ("work", "committed", 1)
    assert [event["kind"] for event in row["events"]] == ["sql", "commit", "hold"]
    hold = row["events"][-1]
    assert hold["place"] == line_of(test_a_scope_that_is_over_tells_where_its_time_went, 2)
    assert row["seconds"] >= row["held"] >= row["in_sql"] > 0.0
    assert row["idle"] == pytest.approx(row["held"] - row["in_sql"])
    assert all(event["start"] >= 0.0 for event in row["events"])


def test_reads_that_are_leased_stay_so(shop: Database) -> None:
    with shop.scope("work") as session:
        session.execute(select(literal(1)))
        assert rule_of(shop.engine).kind() == "autocommit"
        assert connections(shop) == []
    (row, *_) = requests(shop)
    assert (row["leases"], row["statements"], row["outcome"]) == (1, 1, "none")


@pytest.fixture
def known(shop: Database) -> Database:
    """The same, and it is known what its reads may be leased."""
    with shop.scope("first") as session:
        session.execute(select(literal(0)))
    return shop


def test_a_read_alone_takes_as_long_as_it_has_its_connection(known: Database) -> None:
    shop = known
    with shop.scope("work") as session:
        session.execute(select(literal(1)))
    (row, *_) = requests(shop)
    assert [(event["kind"], event["sql"]) for event in row["events"]] == [("sql", "SELECT ? AS anon_1"), ("hold", None)]
    assert (row["in_sql"], row["idle"]) == (row["held"], 0.0)
    assert row["held"] > 0.0


def test_rows_that_are_left_of_a_read_hold_its_connection_idle(known: Database) -> None:
    shop = known
    with shop.engine.begin() as connection:
        connection.execute(WRITE, [{"name": str(number)} for number in range(500)])
    with shop.scope("work") as session:
        rows = iter(session.execute(select(column("name")).select_from(table("item"))))
        next(rows)
        (during,) = connections(shop)
        assert len([*rows]) == 499
    (row, *_) = requests(shop)
    assert (during["executing"], during["statements"]) == (False, 1)
    assert during["idle"] >= 0.0
    assert (row["leases"], row["statements"]) == (1, 1)
    assert row["idle"] > 0.0


def test_who_hears_of_a_read_alone_may_read_as_well(known: Database) -> None:
    shop = known

    @only_looks
    def heard(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "name" not in statement:
            connection.execute(select(column("name")).select_from(table("item"))).all()

    event.listen(shop.engine, "after_cursor_execute", heard)
    with shop.scope("work") as session:
        session.execute(select(literal(1)))
    (row, *_) = requests(shop)
    assert (row["leases"], row["statements"]) == (2, 2)
    assert [each["sql"] for each in row["events"] if each["kind"] == "sql"] == [
        "SELECT ? AS anon_1",
        "SELECT name \nFROM item",
    ]
    assert row["in_sql"] <= row["held"]


@pytest.fixture
def shop_file(sqlite_file: str) -> str:
    """A database's file with the tables of the tests' shop."""
    fill(f"sqlite:///{sqlite_file}")
    return sqlite_file


def no_proxies(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Checkout, "take", lambda checkout: pytest.fail("it has a proxy"))


def test_a_planned_read_is_lent_its_connection_all_the_same(shop_file: str, watch: Callable[..., Any]) -> None:
    db = watch(Database(f"sqlite:///{shop_file}", name="planned", plans=True))
    read = select(Product)
    for _ in range(3):
        with db.scope("work") as session:
            session.scalars(read).all()
    with pytest.MonkeyPatch.context() as patch, db.scope("planned") as session:
        no_proxies(patch)
        for _ in range(6):
            session.scalars(read).all()
    (row, *_) = requests(db)
    assert (row["leases"], row["statements"]) == (6, 6)
    assert {each["sql"] for each in row["events"] if each["kind"] == "sql"} == {
        "SELECT products.id, products.name, products.stock \nFROM products"
    }
    assert [finding.kind.name for finding in observation.board.all()] == ["n-plus-one"]
    db.close()


async def test_a_planned_read_is_lent_its_connection_in_asyncio_as_well(
    shop_file: str, watch: Callable[..., Any]
) -> None:
    db = watch(AsyncDatabase(f"sqlite+aiosqlite:///{shop_file}", name="planned", plans=True))
    read = select(Product)
    for _ in range(3):
        async with db.scope("work") as session:
            (await session.scalars(read)).all()
    with pytest.MonkeyPatch.context() as patch:
        no_proxies(patch)
        async with db.scope("planned") as session:
            (await session.scalars(read)).all()
    (row, *_) = requests(db)
    assert (row["leases"], row["statements"], [each["kind"] for each in row["events"]]) == (1, 1, ["sql", "hold"])
    await db.close()


def test_a_commit_that_fails_is_counted_as_such(shop: Database) -> None:
    with shop.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE child (of INTEGER REFERENCES item(id) DEFERRABLE INITIALLY DEFERRED)")
    with shop.scope("work") as session:
        session.execute(text("PRAGMA foreign_keys=ON"))
        session.commit()
        session.execute(text("INSERT INTO child VALUES (999)"))
        with pytest.raises(exc.IntegrityError):
            session.commit()
        session.rollback()
    (row, *_) = requests(shop)
    assert row["outcome"] == "failed"
    assert snapshot(shop)["databases"][0]["routes"][-1]["outcomes"] == {"committed": 1, "failed": 1, "unknown": 0}


def test_the_status_of_a_request_is_known_that_needs_a_connection_for_its_commit_only(
    sqlite_file: str, watch: Callable[..., Any]
) -> None:
    fill(f"sqlite:///{sqlite_file}")
    db = AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}", commit="on_success")
    watch(db)
    app = FastAPI()
    install(app, db)

    @app.post("/", status_code=201)
    async def add() -> None:
        db.session.add(Product(name="coffee"))

    with TestClient(app) as client:
        assert client.post("/").status_code == 201
        assert [(row["outcome"], row["status"]) for row in requests(db)] == [("committed", 201)]


def test_a_statement_that_fails_is_over(shop: Database) -> None:
    with shop.scope("work") as session:
        session.execute(WRITE, {"name": "a"})
        with pytest.raises(exc.OperationalError):
            session.execute(text("SELECT * FROM nothing"))
        (row,) = connections(shop)
        session.rollback()
    assert row["executing"] is False
    assert row["sql"] == "SELECT * FROM nothing"


def test_work_outside_of_any_scope_is_seen_too(shop: Database) -> None:
    with shop.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        (row,) = connections(shop)
    assert row["label"] == OUTSIDE
    assert row["taken_at"].startswith(line_of(test_work_outside_of_any_scope_is_seen_too, 1))
    assert requests(shop)[0]["label"] == OUTSIDE


async def test_a_line_is_found_through_a_greenlet(sqlite_file: str, watch: Callable[..., Any]) -> None:
    db = watch(AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}", name="shop"))
    async with db.scope("work") as session:
        await session.execute(text("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)"))
        (row,) = connections(db)
        await session.commit()
    await db.close()
    assert row["taken_at"].startswith(line_of(test_a_line_is_found_through_a_greenlet, 3))


def test_who_waited_and_in_vain(shop: Database) -> None:
    shop.pool.resize(max_size=1)
    with shop.scope("holder") as session:
        session.execute(WRITE, {"name": "a"})

        def wait() -> None:
            with shop.scope("waiter") as inner:
                inner.execute(WRITE, {"name": "b"})

        failed: list[BaseException] = []
        shop.pool._longest_wait = 0.05

        def attempt() -> None:
            try:
                wait()
            except PoolTimeout as error:
                failed.append(error)

        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
        session.rollback()
    assert len(failed) == 1
    waiter = next(row for row in requests(shop) if row["label"] == "waiter")
    assert waiter["waited"] >= 0.05
    assert [(event["kind"], event["place"]) for event in waiter["events"]] == [
        ("wait", line_of(test_who_waited_and_in_vain, 7))
    ]


def test_a_disposed_pool_is_observed_on(shop: Database) -> None:
    shop.engine.dispose()
    with shop.scope("work") as session:
        session.execute(WRITE, {"name": "a"})
        assert connections(shop)[0]["label"] == "work"
        session.rollback()


def test_two_databases_of_one_engine(sqlite_file: str, watch: Callable[..., Any]) -> None:
    db = watch(Database(f"sqlite:///{sqlite_file}", name="first"))
    other = watch(Database(db.engine, name="second"))
    with other.scope("of the second") as session:
        session.execute(text("CREATE TABLE t (x INTEGER)"))
        session.commit()
    assert [row["label"] for row in requests(other)] == ["of the second"]
    assert requests(db) == []
    observation.remove(db)
    with other.scope("again") as session:
        session.execute(text("SELECT 1"))
    assert [row["label"] for row in requests(other)] == ["again", "of the second"]
    db.close()


def test_an_engine_with_a_pool_of_sqlalchemys_own(sqlite_file: str, watch: Callable[..., Any]) -> None:
    engine = create_engine(f"sqlite:///{sqlite_file}")
    db = watch(Database(engine, name="theirs"))
    with db.scope("work") as session:
        session.execute(text("SELECT 1"))
        assert snapshot(db)["databases"][0]["pool"]["acquired"] == 1
        session.connection().invalidate()
        session.rollback()
    pool = snapshot(db)["databases"][0]["pool"]
    assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]  # a place, in which no connection is
    assert (pool["idle"], pool["acquired"], pool["total"]) == (0, 0, 0)
    engine.dispose()


def test_an_override_is_followed(sqlite_file: str, tmp_path: Path, watch: Callable[..., Any]) -> None:
    db = watch(Database(f"sqlite:///{sqlite_file}", name="shop"))
    own = db.pool
    given = create_engine(f"sqlite:///{tmp_path}/given.db", poolclass=FairPool)
    with db.override(f"sqlite:///{tmp_path}/first.db"), db.scope("in the first"):
        db.session.execute(text("SELECT 1"))
        assert [row["label"] for row in connections(db)] == ["in the first"]
        with db.override(given), db.scope("in the second") as session:
            session.execute(text("SELECT 1"))
            assert [row["label"] for row in connections(db)] == ["in the second"]
            assert own.meter is not None
    assert db.pool is own
    assert given.pool.meter is None
    with db.scope("in its own") as session:
        session.execute(text("SELECT 1"))
    assert [row["label"] for row in requests(db)][:3] == ["in its own", "in the first", "in the second"]
    assert {row["statements"] for row in requests(db)} == {1}
    with given.connect() as connection:
        connection.execute(text("SELECT 1"))
    assert len(requests(db)) == 3
    observation.remove(db)
    assert own.meter is None
    given.dispose()
    db.close()


def test_all_ends_when_the_last_one_is_removed(sqlite_file: str) -> None:
    before = set(observation.databases)
    db = Database(f"sqlite:///{sqlite_file}")
    seen = observe(db)
    assert db in seen.databases
    observe(db)  # once is enough
    assert seen.databases.count(db) == 1
    seen.remove(db)
    assert set(seen.databases) == before
    assert db.pool.meter is None
    with db.scope("work") as session:
        session.execute(text("SELECT 1"))
        scope = db.scope_here()
        assert scope is not None
        assert scope.account is None
    db.close()


def test_memory_is_bounded(shop: Database) -> None:
    recorder = Recorder.__new__(Recorder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shop.pool, "meter", None)
        recorder.__init__(shop, requests=5, room=40)  # type: ignore[misc]
    for number in range(20):
        account = Account(None, "work", recorder.finished)
        use = Use(account, None)
        for _ in range(1000):
            use.begin("SELECT " + "x" * number)
            use.end()
        assert (len(account.events), account.dropped, account.statements) == (48, 952, 1000)
        account.ends(use)
    assert len(recorder.recent()) == 1  # one alone is larger than the room
    many = Account(None, "work", recorder.finished)
    use = Use(many, None)
    for number in range(1000):
        use.begin(f"SELECT {number}")
        use.end()
    assert len(many.texts) == 100


def test_a_long_statement_is_cut(shop: Database) -> None:
    with shop.engine.connect() as connection:
        connection.execute(text(f"SELECT '{'x' * 10_000}'"))
        (row,) = connections(shop)
    assert len(row["sql"]) == SHORT + 1


def test_routes_are_bounded() -> None:
    routes = Routes()
    for number in range(MOST_ROUTES + 50):
        routes.of(f"GET /{number}").requests += 1
    assert len(routes) == MOST_ROUTES + 1
    assert routes[OTHERS].requests == 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_begins_anew(shop: Database) -> None:
    with shop.scope("of the parent") as session:
        session.execute(text("SELECT 1"))
    assert requests(shop)
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            alone = requests(shop) == [] and observation.board.all() == []
            with shop.scope("of the child") as session:
                session.execute(text("SELECT 1"))
            thread = next((t for t in threading.enumerate() if t.name == "respool-observe"), None)
            good = alone and [row["label"] for row in requests(shop)] == ["of the child"] and thread is not None
            os.write(writer, b"1" if good else b"0")
        finally:
            os._exit(0)
    os.close(writer)
    assert os.read(reader, 1) == b"1"
    os.waitpid(child, 0)
    os.close(reader)


def test_settings_tell_where_they_come_from(sqlite_file: str) -> None:
    db = Database.from_env(environ={"RESPOOL_URL": f"sqlite:///{sqlite_file}", "RESPOOL_MAX_SIZE": "7"})
    settings = {row["name"]: row for row in snapshot(db)["databases"][0]["settings"]}
    assert settings["max_size"] == {"name": "max_size", "value": 7, "source": "RESPOOL_MAX_SIZE"}
    assert settings["timeout"]["source"] == "default"
    assert PoolConfig.names() == list(settings)
    db.close()
