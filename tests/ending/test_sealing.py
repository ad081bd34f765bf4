"""What an answer was made for is committed with it: a clean-up takes nothing away, and what comes after it is seen."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from respool import Database, Session
from respool.errors import RollbackOnly, UncommittedChanges
from tests.session.shop import Order, Product, acquired


def nothing(session: Session) -> None: ...


def a_read(session: Session) -> None:
    session.scalars(select(Product)).all()


def an_expiry(session: Session) -> None:
    session.expire_all()


def another_value(session: Session) -> None:
    session.get_one(Product, 1).stock = 99


def another_value_flushed(session: Session) -> None:
    another_value(session)
    session.flush()


def another_value_of_what_is_new(session: Session) -> None:
    session.scalars(select(Order)).one().note = "late"


def a_row(session: Session) -> None:
    session.add(Order(product_id=1))


def a_statement(session: Session) -> None:
    session.execute(update(Product).values(stock=99))


def work(db: Database, late: Callable[[Session], None], clean_up: str, *, flushed: bool) -> None:
    with db.scope("job") as session:
        session.get_one(Product, 1).stock = 4
        session.add(Order(product_id=1, note="first"))
        if flushed:
            session.flush()
        session.scope.seal(200)  # type: ignore[union-attr]
        late(session)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UncommittedChanges)  # of which close() tells
            getattr(session, clean_up)()


def saved(db: Database) -> Any:
    with db.scope("look") as session:
        return session.get_one(Product, 1).stock, session.scalars(select(Order.note)).all()


@pytest.fixture
def before(db: Database) -> Any:
    return saved(db)


@pytest.mark.parametrize(
    "late, flushed", [(nothing, True), (nothing, False), (a_read, True), (a_read, False), (an_expiry, True)]
)
@pytest.mark.parametrize("clean_up", ["rollback", "close", "remove"])
def test_a_clean_up_takes_nothing_away(
    db: Database, late: Callable[[Session], None], clean_up: str, flushed: bool
) -> None:
    work(db, late, clean_up, flushed=flushed)
    assert saved(db) == (4, ["first"])


@pytest.mark.parametrize("flushed", [True, False])
@pytest.mark.parametrize("clean_up", ["rollback", "close", "remove"])
@pytest.mark.parametrize(
    "late", [another_value, another_value_flushed, another_value_of_what_is_new, a_row, a_statement]
)
def test_what_was_done_since_goes_and_all_with_it(
    db: Database, before: Any, late: Callable[[Session], None], clean_up: str, flushed: bool
) -> None:
    with pytest.raises(RollbackOnly):
        work(db, late, clean_up, flushed=flushed)
    assert saved(db) == before
    assert acquired(db) == 0
