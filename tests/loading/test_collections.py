"""``selectinload`` of collections by a plan, and every other way to load them beside one."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import ForeignKey, create_engine, inspect, literal, orm, select
from sqlalchemy import __version__ as version
from sqlalchemy.orm import selectinload, strategies
from sqlalchemy.orm.interfaces import UserDefinedOption

from respool import Database
from tests.loading.shelf import Author, Book, both, fill, opened


@pytest.fixture
def url(sqlite_file: str) -> str:
    return fill(f"sqlite:///{sqlite_file}")


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
