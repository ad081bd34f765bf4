"""A session without a scope, managed by hand: SQLAlchemy's own, as far as its users can tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import Engine, ForeignKey, create_engine, event, orm, select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry, relationship

from respool import Session
from respool.errors import UncommittedChanges
from respool.session.changes.log import Unloaded
from tests.session.shop import Product


class Base(DeclarativeBase):
    pass


class Shelf(Base):
    __tablename__ = "shelves"

    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[Label | None] = relationship(back_populates="shelf")


class Label(Base):
    __tablename__ = "labels"

    id: Mapped[int] = mapped_column(primary_key=True)
    shelf_id: Mapped[int | None] = mapped_column(ForeignKey("shelves.id"))
    shelf: Mapped[Shelf | None] = relationship(back_populates="label")


@pytest.fixture
def engine(shop_url: str) -> Iterator[Engine]:
    engine = create_engine(shop_url)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(Shelf.__table__.insert().values(id=1))
        connection.execute(Label.__table__.insert().values(id=1, shelf_id=1))
    yield engine
    engine.dispose()


def test_it_leaves_a_connections_options_alone(engine: Engine) -> None:
    heard: list[Any] = []
    event.listen(engine, "set_connection_execution_options", lambda connection, options: heard.append(options))
    with Session(engine) as session:
        assert session.connection().get_execution_options() == {}
        with session.begin_nested():
            session.scalar(select(Product.name))
    assert heard == []


def test_a_connection_of_the_users_own_goes_on_without_it(engine: Engine) -> None:
    with engine.connect() as connection:
        before = dict(vars(connection))
        with Session(connection) as session:
            session.add(Product(id=2, name="coffee"))
            session.flush()
            assert session.changes()
            session.rollback()
        assert vars(connection).keys() <= before.keys()


def test_something_that_stands_for_an_engine_will_do() -> None:
    connection = mock.Mock(in_transaction=mock.Mock(return_value=False))
    with Session(mock.Mock(connect=mock.Mock(return_value=connection))) as session:
        assert session.connection() is connection


def test_a_closed_session_is_reset_only_by_reset(engine: Engine) -> None:
    session = Session(engine, close_resets_only=False)
    session.scalar(select(Product.name))
    session.reset()
    assert session.scalar(select(Product.name)) == "tea"
    session.close()
    with pytest.raises(InvalidRequestError, match="permanently closed"):
        session.scalar(select(Product.name))


def test_promise_04_reset_reports_what_it_loses(engine: Engine) -> None:
    session = Session(engine)
    session.add(Product(id=2, name="coffee"))
    with pytest.warns(UncommittedChanges, match=r"rolled back at reset\(\)"):
        session.reset()


def test_what_was_unmapped_meanwhile_is_reported_all_the_same(engine: Engine) -> None:
    class Thing:
        pass

    things = registry()
    things.map_imperatively(Thing, Product.__table__)
    session = Session(engine)
    thing: Any = session.get(Thing, 1)
    thing.name = "coffee"
    session.flush()
    things.dispose()
    with pytest.warns(UncommittedChanges) as told:
        session.close()
    assert "Thing(id=1) updated: name" in str(told[0].message)


@pytest.fixture
def statements(engine: Engine) -> list[str]:
    """What the engine executes."""
    heard: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *heard_of: heard.append(heard_of[2]))
    return heard


def replace_label(session: orm.Session) -> None:
    shelf = session.get_one(Shelf, 1)
    shelf.label = Label(id=2)


def test_what_changed_is_told_without_a_statement(engine: Engine, statements: list[str]) -> None:
    with orm.Session(engine) as stock:
        replace_label(stock)
        stock.flush()
    expected = statements.copy()
    statements.clear()
    with Session(engine) as session:
        replace_label(session)
        (change,) = session.changes().updates
        assert change.attributes["label"] == (Unloaded.UNLOADED, change.object.label)
        session.flush()
        assert statements == expected
        session.rollback()


@pytest.mark.parametrize("how", ["close", "reset", "invalidate"])
def test_the_users_own_connection_stays_open_when_a_listener_fails(shop_url: str, how: str) -> None:
    engine = create_engine(shop_url)

    def refuse(connection: Any) -> None:
        raise LookupError

    with engine.connect() as connection:
        session = Session(connection)
        session.execute(text("SELECT 1"))
        event.listen(engine, "rollback", refuse)
        with pytest.raises(LookupError):
            getattr(session, how)()
        event.remove(engine, "rollback", refuse)
        assert not connection.closed
    engine.dispose()
