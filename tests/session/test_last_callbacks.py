"""Who is told of a session's last moments, and uses it then, leaves nothing behind."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event, select
from sqlalchemy.orm import Session as PlainSession

from respool import Session
from tests.session.shop import Order, Product, acquired, fill, opened


def test_a_listener_that_begins_a_transaction_as_objects_are_let_go_leaks_none(url: str) -> None:
    with opened(url, commit="on_success") as db:
        with db.scope("job") as session:

            @event.listens_for(session, "persistent_to_detached")
            def again(session: PlainSession, instance: Any) -> None:
                session.connection().execute(sa.text("SELECT 1"))

            order = Order(product_id=1)
            session.add(order)
        assert (acquired(db), order.product_id) == (0, 1)


def test_a_listener_at_the_end_of_a_reader_is_served_as_at_that_of_a_writer(url: str) -> None:
    with opened(url) as db:
        seen: list[object] = []
        with db.scope("job") as session:

            @event.listens_for(session, "persistent_to_detached")
            def again(session: PlainSession, instance: Any) -> None:
                seen.append(session.connection().execute(sa.text("SELECT 1")).scalar())

            tea = session.get_one(Product, 1)
        assert (seen, acquired(db), tea.name) == ([1], 0, "tea")


def test_a_stream_that_was_dropped_holds_no_lock(sqlite_file: str) -> None:
    url = f"sqlite:///{sqlite_file}"
    fill(url)
    elsewhere = sqlite3.connect(sqlite_file, timeout=0)
    elsewhere.execute("PRAGMA journal_mode = DELETE")
    with opened(url, commit="on_success") as db:
        with db.scope("job") as session:
            session.execute(select(Product.id), execution_options={"stream_results": True})
        elsewhere.execute("BEGIN EXCLUSIVE")
    elsewhere.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    found = f"sqlite:///{request.getfixturevalue('sqlite_file')}"
    if request.param == "postgresql":
        found = request.getfixturevalue("pg_url")
    fill(found)
    return found


def test_a_listener_that_fails_at_the_end_costs_no_database_in_memory() -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")

    @event.listens_for(engine, "rollback", once=True)
    def fail(connection: sa.Connection) -> None:
        raise LookupError

    session = Session(engine)
    session.execute(sa.text("INSERT INTO t VALUES (1)"))
    with pytest.raises(LookupError):
        session.close()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
    engine.dispose()
