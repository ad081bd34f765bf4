"""What a session tracks: the states of objects, and what would be lost by a rollback."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, event, insert, select, text, update

from respool import Database, ObjectState, state_of
from respool.errors import ConfigError
from respool.session.changes.log import Unloaded
from respool.session.changes.statements import changes_data
from tests.session.shop import Order, Product, opened_async

TRANSIENT, PENDING, PERSISTENT = ObjectState.TRANSIENT, ObjectState.PENDING, ObjectState.PERSISTENT
DELETED, DETACHED = ObjectState.DELETED, ObjectState.DETACHED


def test_the_five_states_of_an_object(db: Database) -> None:
    with db.scope("job") as session:
        order = Order(product_id=1)
        states = [state_of(order)]
        for step in (
            lambda: session.add(order),
            session.flush,
            session.commit,
            lambda: session.delete(order),
            session.flush,
            session.commit,
        ):
            step()
            states.append(state_of(order))
    assert states == [TRANSIENT, PENDING, PERSISTENT, PERSISTENT, PERSISTENT, DELETED, DETACHED]


@pytest.mark.parametrize("thing", [3, "tea", None, Order, object()])
def test_only_mapped_objects_have_a_state(thing: Any) -> None:
    with pytest.raises(ConfigError, match="not an instance of a mapped class"):
        state_of(thing)


def test_a_session_lists_what_it_tracks(db: Database) -> None:
    with db.scope("job") as session:
        tea, coffee, water = session.get_one(Product, 1), Product(name="coffee"), Product(name="water")
        session.add(water)
        session.flush()
        session.add(coffee)
        session.delete(tea)
        with session.no_autoflush:
            assert session.objects() == {PENDING: [coffee], PERSISTENT: [tea, water], DELETED: []}
        session.flush()
        assert session.objects() == {PENDING: [], PERSISTENT: [water, coffee], DELETED: [tea]}
        assert session.scope is not None
        assert session.scope.objects == {PENDING: 0, PERSISTENT: 2, DELETED: 1}
        session.commit()
        assert session.objects() == {PENDING: [], PERSISTENT: [water, coffee], DELETED: []}


async def test_an_async_session_tells_the_same(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db, db.scope("job") as session:
        (await session.get_one(Product, 1)).stock = 4
        assert session.changes().lines() == ["Product(id=1) updated: stock"]
        assert len(session.objects()[PERSISTENT]) == 1
        await session.rollback()
        assert not session.changes()


@pytest.mark.parametrize("flushed", [False, True])
def test_changes_are_told_flushed_or_not(db: Database, flushed: bool) -> None:
    with db.scope("job") as session:
        session.add(Product(id=2, name="gone"))
        session.commit()
        tea, gone = session.get_one(Product, 1), session.get_one(Product, 2)
        tea.stock, tea.name = 6, "green tea"
        order = Order(product_id=1)
        session.add(order)
        session.delete(gone)
        with session.no_autoflush:
            if flushed:
                session.flush()
            changes = session.changes()
            (inserted,), (updated,), (deleted,) = changes.inserts, changes.updates, changes.deletes
            assert [inserted.object, updated.object, deleted.object] == [order, tea, gone]
            assert updated.attributes == {"stock": (5, 6), "name": ("tea", "green tea")}
            assert changes.lines() == [
                f"Order({'id=1' if flushed else 'new'}) inserted",
                "Product(id=1) updated: name, stock",
                "Product(id=2) deleted",
            ]
        session.commit()
        assert not session.changes()


def test_what_comes_to_nothing_is_not_told(db: Database) -> None:
    with db.scope("job") as session:
        tea = session.get_one(Product, 1)
        tea.stock = 6
        tea.stock = 5
        order = Order(product_id=1)
        session.add(order)
        session.flush()
        session.delete(order)
        session.flush()
        assert session.changes().lines() == []


def test_several_flushes_come_to_one_change(db: Database) -> None:
    with db.scope("job") as session:
        tea, order = session.get_one(Product, 1), Order(product_id=1)
        session.add(order)
        for stock in (6, 7, 8):
            tea.stock, order.note = stock, str(stock)
            session.flush()
        tea.stock = 9
        changes = session.changes()
        assert changes.updates[0].attributes == {"stock": (5, 9)}
        assert changes.lines() == ["Order(id=1) inserted", "Product(id=1) updated: stock"]
        session.delete(tea)
        assert session.changes().lines()[-1] == "Product(id=1) deleted"
        session.rollback()


def test_an_attribute_that_was_never_loaded_has_no_old_value(db: Database) -> None:
    with db.scope("job") as session:
        tea = session.get_one(Product, 1)
        session.expire(tea, ["stock"])
        tea.stock = 6
        assert session.changes().updates[0].attributes == {"stock": (Unloaded.UNLOADED, 6)}
        session.rollback()


def test_relationships_are_told(db: Database) -> None:
    with db.scope("job") as session:
        tea, order = session.get_one(Product, 1), Order()
        tea.orders.append(order)
        assert session.changes().updates[0].attributes == {"orders": ([], [order])}
        session.rollback()


def test_objects_nobody_holds_any_more_are_told_all_the_same(db: Database) -> None:
    with db.scope("job") as session:
        session.add(Order(id=7, product_id=1))
        session.flush()
        (change,) = session.changes().inserts
        assert change.object is None
        assert str(change) == "Order(id=7) inserted"
        session.rollback()


def test_savepoints_take_back_what_they_take_back(db: Database) -> None:
    with db.scope("job") as session:
        session.add(Order(id=1, product_id=1))
        session.execute(update(Product).values(stock=1))
        with session.begin_nested():
            session.add(Order(id=2, product_id=1))
        savepoint = session.begin_nested()
        session.add(Order(id=3, product_id=1))
        session.flush()
        session.execute(delete(Product))
        savepoint.rollback()
        assert session.changes().lines() == [
            "Order(id=1) inserted",
            "Order(id=2) inserted",
            "UPDATE products (Core statement)",
        ]
        session.rollback()


def test_a_failed_flush_does_not_hide_what_was_lost_before_it(db: Database) -> None:
    with db.scope("job") as session:
        session.add(Order(id=1, product_id=1))
        session.flush()
        session.add(Product(id=1, name="there already"))
        with pytest.raises(Exception, match="UNIQUE"):
            session.flush()
        assert session.changes().lines() == ["Order(id=1) inserted"]
        session.rollback()
        assert not session.changes()


STATEMENTS: list[tuple[Any, str]] = [
    (insert(Order).values(product_id=1), "INSERT INTO orders (Core statement)"),
    (update(Product).values(stock=0), "UPDATE products (Core statement)"),
    (delete(Order).where(Order.id == 4711), "DELETE FROM orders (Core statement)"),
    (text("UPDATE products SET name = 'secret'"), "UPDATE products (text)"),
    (text("  -- why\n /* how */ insert into orders (product_id, note) values (1, '')"), "INSERT INTO orders (text)"),
    (text("CREATE TABLE notes (id int)"), "CREATE TABLE notes (text)"),
    (text("WITH x AS (SELECT 1) DELETE FROM orders"), "WITH (text)"),
    (text("REPLACE INTO products (id, name, stock) VALUES (1, 'secret', 1)"), "REPLACE INTO products (text)"),
]


@pytest.mark.parametrize("statement, told", STATEMENTS, ids=[told for _, told in STATEMENTS])
@pytest.mark.parametrize("by", ["session", "connection", "optioned engine"])
def test_statements_beside_the_objects_are_told(db: Database, statement: Any, told: str, by: str) -> None:
    with db.scope("job") as session:
        if by == "optioned engine":
            session.bind = db.engine.execution_options(logging_token="here")
        (session.connection() if by == "connection" else session).execute(statement)
        assert session.changes().lines() == [told]
        session.rollback()
        assert not session.changes()


@pytest.mark.parametrize(
    "statement",
    [
        select(Product),
        text("SELECT * FROM products"),
        text("select 1"),
        text("/* DELETE */ SELECT 'UPDATE x'"),
        text("WITH x AS (SELECT 'delete' AS y) SELECT * FROM x"),
        text("PRAGMA user_version"),
        text("EXPLAIN DELETE FROM orders"),
    ],
    ids=str,
)
def test_reads_are_no_changes(db: Database, statement: Any) -> None:
    with db.scope("job") as session:
        session.execute(statement)
        assert session.changes().lines() == []


@pytest.mark.parametrize(
    "sql, changes",
    [
        ("(SELECT 1)", False),
        ("EXPLAIN ANALYZE DELETE FROM orders", True),
        ("EXPLAIN (ANALYZE, BUFFERS) SELECT 1", False),
        ("WITH gone AS (DELETE FROM orders RETURNING id) SELECT * FROM gone", True),
        ("CALL pay(1)", True),
        ("DO $$ BEGIN END $$", True),
        ("VACUUM", True),
        ("MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE", True),
        ("SHOW search_path", False),
        ("SET LOCAL statement_timeout = 0", False),
        ("", False),
    ],
)
def test_texts_that_sqlite_does_not_know(sql: str, changes: bool) -> None:
    assert changes_data(sql, None) is changes


def test_bulk_methods_are_told_as_statements(db: Database) -> None:
    with db.scope("job") as session:
        session.bulk_insert_mappings(Order.__mapper__, [{"product_id": 1}, {"product_id": 1}])
        assert session.changes().lines() == ["INSERT INTO orders (Core statement)"]
        session.rollback()


def test_other_users_of_the_engine_are_not_told_of(db: Database) -> None:
    heard: list[str] = []
    event.listen(db.engine, "after_cursor_execute", lambda *args: heard.append(args[2]))
    with db.engine.begin() as connection:
        connection.execute(update(Product).values(stock=2))
    with db.scope("job") as session:
        session.get(Product, 1)
        assert not session.changes()
    assert len(heard) == 2
