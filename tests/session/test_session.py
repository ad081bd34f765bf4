"""The session's life: its phases, closing and using it again, and what it refuses."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import sessionmaker

from respool import AsyncSession, Database, ObjectState, Session, SessionPhase, state_of
from respool.errors import CommitOutcomeUnknown, ScopeEnded, UncommittedChanges, WrongScope
from tests.session.shop import Order, Product, acquired, count, opened, opened_async

CREATED, WORKING, COMMITTED = SessionPhase.CREATED, SessionPhase.WORKING, SessionPhase.COMMITTED
ROLLED_BACK, CLOSED, REMOVED = SessionPhase.ROLLED_BACK, SessionPhase.CLOSED, SessionPhase.REMOVED


def test_the_phases_of_a_session(db: Database) -> None:
    with db.scope("job") as session:
        phases = [session.phase]
        for step in (
            lambda: session.get_one(Product, 1),
            session.commit,
            lambda: session.execute(text("SELECT 1")),
            session.rollback,
            lambda: session.add(Order(product_id=1)),
            session.flush,
            session.rollback,
            session.close,
            lambda: session.get_one(Product, 1),
        ):
            step()
            phases.append(session.phase)
    expected = [CREATED, WORKING, COMMITTED, WORKING, ROLLED_BACK, WORKING, WORKING, ROLLED_BACK, CLOSED, WORKING]
    assert phases == expected
    assert session.phase is REMOVED


async def test_the_phases_of_an_async_session(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db:
        async with db.scope("job") as session:
            assert isinstance(session, AsyncSession)
            phases = [session.phase]
            for step in (lambda: session.get_one(Product, 1), session.commit, session.close):
                await step()
                phases.append(session.phase)
        assert phases == [CREATED, WORKING, COMMITTED, CLOSED]
        assert session.phase is REMOVED


def test_savepoints_do_not_change_the_phase(db: Database) -> None:
    with db.scope("job") as session:
        with session.begin_nested():
            session.add(Order(product_id=1))
        assert session.phase is WORKING
        inner = session.begin_nested()
        inner.rollback()
        assert session.phase is WORKING


def test_a_closed_session_gives_its_connection_back_and_works_again(db: Database) -> None:
    with db.scope("job") as session:
        session.connection()
        tea = session.get_one(Product, 1)
        assert (acquired(db), session.holds_connection) == (1, True)
        session.close()
        assert (acquired(db), session.holds_connection) == (0, False)
        assert state_of(tea) is ObjectState.DETACHED
        assert tea.name == "tea"
        assert session.objects()[ObjectState.PERSISTENT] == []
        again = session.get_one(Product, 1)
        assert again is not tea
        assert session is db.session


def test_objects_keep_their_values_after_a_commit(db: Database) -> None:
    with db.scope("job") as session:
        tea = session.get_one(Product, 1)
        tea.stock = 9
        session.commit()
        assert acquired(db) == 0
        assert tea.stock == 9
        assert acquired(db) == 0  # nothing was loaded for it


@pytest.mark.parametrize("how", ["close", "reset"])
def test_promise_04_closing_with_uncommitted_changes_is_reported(db: Database, shop_url: str, how: str) -> None:
    with db.scope("job") as session:
        session.add(Order(product_id=1))
        close = getattr(session, how)
        with pytest.warns(UncommittedChanges, match=rf"rolled back at {how}\(\)") as told:
            close()
    assert len(told) == 1
    assert count(shop_url) == 0


USES: dict[str, Callable[[Session], Any]] = {
    "execute": lambda s: s.execute(text("SELECT 1")),
    "scalar": lambda s: s.scalar(text("SELECT 1")),
    "scalars": lambda s: s.scalars(select(Product)),
    "query": lambda s: s.query(Product).all(),
    "get": lambda s: s.get(Product, 1),
    "connection": lambda s: s.connection(),
    "get_bind": lambda s: s.get_bind(),
    "flush": lambda s: s.flush(),
    "commit": lambda s: s.commit(),
    "begin": lambda s: s.begin(),
    "begin_nested": lambda s: s.begin_nested(),
    "add": lambda s: s.add(Order(product_id=1)),
    "add_all": lambda s: s.add_all([Order(product_id=1)]),
    "delete": lambda s: s.delete(Order(product_id=1)),
    "merge": lambda s: s.merge(Product(id=1)),
    "bulk_save_objects": lambda s: s.bulk_save_objects([Order(product_id=1)]),
    "bulk_insert_mappings": lambda s: s.bulk_insert_mappings(Order.__mapper__, [{"product_id": 1}]),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_promise_05_nothing_works_after_the_end(db: Database, use: Callable[[Session], Any]) -> None:
    with db.scope("job") as session:
        pass
    with pytest.raises(ScopeEnded) as refused:
        use(session)
    assert db.pool.stats().total == 0
    assert refused.value.scope == "job"
    assert str(refused.value).count("test_session.py") == 2  # where it was opened, and where it was used


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_promise_05_nothing_works_from_elsewhere(db: Database, use: Callable[[Session], Any]) -> None:
    told: list[WrongScope] = []

    def elsewhere() -> None:
        with pytest.raises(WrongScope) as refused:
            use(session)
        told.append(refused.value)

    with db.scope("job") as session:
        thread = threading.Thread(target=elsewhere)  # a thread has a context of its own
        thread.start()
        thread.join()
    assert "outside any request or scope" in str(told[0])
    assert db.pool.stats().total == 0


def test_promise_05_lazy_loads_are_refused_too(db: Database) -> None:
    told: list[WrongScope] = []

    def elsewhere() -> None:
        with pytest.raises(WrongScope) as refused:
            tea.orders
        told.append(refused.value)

    with db.scope("job") as session:
        tea = session.get_one(Product, 1)
        session.commit()
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert acquired(db) == 0
    assert len(told) == 1


@pytest.mark.parametrize("name", ["close", "reset", "invalidate", "rollback"])
def test_after_the_end_there_is_nothing_left_to_close_or_roll_back(db: Database, name: str) -> None:
    with db.scope("job") as session:
        session.get(Product, 1)
    getattr(session, name)()
    assert session.phase is REMOVED


async def test_promise_05_async_sessions_refuse_as_well(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db:
        async with db.scope("job") as session:
            await session.get(Product, 1)
        taken = db.pool.stats().acquired_total
        with pytest.raises(ScopeEnded, match="scope 'job'"):
            await session.get(Product, 1)
        with pytest.raises(ScopeEnded):
            session.add(Order(product_id=1))
        await session.close()
        assert db.pool.stats().acquired_total == taken


def test_promise_07_a_connection_that_cannot_be_given_back_cleanly_is_discarded(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The ROLLBACK of the end fails: the block's work is done, the connection goes, and the next one is a new one."""

    def fails(connection: Any) -> None:
        raise OperationalError("ROLLBACK", {}, Exception("the cable is out"))

    with db.scope("job", commit="manual") as session:
        session.connection()
        event.listen(db.engine, "rollback", fails)
    event.remove(db.engine, "rollback", fails)
    assert "its connection was discarded" in caplog.text
    assert (acquired(db), db.scopes()) == (0, ())
    with db.scope("next") as session:
        assert session.get_one(Product, 1).name == "tea"


