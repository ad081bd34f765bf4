"""Who is told of a session's last moments, and uses it then, leaves nothing behind."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event, select
from sqlalchemy.orm import Session as PlainSession

from respool import Session
from respool.errors import ScopeEnded
from respool.session.transaction.observers import SessionObserver
from tests.session.shop import Order, Product, acquired, count, fill, opened


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


LATE = ("closed", "removed", "after_transaction_end")


@pytest.mark.parametrize("use", ["read", "add"])
@pytest.mark.parametrize("ends", ["by a commit", "by a rollback", "with a read"])
@pytest.mark.parametrize("told", LATE)
def test_who_is_told_of_the_end_and_uses_the_session_is_refused(url: str, told: str, ends: str, use: str) -> None:
    seen: list[Any] = []

    def again(session: Any, *what: Any) -> None:
        try:
            session.scalar(sa.text("SELECT 1")) if use == "read" else session.add(Order(product_id=1, note="late"))
        except ScopeEnded as error:
            seen.append(error)

    with opened(url, commit="on_success") as db:
        if told in ("closed", "removed"):
            db.observe(type("Observer", (SessionObserver,), {told: lambda self, session: again(session)})())
        with suppress(LookupError), db.scope("job") as session:
            if ends == "with a read":
                session.get_one(Product, 1)
                session.connection()
            else:
                session.add(Order(product_id=1))
                session.flush()
            if told == "after_transaction_end":
                event.listen(session, told, again)
            if ends == "by a rollback":
                raise LookupError
        assert seen
        assert [error.scope for error in seen] == ["job"] * len(seen)
        assert (acquired(db), db.scopes()) == (0, ())
    assert count(url) == (ends == "by a commit")


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
