"""Whatever is committed inside of ``rolled_back(db)`` is gone afterwards, by whichever way it was; with threads."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, text
from sqlalchemy.exc import DataError, IntegrityError, InternalError, OperationalError

from respool import Database
from respool.errors import CommitOutcomeUnknown, PoolTimeout, SelfDeadlock, SharedConnectionLost
from respool.testing import assert_no_leaks, failing_commit, rolled_back
from tests.support.postgres import PostgresServer
from tests.testing.models import Note, Product, numbers, put


@pytest.fixture
def seeded(db: Database) -> Iterator[Database]:
    """With one product that every test finds, and leaves."""
    put(db, 1)
    yield db
    assert numbers(db) == [1]
    with db.scope("look") as session:
        assert session.get_one(Product, 1).stock == 1
    assert_no_leaks(db)


def only(db: Database, *families: str) -> None:
    if db.engine.dialect.name not in families:
        pytest.skip(f"for {', '.join(families)}")


def test_a_commit_is_seen_by_others_and_gone_afterwards(seeded: Database) -> None:
    for _ in range(2):
        with rolled_back(seeded) as db:
            put(db, 2)
            put(db, 3)
            assert numbers(db) == [1, 2, 3]


def test_a_rollback_keeps_what_was_committed_before(seeded: Database) -> None:
    with rolled_back(seeded) as db:
        put(db, 2)
        with db.scope("changes its mind") as session:
            session.get_one(Product, 1).stock = 99
            session.add(Product(id=3))
            session.flush()
            session.rollback()
        assert numbers(db) == [1, 2]
        with db.scope("look") as session:
            assert session.get_one(Product, 1).stock == 1


def test_a_statement_that_fails_costs_its_own_transaction_only(seeded: Database) -> None:
    with rolled_back(seeded) as db:
        put(db, 2)
        with pytest.raises(IntegrityError):
            put(db, 3, 1)
        with db.scope("again") as session:
            nested = session.begin_nested()
            session.add(Product(id=2))
            with pytest.raises(IntegrityError):
                session.flush()
            nested.rollback()
            session.add(Product(id=4))
            session.commit()
        assert numbers(db) == [1, 2, 4]


def test_units_and_savepoints_are_as_ever(seeded: Database) -> None:
    with rolled_back(seeded) as db, db.scope("units") as session:
        with session.unit():
            session.add(Product(id=2))
            with contextlib.suppress(RuntimeError), session.unit(savepoint=True):
                session.add(Product(id=3))
                session.flush()
                raise RuntimeError
        assert numbers(db) == [1, 2]


def test_what_others_commit_past_the_session_is_gone_too(seeded: Database) -> None:
    with rolled_back(seeded) as db:
        with db.engine.begin() as connection:
            connection.execute(text("INSERT INTO product (id, stock) VALUES (2, 0)"))
        raw = db.engine.raw_connection()
        raw.cursor().execute("INSERT INTO product (id, stock) VALUES (3, 0)")
        raw.commit()
        raw.cursor().execute("INSERT INTO product (id, stock) VALUES (4, 0)")
        raw.rollback()
        raw.cursor().execute("INSERT INTO product (id, stock) VALUES (5, 0)")
        raw.close()
        with db.engine.connect() as connection:
            connection.exec_driver_sql("INSERT INTO product (id, stock) VALUES (6, 0)")
            connection.exec_driver_sql("/* by hand */ COMMIT")
            connection.exec_driver_sql("INSERT INTO product (id, stock) VALUES (7, 0)")
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("INSERT INTO product (id, stock) VALUES (8, 0)")
            connection.commit()
        assert numbers(db) == [1, 2, 3, 6, 8]


def test_an_engine_in_autocommit_saves_each_statement(seeded: Database) -> None:
    with rolled_back(seeded) as db:
        alone = db.engine.execution_options(isolation_level="AUTOCOMMIT")
        with alone.connect() as connection:
            connection.exec_driver_sql("INSERT INTO product (id, stock) VALUES (2, 0)")
            with pytest.raises(IntegrityError):
                connection.exec_driver_sql("INSERT INTO product (id, stock) VALUES (1, 0)")
            connection.exec_driver_sql("INSERT INTO product (id, stock) VALUES (3, 0)")
            connection.rollback()
            assert connection.get_isolation_level() == "AUTOCOMMIT"
        assert numbers(db) == [1, 2, 3]
        with db.engine.connect() as connection:
            connection.exec_driver_sql("INSERT INTO product (id, stock) VALUES (4, 0)")
        assert numbers(db) == [1, 2, 3]


def test_plain_reads_are_leased_as_in_production(seeded: Database) -> None:
    def holds(db: Database) -> bool:
        with db.scope("reads") as session:
            session.get_one(Product, 1)
            return session.holds_connection

    before = holds(seeded)
    with rolled_back(seeded) as db:
        assert holds(db) is before
        assert before is (db.engine.dialect.name in ("mysql", "mariadb"))  # at REPEATABLE READ


def test_a_read_that_fails_leaves_the_connection_usable(seeded: Database) -> None:
    with rolled_back(seeded) as db, db.scope("reads") as session:
        with pytest.raises(Exception, match="nowhere"):
            session.execute(text("SELECT * FROM nowhere"))
        session.rollback()
        assert session.get_one(Product, 1).stock == 1


def test_a_lease_that_fails_is_rolled_back(seeded: Database) -> None:
    only(seeded, "postgresql")
    with rolled_back(seeded) as db, db.scope("reads") as session:
        with pytest.raises(DataError, match="division by zero"):
            session.execute(select(Product.stock / (Product.id - Product.id)))
        assert not session.holds_connection
        assert session.get_one(Product, 1).stock == 1
        lease = db.pool.lease()
        assert lease is not None
        cursor = lease.cursor()
        with pytest.raises(db.engine.dialect.loaded_dbapi.Error):
            cursor.execute("SELECT 1 / 0")
        lease.close()
        assert session.get_one(Product, 1, populate_existing=True).stock == 1


def test_rows_can_be_read_little_by_little(seeded: Database) -> None:
    with rolled_back(seeded) as db:
        put(db, *range(2, 500))
        with db.scope("streams") as session:
            stream = session.scalars(text("SELECT id FROM product ORDER BY id").execution_options(yield_per=10))
            assert [next(stream) for _ in range(25)] == list(range(1, 26))
            stream.close()  # MySQL's drivers want it read, or closed
            session.add(Product(id=500))
            session.commit()
        with db.scope("half") as session:
            assert session.scalars(text("SELECT id FROM product ORDER BY id")).first() == 1
            session.commit()
            assert len(numbers(db)) == 500


# -- who has the connection ---------------------------------------------------------------------------------------------


def test_threads_take_turns(seeded: Database) -> None:
    with rolled_back(seeded) as db:
        barrier = threading.Barrier(4)

        def work(number: int) -> None:
            barrier.wait()
            for each in range(5):
                put(db, number * 10 + each)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(work, range(1, 5)))
        assert len(numbers(db)) == 21
        assert db.pool.stats().peak == 1


def test_who_waits_longest_comes_first(seeded: Database) -> None:
    with rolled_back(seeded, patience=60) as db:
        order: list[int] = []

        def work(number: int) -> None:
            with db.engine.connect():
                order.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
        with db.engine.connect():
            for count, thread in enumerate(threads, 1):
                thread.start()
                while db.pool.stats().waiting < count:
                    pass
        for thread in threads:
            thread.join()
        assert order == [0, 1, 2, 3, 4]


def test_who_never_gives_it_back_is_named(seeded: Database) -> None:
    with rolled_back(seeded, patience=0.01) as db, db.scope("seed") as session:
        session.add(Product(id=2))
        session.flush()
        with ThreadPoolExecutor(1) as threads, pytest.raises(PoolTimeout) as refused:
            threads.submit(numbers, db).result()
        told = str(refused.value)
        assert "the one connection of the test was not free within 0.01 s" in told
        assert "held by scope 'seed' (" in told
        assert "not committed: Product(id=2) inserted" in told
        session.rollback()


def test_who_would_wait_for_himself_is_refused_at_once(seeded: Database) -> None:
    with rolled_back(seeded, patience=3600) as db:
        with db.scope("outer") as session:
            session.add(Product(id=2))
            session.flush()
            with pytest.raises(SelfDeadlock, match="a database of its own"), session.unit(new=True):
                pass
            with pytest.raises(SelfDeadlock, match="fresh_database"):
                db.engine.connect()
            session.rollback()
        with db.engine.connect(), pytest.raises(SelfDeadlock, match="taken at"):
            numbers(db)
        assert numbers(db) == [1]


def test_a_unit_of_its_own_works_while_nothing_is_held(seeded: Database) -> None:
    with rolled_back(seeded) as db, db.scope("outer", commit="on_success") as session:
        session.commit()
        with session.unit(new=True) as inner:
            inner.add(Product(id=2))
        session.add(Product(id=3))
        session.commit()
        assert numbers(db) == [1, 2, 3]


def test_forks_run_one_after_the_other(seeded: Database) -> None:
    with rolled_back(seeded) as db, db.scope("outer", commit="on_success") as session:
        session.rollback()
        found = db.gather(*(lambda child, n=n: child.add(Product(id=n)) for n in (2, 3, 4)))
        assert found == [None] * 3
        assert numbers(db) == [1, 2, 3, 4]


@pytest.mark.filterwarnings("ignore:.*uncommitted:UserWarning")
def test_a_connection_that_nobody_gave_back_comes_back(seeded: Database) -> None:
    with rolled_back(seeded) as db:
        connection = db.engine.raw_connection()
        connection.cursor().execute("INSERT INTO product (id, stock) VALUES (2, 0)")
        del connection
        gc.collect()
        assert numbers(db) == [1]


def test_one_rolled_back_within_another(seeded: Database) -> None:
    with rolled_back(seeded) as db:
        put(db, 2)
        with rolled_back(db):
            put(db, 3)
            with db.scope("rolls back") as session:
                session.add(Product(id=4))
                session.flush()
                session.rollback()
            assert numbers(db) == [1, 2, 3]
        assert numbers(db) == [1, 2]


def test_a_session_of_a_test_that_is_over_is_refused(seeded: Database) -> None:
    with rolled_back(seeded) as db:
        engine = db.engine
    with pytest.raises(SharedConnectionLost, match="its test is over"):
        engine.connect()


def test_a_database_that_its_application_closes_is_open_again(seeded: Database) -> None:
    with rolled_back(seeded) as db:
        put(db, 2)
        db.close()
        db.reopen()
        assert numbers(db) == [1, 2]
        db.close()
    assert not seeded.closed
    seeded.close()
    with rolled_back(seeded) as db:
        assert numbers(db) == [1]


# -- what happens at a COMMIT -------------------------------------------------------------------------------------------


def test_hooks_run_after_the_commit_and_observers_hear_of_it(seeded: Database) -> None:
    with rolled_back(seeded) as db, db.scope("hooked") as session:
        heard: list[Any] = []
        session.on_commit(lambda: heard.append(numbers(db)))
        session.on_rollback(lambda: heard.append("rolled back"))
        session.add(Product(id=2))
        session.commit()
        assert heard == [[1, 2]]


def test_a_deferred_constraint_is_looked_at_by_each_commit(seeded: Database) -> None:
    only(seeded, "postgresql", "sqlite")
    if seeded.engine.dialect.name == "sqlite":
        event.listen(seeded.engine, "connect", lambda raw, record: raw.execute("PRAGMA foreign_keys=ON"))
        seeded.engine.dispose()
    with rolled_back(seeded) as db:
        for _ in range(2):
            with db.scope("early") as session:
                session.add(Note(id=1, product=2))
                session.flush()
                session.add(Product(id=2))
                session.flush()
                session.execute(text("DELETE FROM product WHERE id = 2"))
                with pytest.raises(IntegrityError):
                    session.commit()
                session.rollback()
        with db.scope("in time") as session:
            session.add(Note(id=1, product=2))
            session.flush()
            session.add(Product(id=2))
            session.commit()
        assert numbers(db) == [1, 2]
        with db.scope("clear") as session:
            assert session.get_one(Note, 1).product == 2


def test_settings_of_a_transaction_end_with_it(seeded: Database) -> None:
    only(seeded, "postgresql")
    with rolled_back(seeded) as db:
        for setting in ("SET LOCAL shop.tenant = '7'", "SELECT set_config('shop.tenant', '7', true)"):
            with db.scope("tenant") as session:
                session.execute(text(setting))
                session.execute(text("INSERT INTO product (id, stock) VALUES (2, 0) ON CONFLICT DO NOTHING"))
                assert session.scalar(text("SELECT current_setting('shop.tenant', true)")) == "7"
                session.commit()
            with db.scope("nobody") as session:
                session.add(Product(id=3))
                session.flush()
                assert session.scalar(text("SELECT current_setting('shop.tenant', true)")) == ""
                session.rollback()


def test_settings_of_the_connection_stay(seeded: Database) -> None:
    only(seeded, "postgresql")
    with rolled_back(seeded) as db:
        with db.scope("sets") as session:
            session.execute(text("SELECT set_config('shop.tenant', '7', false)"))
            session.commit()
        with db.engine.connect() as connection:
            assert connection.scalar(text("SELECT current_setting('shop.tenant')")) == "7"


def test_a_unit_that_only_reads_is_refused_by_the_server(seeded: Database) -> None:
    only(seeded, "postgresql")
    with rolled_back(seeded) as db:
        with (
            pytest.raises(InternalError, match="read-only"),
            db.scope("reads") as session,
            session.unit(read_only=True, isolation="SERIALIZABLE"),
        ):
            session.connection().exec_driver_sql("INSERT INTO product (id, stock) VALUES (2, 0)")
        put(db, 2)


@pytest.mark.parametrize("how, saved", [("lost", [1]), ("saved", [1, 2])])
def test_a_commit_that_is_cut_off(seeded: Database, how: Any, saved: list[int]) -> None:
    with rolled_back(seeded) as db:
        with failing_commit(db, how), pytest.raises(CommitOutcomeUnknown):
            put(db, 2)
        assert numbers(db) == saved
        put(db, 3)


def test_a_commit_that_is_refused(seeded: Database) -> None:
    with rolled_back(seeded) as db:
        with failing_commit(db), pytest.raises(OperationalError, match="COMMIT refused"):
            put(db, 2)
        put(db, 3)
        assert numbers(db) == [1, 3]


def test_two_phases_are_one(postgres: PostgresServer, pg_url: str) -> None:
    first, second = (Database(pg_url, name=name, twophase=True) for name in ("first", "second"))
    with first.engine.begin() as connection:
        Product.__table__.create(connection)
    with rolled_back(first), rolled_back(second), first.engine.connect() as connection:
        transaction = connection.begin_twophase()
        connection.execute(text("INSERT INTO product (id, stock) VALUES (2, 0)"))
        transaction.prepare()
        transaction.commit()
        connection.close()
        assert numbers(first) == [2]
    assert numbers(first) == []
    first.close()
    second.close()


# -- how it comes to its end --------------------------------------------------------------------------------------------


def test_a_connection_that_is_lost_voids_the_test(postgres: PostgresServer, pg_url: str) -> None:
    db = Database(pg_url)
    with db.engine.begin() as connection:
        Product.__table__.create(connection)
    block = rolled_back(db)
    block.__enter__()
    postgres.terminate_backends(db.engine.url.database)
    with pytest.raises(OperationalError):
        put(db, 1)
    with pytest.raises(SharedConnectionLost):
        numbers(db)
    with pytest.raises(SharedConnectionLost, match="at the end of the test"):
        block.__exit__(None, None, None)
    assert numbers(db) == []
    db.close()


def test_a_begin_and_a_script_of_sqlite(shop: Database) -> None:
    event.listen(shop.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    put(shop, 1)
    with rolled_back(shop) as db:
        put(db, 2)
        raw = db.engine.raw_connection()
        raw.executescript("INSERT INTO product VALUES (3, 0);\n-- and; \nINSERT INTO product VALUES (4, 0);")
        raw.commit()
        raw.close()
        assert numbers(db) == [1, 2, 3, 4]
    assert numbers(shop) == [1]


def test_an_engine_of_the_users_with_any_pool(sqlite_file: str) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    engine: Engine = create_engine(f"sqlite:///{sqlite_file}", poolclass=NullPool)
    Product.__table__.create(engine)
    db = Database(engine)
    with rolled_back(db):
        put(db, 1)
        with db.scope("reads") as session:
            assert session.get_one(Product, 1)
    assert numbers(db) == []


def test_a_database_in_memory(sqlite_file: str) -> None:
    db = Database("sqlite://")
    Product.__table__.create(db.engine)
    put(db, 1)
    with rolled_back(db):
        put(db, 2)
        assert numbers(db) == [1, 2]
    assert numbers(db) == [1]
    db.close()
