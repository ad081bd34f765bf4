"""``execute()``, ``scalars()`` and ``scalar()`` by a plan."""

from __future__ import annotations

import copy
import gc
import re
import weakref
from contextlib import closing, suppress
from typing import Any

import pytest
from sqlalchemy import ForeignKey, Select, bindparam, create_engine, event, exc, inspect, literal, orm, select
from sqlalchemy import __version__ as version
from sqlalchemy.ext import serializer
from sqlalchemy.orm import joinedload, selectinload, strategies
from sqlalchemy.orm.interfaces import UserDefinedOption

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


def shelves(database: Database, statement: Any) -> Any:
    with database.scope("read") as session:
        authors = session.scalars(statement).all()
        states = [inspect(book) for author in authors for book in author.books]
        return (
            [(author.name, [book.title for book in author.books]) for author in authors],
            [(repr(state.load_path), [type(option).__name__ for option in state.load_options]) for state in states],
            session.holds_connection,
        )


def test_a_selectinload_goes_by_two_plans(url: str, planned: list[str]) -> None:
    statement = select(Author).options(selectinload(Author.books)).order_by(Author.id)

    def program(database: Database) -> Any:
        return [shelves(database, statement) for _ in range(3)]

    found = both(url, program)
    assert [len(books) for _, books in found[2][0]] == [5, 5]
    # SQLAlchemy 2.0 selects the keys as a bundle, which is not planned
    assert ["IN" in sql for sql in planned] == ([False] if version.startswith("2.0") else [False, True]) * 2


@pytest.mark.skipif(version.startswith("2.0"), reason="SQLAlchemy 2.0 selects the keys as a bundle")
def test_the_loader_of_a_selectinload_makes_its_statement_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    plain = strategies._SelectInLoader._load_for_path

    def watched(self: Any, *what: Any) -> Any:
        asked.append(True)
        return plain(self, *what)

    monkeypatch.setattr(strategies._SelectInLoader, "_load_for_path", watched)

    def program(database: Database) -> Any:
        seen = []
        for number in (1, 2, 1, 2, 7):  # lists of several lengths, and an empty one
            statement = select(Author).options(selectinload(Author.books)).where(Author.id <= number % 7)
            seen.append((shelves(database, statement), len(asked)))
            asked.clear()
        return [what for what, _ in seen], [times for _, times in seen]

    with opened(url, plans=True) as ours, opened(url, plans=False) as stock:
        with_plans, without = program(ours), program(stock)
    assert with_plans[0] == without[0]
    assert (with_plans[1], without[1]) == ([1, 1, 0, 0, 0], [1, 1, 1, 1, 0])


@pytest.mark.parametrize(
    "statement",
    [
        select(Author).options(selectinload(Author.books).selectinload(Book.author)).order_by(Author.id),
        select(Author).options(selectinload(Author.books).joinedload(Book.author)).order_by(Author.id),
        select(Author).options(selectinload(Author.books).defer(Book.title)).order_by(Author.id),
        select(Author).options(selectinload(Author.books.and_(Book.id > 4))).order_by(Author.id),
        select(Author).options(selectinload("*")).order_by(Author.id),
        select(Author).options(orm.immediateload(Author.books)).order_by(Author.id),
        select(Author).options(orm.lazyload(Author.books), orm.load_only(Author.name)).order_by(Author.id),
        select(Author).options(orm.subqueryload(Author.books)).order_by(Author.id),
    ],
)
def test_any_other_option(url: str, statement: Any) -> None:
    def program(database: Database) -> Any:
        return [shelves(database, statement) for _ in range(4)]

    both(url, program)


def test_what_is_there_already_keeps_its_collection(url: str) -> None:
    statement = select(Author).options(selectinload(Author.books)).order_by(Author.id)

    def program(database: Database) -> Any:
        seen = []
        for _ in range(3):
            with database.scope("read") as session:
                author = session.get_one(Author, 1)
                author.books.remove(author.books[0])
                with session.no_autoflush:
                    authors = session.scalars(statement).all()
                seen.append(([len(each.books) for each in authors], authors[0] is author, len(session.dirty)))
                session.rollback()
        return seen

    both(url, program)


def test_criteria_of_an_option_are_those_of_each_statement(url: str) -> None:
    def program(database: Database) -> Any:
        found = []
        for number in (2, 4, 6, 8):
            statement = select(Author).options(selectinload(Author.books.and_(Book.id > number))).order_by(Author.id)
            found.append([len(books) for _, books in shelves(database, statement)[0]])
        return found

    assert both(url, program) == [[4, 4], [3, 3], [2, 2], [1, 1]]