def test_promise_07_closing_by_hand_tells_of_it_and_gives_back_too(db: Database) -> None:
    def fails(connection: Any) -> None:
        raise OperationalError("ROLLBACK", {}, Exception("the cable is out"))

    with db.scope("job") as session:
        session.connection()
        event.listen(db.engine, "rollback", fails)
        with pytest.raises(OperationalError, match="the cable is out"):
            session.close()
        event.remove(db.engine, "rollback", fails)
        assert (acquired(db), session.phase) == (0, CLOSED)
        assert session.get_one(Product, 1).name == "tea"


def test_invalidate_discards_the_connection(db: Database) -> None:
    with db.scope("job") as session:
        session.connection()
        session.invalidate()
        assert (db.pool.stats().total, session.phase) == (0, CLOSED)
        assert session.get_one(Product, 1).name == "tea"


def save(session: Session, how: str) -> None:
    if how == "commit":
        session.add(Order(product_id=1))
        session.commit()
    else:
        with session.begin():
            session.add(Order(product_id=1))


@pytest.mark.parametrize("how", ["commit", "begin"])
def test_promise_04_a_connection_lost_during_commit_is_an_unknown_outcome(
    db: Database, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    lost = ConnectionResetError("gone")
    dialect = db.engine.dialect

    def lose(connection: Any) -> None:
        raise dialect.loaded_dbapi.OperationalError("gone") from lost

    monkeypatch.setattr(dialect, "do_commit", lose)
    monkeypatch.setattr(dialect, "is_disconnect", lambda *args: True)
    with db.scope("job", commit="manual") as session:
        with pytest.raises(CommitOutcomeUnknown, match="scope 'job'") as unknown:
            save(session, how)
        session.rollback()
    assert isinstance(unknown.value.__cause__, dialect.loaded_dbapi.OperationalError)
    assert acquired(db) == 0


def test_an_error_of_the_flush_or_of_the_commit_itself_is_no_unknown_outcome(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.scope("job") as session:
        session.add(Order(product_id=999))
        with pytest.raises(IntegrityError):
            session.commit()  # the deferred foreign key: the database has said no
        session.rollback()
        session.add(Product(id=1, name="there already"))
        monkeypatch.setattr(db.engine.dialect, "is_disconnect", lambda *args: True)
        with pytest.raises(IntegrityError):
            session.commit()  # lost, but before the COMMIT
        session.rollback()


def test_a_session_without_a_scope_has_all_but_the_scope(shop_url: str) -> None:
    """The floor is useful alone: on an engine that exists, by ``sessionmaker``."""
    with opened(shop_url) as db:
        make = sessionmaker(db.engine, class_=Session)
        with make() as session:
            tea = session.get_one(Product, 1)
            assert (session.scope, session.phase) == (None, WORKING)
            tea.stock = 8
            assert session.changes().lines() == ["Product(id=1) updated: stock"]
            with pytest.warns(UncommittedChanges, match="a session without a scope"):
                session.close()
        with make.begin() as session:
            session.get_one(Product, 1).stock = 7
        assert session.phase is CLOSED


async def test_a_task_may_use_the_session_that_its_parent_opened(async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db, db.scope("job") as session:
        found = await asyncio.wait_for(session.get_one(Product, 1), None)
        assert await asyncio.create_task(session.get_one(Product, 1)) is found
