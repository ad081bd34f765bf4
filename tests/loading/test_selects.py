"""``execute()``, ``scalars()`` and ``scalar()`` by a plan."""

from __future__ import annotations

import copy
import gc
import re
import weakref
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Select, bindparam, event, exc, inspect, orm, select
from sqlalchemy.ext import serializer
from sqlalchemy.orm import joinedload, selectinload

from respool import Database
from respool.errors import ScopeEnded
from respool.session.loading.plans.kept import plans_of
from tests.loading.shelf import Author, Base, Book, both, collecting_all_the_time, fill, opened, raised

BY_NAME = select(Book).where(Book.title == bindparam("title"))


@pytest.fixture
def url(sqlite_file: str) -> str:
    return fill(f"sqlite:///{sqlite_file}")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The statements whose cache key was asked for."""
    asked: list[Any] = []
    plain = Select._generate_cache_key

    def watched(self: Any) -> Any:
        asked.append(self)
        return plain(self)

    monkeypatch.setattr(Select, "_generate_cache_key", watched)
    return asked


def one(session: Any, key: int) -> Any:
    return session.scalars(select(Book).where(Book.id == key)).one()


def test_the_second_time_it_goes_by_a_plan(url: str, planned: list[str]) -> None:
    with opened(url) as database, database.scope("read") as session:
        assert one(session, 1).title == "book 1"
        assert planned == []
        assert one(session, 2).title == "book 2"
        assert session.execute(select(Book).where(Book.id == 3)).one()[0].title == "book 3"
        assert session.scalar(select(Book).where(Book.id == 4)).title == "book 4"
        assert len(planned) == 3


def test_a_usual_statement_is_known_by_its_parts(url: str, keys: list[Any], planned: list[str]) -> None:
    with opened(url) as database, database.scope("read") as session:
        for key in (1, 2):
            one(session, key)
        keys.clear()
        assert [one(session, key).title for key in (3, 4)] == ["book 3", "book 4"]
        assert (keys, len(planned)) == ([], 3)
        assert session.scalars(select(Book).where(Book.id != 3).order_by(Book.id).limit(2)).first().id == 1


def test_what_is_built_once_is_known_by_itself(url: str, keys: list[Any], planned: list[str]) -> None:
    with opened(url) as database, database.scope("read") as session:
        titles = ["book 1", "book 2", "book 3", "book 4"]
        for title in titles[:2]:
            session.scalars(BY_NAME, {"title": title}).one()
        keys.clear()
        assert [session.scalars(BY_NAME, {"title": title}).one().id for title in titles[2:]] == [3, 4]
        assert (keys, len(planned)) == ([], 3)
        assert session.scalars(BY_NAME.where(Book.id == 1), {"title": "book 2"}).all() == []
        assert raised(lambda: session.scalars(BY_NAME).all())[0].__name__ == "StatementError"


def test_one_parameter_in_two_places(url: str, keys: list[Any], planned: list[str]) -> None:
    def statement(low: int, other: str, author: int) -> Any:
        return select(Book).where(Book.id >= bindparam("low", low), Book.author_id == bindparam(other, author))

    def program(database: Database) -> Any:
        statements = [(1, "low", 1), (5, "author", 2), (1, "low", 1), (7, "author", 2)] * 2
        with database.scope("read") as session:
            return [[book.id for book in session.scalars(statement(*which))] for which in statements]

    found = both(url, program)
    assert found[1] == found[5] == [5, 7, 9]
    assert len(planned) == 6


def test_where_a_parameter_has_its_value_from(url: str, planned: list[str]) -> None:
    box = [1]
    statements: list[Any] = [
        (select(Book).where(Book.id == bindparam("i", 4)), [None, {"i": 1}, {"i": 2, "j": 3}, {}, {"j": 1}]),
        (select(Book).where(Book.id == bindparam("i")), [{"i": 1}, {"i": "2"}, {"i": None}, None, [{"i": 1}]]),
        (select(Book).where(Book.id == 4, Book.title != "x"), [None, {"id_1": 1}, {"id_1": 2}, None]),
        (select(Book).where(Book.id == bindparam(None, callable_=lambda: box[0])), [None, None, None]),
    ]

    def program(database: Database) -> Any:
        found = []
        with database.scope("read") as session:
            for statement, givens in statements * 2:
                for given in givens:
                    box[0] = len(found)
                    found.append(raised(lambda: [book.id for book in session.scalars(statement, given)])[:2])  # noqa: B023
        return found

    both(url, program)
    assert len(planned) > 20


def test_a_copy_of_a_statement_keeps_no_plan(url: str) -> None:
    statement = select(Book).where(Book.title.like("book %")).order_by(Book.id)
    with opened(url) as database, database.scope("read") as session:
        for _ in range(3):
            whole = session.scalars(statement).all()
        kept = vars(statement)["_respool_plan"]
        assert kept is not None
        assert copy.deepcopy(kept) is None
        for made in (copy.copy(statement), serializer.loads(serializer.dumps(statement), Base.metadata)):
            assert session.scalars(made).all() == whole
            assert session.scalars(made.where(Book.id == 2)).all() == [whole[1]]


def test_each_key_has_its_own_plan(url: str) -> None:
    def program(database: Database) -> Any:
        with database.scope("read") as session:
            found = []
            for _ in range(3):
                found += [[each.id for each in session.scalars(statement)] for statement in statements()]
            return found

    def statements() -> tuple[Any, ...]:
        return (
            select(Book).where(Book.id == 1),
            select(Book).where(Book.id > 8),
            select(Book).where(Book.pages == 1),
            select(Book).where(Book.id == 1),
            select(Book).where(Book.id == Book.pages, Book.id < 3),
            select(Book).where(Book.id == 1, Book.title == "book 1"),
            select(Book).where(Book.id == 9).order_by(Book.id),
            select(Book).where(Book.id > 1).order_by(Book.id).limit(2),
            select(Book).where(Book.id > 1).order_by(Book.id.desc()).limit(2),
            select(Book).order_by(Book.id).limit(3).offset(2),
            select(Book).order_by(Book.id).offset(8),
            select(Book).where(Book.id.in_([1, 2])).order_by(Book.id),
            select(Book).where(Book.id.in_([1, 2, 3])).order_by(Book.id),
            select(Book).where(Book.id.in_([])),
            select(Book).filter_by(id=2),
            select(Book).distinct().order_by(Book.id).limit(1),
            select(Author).where(Author.id == 1),
        )

    found = both(url, program)
    assert found[:17] == found[17:34] == found[34:]


@pytest.mark.parametrize(
    "statement",
    [
        select(Book).options(joinedload(Book.author)),
        select(Book).with_for_update(),
        select(Book).execution_options(populate_existing=True),
        select(Book, Author).join(Author),
        select(Book.id, Book.title),
        select(orm.aliased(Book)),
        select(Book).from_statement(select(Book)),
        select(Book).union_all(select(Book)),
        select(Book.__table__),
        select(Book).options(orm.with_loader_criteria(Book, Book.id < 3)),
        select(Book).options(orm.undefer_group("g"), joinedload(Book.author)),
        select(Book).options(orm.raiseload(Book.author)),
        select(Book).options(orm.defer(Book.title, raiseload=True)),
        select(Author).options(orm.subqueryload(Author.books)),
    ],
)
def test_what_is_more_than_a_select_of_one_class(url: str, planned: list[str], statement: Any) -> None:
    def program(database: Database) -> Any:
        with database.scope("read") as session:
            found = [session.execute(statement).unique().all() for _ in range(3)]
            session.rollback()
            return [[repr(inspect(each, raiseerr=False) and vars(each).keys()) for each in row] for row in found]

    both(url, program)
    assert planned == []


def test_objects_are_made_when_they_are_fetched(url: str) -> None:
    def program(database: Database) -> Any:
        with database.scope("read") as session:
            session.scalars(select(Book)).all()
            session.expunge_all()
            result = session.scalars(select(Book))
            before = len(session.identity_map)
            books = result.all()
            return before, len(session.identity_map), len(books), result.all()

    assert both(url, program) == (0, 10, 10, [])


def test_rows_are_refused_after_the_end_of_their_scope(url: str, planned: list[str]) -> None:
    with opened(url) as database:
        with database.scope("read") as session:
            session.scalars(select(Book)).all()
        with database.scope("read") as session:
            result = session.scalars(select(Book))
        assert len(planned) == 1
        with pytest.raises(ScopeEnded):
            result.all()


def test_objects_are_not_made_in_an_identity_map_that_was_let_go(url: str, planned: list[str]) -> None:
    def program(database: Database) -> Any:
        with database.scope("read") as session:
            kept = session.scalars(select(Book)).all()
            result = session.scalars(select(Book))
            session.expunge_all()
            kept.clear()
            gc.collect()
            kind, said, *_ = raised(result.all)
            return kind, re.sub("0x[0-9a-f]+", "", said)

    kind, said = both(url, program)
    assert kind.__name__ == "InvalidRequestError"
    assert "no longer valid" in said
    assert planned


def test_a_collection_in_the_middle_of_a_batch(url: str) -> None:
    fill(url, books=300)
    with collecting_all_the_time(), opened(url) as database, database.scope("read") as session:
        for _ in range(3):
            books = session.scalars(select(Book).order_by(Book.id)).all()
            assert [book.id for book in books] == [*range(1, 301)]
            assert len(session.identity_map) == 300
            assert all(inspect(book).session is session for book in books)
            del books


def test_a_processor_that_refuses_a_row(url: str) -> None:
    class Shy(orm.DeclarativeBase):
        pass

    import sqlalchemy as sa

    class Odd(sa.TypeDecorator[int]):
        impl = sa.Integer
        cache_ok = True

        def process_result_value(self, value: Any, dialect: Any) -> Any:
            if value == 5 and armed:
                raise ValueError("five")
            return value

    class Pages(Shy):
        __tablename__ = "books"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        pages: orm.Mapped[int] = orm.mapped_column(Odd)

    armed: list[int] = []

    def program(database: Database) -> Any:
        armed.clear()
        with database.scope("read") as session:
            session.scalars(select(Pages)).all()
            session.expunge_all()
            armed.append(1)
            return raised(lambda: session.scalars(select(Pages)).all())[:2], len(session.identity_map)

    assert both(url, program) == ((ValueError, "five"), 0)


def test_many_statements_do_not_fill_the_tables(url: str) -> None:
    with opened(url) as database, database.scope("read") as session:
        for number in range(1, 700):
            session.scalars(select(Book).where(Book.id == 1).limit(1).with_hint(Book, f"h{number}", "oracle")).all()
        plans = plans_of(database.engine)
        assert len(plans.selects) <= 500


# -- loaders that load afterwards -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["after_cursor_execute", "handle_error"])
def test_who_hears_of_a_statement_hears_of_that_one(url: str, name: str) -> None:
    def program(database: Database) -> Any:
        told: list[Any] = []

        def hear(*what: Any) -> None:
            context = what[0].execution_context if len(what) == 1 else what[4]
            told.append((context.invoked_statement.compile().params, context.compiled_parameters))

        event.listen(database.engine, name, hear)
        for number in (1, 2, 3):
            if number == 3 and name == "handle_error":
                Base.metadata.drop_all(database.engine)
                told.clear()
            with database.scope("read") as session, suppress(exc.OperationalError):
                session.scalars(select(Book).where(Book.id == number)).all()
        return told[-1]

    assert both(url, program) == ({"id_1": 3}, [{"id_1": 3}])


def test_a_statement_does_not_keep_its_engine(url: str) -> None:
    statements = select(Book).where(Book.id == 1), select(Author).options(selectinload(Author.books))
    with opened(url) as database:
        for statement in statements * 4:
            with database.scope("read") as session:
                session.scalars(statement).all()
        plans = weakref.ref(plans_of(database.engine))
    del database, session
    gc.collect()
    assert plans() is None