def test_values_of_an_option_are_those_of_each_statement(sqlite_file: str) -> None:
    class Local(orm.DeclarativeBase):
        pass

    class Parent(Local):
        __tablename__ = "parents"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        children: orm.Mapped[list[Any]] = orm.relationship("Child", order_by="Child.id")

    class Child(Local):
        __tablename__ = "children"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        parent_id: orm.Mapped[int] = orm.mapped_column(ForeignKey("parents.id"))
        shown: orm.Mapped[str] = orm.query_expression()

    def program(database: Database) -> Any:
        Local.metadata.drop_all(database.engine)
        Local.metadata.create_all(database.engine)
        with database.scope("fill") as session:
            session.add(Parent(id=1, children=[Child(id=1), Child(id=2)]))
            session.commit()
        found = []
        for word in ("one", "two", "three", "four"):
            shown = orm.with_expression(Child.shown, literal(word))
            with database.scope("read") as session:
                parents = session.scalars(select(Parent).options(selectinload(Parent.children).options(shown)))
                found.append([child.shown for parent in parents for child in parent.children])
        return found

    assert both(f"sqlite:///{sqlite_file}", program) == [["one"] * 2, ["two"] * 2, ["three"] * 2, ["four"] * 2]


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


class Asked(UserDefinedOption):
    """SQLAlchemy's key of a statement does not tell of it."""

    propagate_to_loaders = True


def test_parts_are_marked_with_the_options_of_their_own_load(url: str) -> None:
    plain = select(Author).options(selectinload(Author.books)).order_by(Author.id)

    def program(database: Database) -> Any:
        seen = []
        for options in ((Asked(1),), (Asked(2),), (), (Asked(3),)) * 2:  # the first statement is kept
            with database.scope("read") as session:
                for author in session.scalars(plain.options(*options)):
                    states = [inspect(each) for each in (author, *author.books)]
                    asked = [[each for each in state.load_options if isinstance(each, Asked)] for state in states]
                    seen.append([[each.payload for each in of_one] for of_one in asked])
        return seen

    both(url, program)


def test_each_way_to_a_class_has_its_own_parts(sqlite_file: str) -> None:
    """The same loader is used on several ways, with an option on one of them; and on one by some of the objects only."""

    class Local(orm.DeclarativeBase):
        pass

    class Root(Local):
        __tablename__ = "roots"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        left: orm.Mapped[list[Any]] = orm.relationship("Node", foreign_keys="Node.left_id", order_by="Node.id")
        right: orm.Mapped[list[Any]] = orm.relationship("Node", foreign_keys="Node.right_id", order_by="Node.id")

    class Node(Local):
        __tablename__ = "nodes"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        kind: orm.Mapped[str]
        left_id: orm.Mapped[int] = orm.mapped_column(ForeignKey(Root.id))
        right_id: orm.Mapped[int] = orm.mapped_column(ForeignKey(Root.id))
        leaves: orm.Mapped[list[Any]] = orm.relationship("Leaf", foreign_keys="Leaf.node_id", order_by="Leaf.id")
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "node", "with_polymorphic": "*"}

    class Fork(Node):
        twigs: orm.Mapped[list[Any]] = orm.relationship(
            "Leaf", foreign_keys="Leaf.fork_id", order_by="Leaf.id", lazy="selectin"
        )
        __mapper_args__ = {"polymorphic_identity": "fork"}

    class Leaf(Local):
        __tablename__ = "leaves"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        name: orm.Mapped[str]
        node_id: orm.Mapped[int] = orm.mapped_column(ForeignKey(Node.id))
        fork_id: orm.Mapped[int] = orm.mapped_column(ForeignKey(Node.id))

    engine = create_engine(f"sqlite:///{sqlite_file}")
    Local.metadata.create_all(engine)
    numbers = range(1, 9)
    nodes = [
        {"id": n, "kind": ("node", "fork")[n % 2], "left_id": n % 2 + 1, "right_id": n % 3 % 2 + 1} for n in numbers
    ]
    with engine.begin() as connection:
        connection.execute(Root.__table__.insert(), [{"id": 1}, {"id": 2}])
        connection.execute(Node.__table__.insert(), nodes)
        leaves = [{"id": n, "name": "leaf", "node_id": 9 - n, "fork_id": n - 1 + n % 2} for n in numbers]
        connection.execute(Leaf.__table__.insert(), leaves)
    engine.dispose()

    def seen(database: Database, statement: Any) -> Any:
        with database.scope("read") as session:
            found = []
            for root in session.scalars(statement):
                for node in (*root.left, *root.right):
                    of_node = [node.id, type(node).__name__, repr(inspect(node).load_path)]
                    for leaf in (*vars(node).get("leaves", ()), *vars(node).get("twigs", ())):
                        of_node += [leaf.id, repr(inspect(leaf).load_path), sorted(inspect(leaf).unloaded)]
                    found.append(of_node)
            return found

    left, right = selectinload(Root.left), selectinload(Root.right)
    statements = [
        select(Root).options(left, right).order_by(Root.id),
        select(Root).options(left.selectinload(Node.leaves), right.selectinload(Node.leaves)).order_by(Root.id),
        select(Root)
        .options(left.selectinload(Node.leaves).defer(Leaf.name), right.selectinload(Node.leaves))
        .order_by(Root.id),
    ]
    with (
        closing(Database(f"sqlite:///{sqlite_file}", plans=True)) as ours,
        closing(Database(f"sqlite:///{sqlite_file}", plans=False)) as theirs,
    ):
        for statement in statements:
            for _ in range(4):
                assert seen(ours, statement) == seen(theirs, statement)


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
