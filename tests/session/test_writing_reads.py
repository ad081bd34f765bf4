"""Statements that begin with SELECT and do more: functions with effects, SELECT … INTO, notifications, locks."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select, text

from respool import Database
from respool.errors import UncommittedChanges
from respool.session.changes.log import ChangeLog
from respool.session.changes.statements import Lock, Told, tell
from tests.session.shop import Product, fill, opened, opened_async

FUNCTIONS = """
CREATE FUNCTION charge() RETURNS int LANGUAGE sql VOLATILE AS 'UPDATE products SET stock = stock - 1 RETURNING stock';
CREATE FUNCTION log(text) RETURNS int LANGUAGE sql VOLATILE AS 'UPDATE products SET stock = 0 RETURNING stock';
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
CREATE FUNCTION rowf(products) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT charge()';
CREATE FUNCTION compares(int, int) RETURNS bool LANGUAGE sql VOLATILE AS 'SELECT charge() > 0';
CREATE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE sql VOLATILE AS 'SELECT gen_random_uuid()';
CREATE OPERATOR <=@ (leftarg = int, rightarg = int, function = compares);
CREATE SEQUENCE numbers;
CREATE VIEW charging AS SELECT charge() AS stock;
"""


@pytest.fixture
def url(pg_url: str) -> str:
    fill(pg_url)
    engine = sa.create_engine(pg_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(FUNCTIONS)
    engine.dispose()
    return pg_url


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    with opened(url) as database:
        yield database


CHANGES: list[tuple[Any, list[str]]] = [
    (text("SELECT charge()"), ["SELECT charge() (text)"]),
    (text("select 1, charge() AS x"), ["SELECT charge() (text)"]),
    (text("SELECT log('a'), charge()"), ["SELECT log(), charge() (text)"]),
    (text("-- why\n SELECT charge()"), ["SELECT charge() (text)"]),
    (text("WITH a AS (SELECT charge() AS b) SELECT b FROM a"), ["WITH charge() (text)"]),
    (text("VALUES (charge())"), ["VALUES charge() (text)"]),
    (text("EXPLAIN ANALYZE SELECT charge()"), ["EXPLAIN charge() (text)"]),
    (text("SELECT products.rowf FROM products"), ["SELECT rowf() (text)"]),
    (text("SELECT 1 <=@ 2"), ["SELECT <=@ (text)"]),
    (text("SELECT id INTO TEMP TABLE copies FROM products"), ["SELECT INTO copies (text)"]),
    (text("SELECT pg_notify('a', 'b')"), ["SELECT pg_notify() (text)"]),
    (text("SELECT lo_create(0)"), ["SELECT lo_create() (text)"]),
    (text("WITH a AS (DELETE FROM orders RETURNING id) SELECT * FROM a"), ["WITH (text)"]),
    (text("SELECT 1; DELETE FROM orders"), ["SELECT (text)"]),
    (select(func.charge()), ["SELECT charge() (Core statement)"]),
    (select(Product.id).where(Product.id.op("<=@")(3)), ["SELECT <=@ (Core statement)"]),
]
NOTHING: list[Any] = [
    text("SELECT 1"),
    text("SELECT count(*), lower('charge()'), twice(2) FROM products"),
    text("SELECT random(), gen_random_uuid(), uuid_generate_v4(), clock_timestamp(), pg_sleep(0)"),
    text("SELECT nextval('numbers'), currval('numbers'), setval('numbers', 4)"),
    text("SELECT set_config('app.tenant', '1', true)"),
    text("SELECT 'charge()', $$charge()$$ AS \"charge()\" -- charge()"),
    text("WITH charge(a) AS (SELECT 1) SELECT a FROM charge"),
    text("EXPLAIN SELECT charge()"),
    select(Product),
    select(func.count()).select_from(Product),
]
LOCKS: list[tuple[Any, list[str]]] = [
    (select(Product).with_for_update(), ["SELECT FOR UPDATE (Core statement)"]),
    (text("SELECT id FROM products FOR NO KEY UPDATE"), ["SELECT FOR NO KEY UPDATE (text)"]),
    (text("SELECT pg_advisory_xact_lock(1)"), ["SELECT pg_advisory_xact_lock() (text)"]),
    (text("SELECT pg_try_advisory_lock(2)"), ["SELECT pg_try_advisory_lock() (text)"]),
    (text("LOCK TABLE products IN SHARE MODE"), ["LOCK TABLE products (text)"]),
]


@pytest.mark.parametrize("statement, told", CHANGES, ids=lambda value: str(value).partition("\n")[0][:40])
def test_a_read_that_writes_is_a_change(db: Database, statement: Any, told: list[str]) -> None:
    with db.scope("job") as session:
        for times in (1, 2):
            if "INTO" not in told[0] or times == 1:
                session.execute(statement)
                assert session.changes().lines() == told * times
        assert session.changes().locks == ()
        session.rollback()
        assert not session.changes()


@pytest.mark.parametrize("statement", NOTHING, ids=lambda value: str(value).partition("\n")[0][:40])
def test_what_no_rollback_takes_away_is_no_change(db: Database, statement: Any) -> None:
    with db.scope("job") as session:
        session.connection().execute(statement)
        changes = session.changes()
        assert (changes.lines(), changes.locks) == ([], ())
        session.rollback()


@pytest.mark.parametrize("statement, told", LOCKS, ids=lambda value: str(value).partition("\n")[0][:40])
def test_a_lock_is_held_and_no_change(db: Database, statement: Any, told: list[str]) -> None:
    with db.scope("job") as session:
        session.execute(statement)
        changes = session.changes()
        assert (list(changes.locks), bool(changes), changes.lines()) == (told, False, [])
        session.rollback()
        assert session.changes().locks == ()


def test_a_view_that_writes(db: Database) -> None:
    with db.scope("job") as session:
        statement = select(sa.table("charging", sa.column("stock")))
        session.execute(statement)
        assert session.changes().lines() == ["SELECT charge() (Core statement)"]
        session.rollback()


def test_what_a_savepoint_takes_back(db: Database) -> None:
    with db.scope("job") as session:
        session.execute(select(Product).with_for_update())
        savepoint = session.begin_nested()
        session.execute(text("SELECT charge(), pg_advisory_lock(1), pg_advisory_xact_lock(2)"))
        session.execute(text("LOCK TABLE orders"))
        savepoint.rollback()
        changes = session.changes()
        assert (changes.statements, changes.locks) == (
            (),
            ("SELECT FOR UPDATE (Core statement)", "SELECT pg_advisory_lock() (text)"),
        )
        session.rollback()


@pytest.mark.parametrize(
    "unlock, left",
    [
        ("pg_advisory_unlock(2)", ["pg_advisory_lock", "pg_advisory_lock_shared", "pg_advisory_xact_lock"]),
        (
            "pg_advisory_unlock_shared(3)",
            ["pg_advisory_lock", "pg_advisory_lock", "pg_advisory_xact_lock"],
        ),
        ("pg_advisory_unlock_all()", ["pg_advisory_xact_lock"]),
    ],
)
def test_what_was_released_is_not_held(db: Database, unlock: str, left: list[str]) -> None:
    with db.scope("job") as session:
        for lock in ("lock(1)", "lock(2)", "lock_shared(3)", "xact_lock(4)"):
            session.execute(text(f"SELECT pg_advisory_{lock}"))
        session.execute(text(f"SELECT {unlock}"))
        assert session.changes().locks == tuple(f"SELECT {name}() (text)" for name in left)
        session.rollback()


def test_what_was_not_committed_is_told_at_the_end(url: str) -> None:
    with opened(url) as db:
        with pytest.warns(UncommittedChanges, match="1 uncommitted change"):
            with db.scope("job") as session:
                session.execute(text("SELECT charge()"))
        with db.scope("look") as session:
            assert session.scalar(select(Product.stock)) == 5


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_asyncio_is_told_the_same(url: str, driver: str) -> None:
    async with opened_async(url.replace("+psycopg:", f"+{driver}:")) as db, db.scope("job") as session:
        await session.execute(text("SELECT charge(), log('a')"))
        await session.execute(text("SELECT twice(3), count(*) FROM products"))
        await session.execute(select(Product).with_for_update())
        changes = session.changes()
        assert changes.lines() == ["SELECT charge(), log() (text)"]
        assert changes.locks == ("SELECT FOR UPDATE (Core statement)",)
        await session.rollback()


def test_an_autocommitting_connection_is_asked_too(url: str) -> None:
    with opened(url) as db, db.scope("job") as session:
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        session.execute(text("SELECT charge()"))
        assert session.changes().lines() == ["SELECT charge() (text)"]
        session.rollback()


def test_a_text_for_the_driver(db: Database) -> None:
    with db.scope("job") as session:
        session.connection().exec_driver_sql("SELECT charge(), 5 %% 2, %(a)s", {"a": 1})
        session.connection().exec_driver_sql("SELECT 5 % 2", execution_options={"no_parameters": True})
        assert session.changes().lines() == ["SELECT charge() (text)"]
        session.rollback()


def test_the_answer_stays_with_the_statement(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with db.scope("job") as session:
        for statement in (text("SELECT charge()"), text("SELECT 1"), select(Product)):
            session.connection().execute(statement)
        monkeypatch.setattr("respool.session.changes.log.tell", None)
        for statement in (text("SELECT charge()"), text("SELECT 1"), select(Product)):
            session.connection().execute(statement)
        assert session.changes().lines() == ["SELECT charge() (text)"] * 2
        session.rollback()


def test_functions_of_the_users_on_sqlite_change_nothing(shop_url: str) -> None:
    with opened(shop_url) as db, db.scope("job") as session:
        session.execute(text("SELECT random(), last_insert_rowid(), abs(1)"))
        assert not session.changes()
        session.rollback()


# -- MySQL: without a server -------------------------------------------------------------------------------------------


def executed(*statements: str) -> ChangeLog:
    """What becomes known of texts that were executed on MySQL."""
    engine = sa.create_engine("mysql+pymysql://nobody@localhost/nothing")
    connection = SimpleNamespace(_dbapi_connection=SimpleNamespace(dbapi_connection=None))
    log = ChangeLog(None)
    for sql in statements:
        context = SimpleNamespace(
            compiled=None,
            statement=sql,
            dialect=engine.dialect,
            engine=engine,
            root_connection=connection,
            isinsert=False,
            isupdate=False,
            isdelete=False,
        )
        log.executed(context)
    return log


@pytest.mark.parametrize(
    "sql, told",
    [
        ("SELECT charge()", Told("SELECT charge() (text)")),
        ("SELECT shop.lower(a) FROM b", Told("SELECT lower() (text)")),
        ("SELECT count(*), sleep(1), rand(), last_insert_id(), uuid() FROM a", None),
        ("SELECT a INTO @b FROM c", None),
        (
            "SELECT get_lock('a', 1)",
            Told(locks=(Lock("SELECT get_lock() (text)", ("release_lock", "release_all_locks")),)),
        ),
        ("SELECT a FROM b LOCK IN SHARE MODE", Told(locks=(Lock("SELECT LOCK IN SHARE MODE (text)"),))),
        ("LOCK TABLES a READ", Told(locks=(Lock("LOCK TABLES a (text)", ("", "unlock tables")),))),
        ("SELECT 'a\\', charge(), \\''", None),
    ],
)
def test_what_mysql_is_known_to_do(sql: str, told: Told | None, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Told | None] = []
    monkeypatch.setattr("respool.session.changes.log.tell", lambda context: heard.append(tell(context)))
    executed(sql)
    assert heard == [told]


@pytest.mark.parametrize(
    "last, left",
    [
        ("SELECT release_lock('b')", ["SELECT get_lock() (text)", "LOCK TABLES c (text)"]),
        ("SELECT release_all_locks()", ["LOCK TABLES c (text)"]),
        ("UNLOCK TABLES", ["SELECT get_lock() (text)", "SELECT get_lock() (text)"]),
    ],
)
def test_what_mysql_releases(last: str, left: list[str]) -> None:
    log = executed("SELECT get_lock('a', 1)", "SELECT get_lock('b', 1)", "LOCK TABLES c READ", last)
    assert [lock.line for lock in log._locks] == left
