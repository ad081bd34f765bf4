"""``get()`` by a plan: when there is one, and when SQLAlchemy is left to it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, event, exc, orm, select
from sqlalchemy.orm import Session, column_property, registry

import respool
from respool import Database
from respool.engine import only_looks
from respool.errors import ConfigError, ScopeEnded
from respool.session.loading.plans.kept import plans_of
from tests.loading.shelf import Base, Book, both, fill, opened, raised

NOTHING = object()
ALIAS = orm.aliased(Book)


@pytest.fixture
def url(sqlite_file: str) -> str:
    return fill(f"sqlite:///{sqlite_file}")


def titles(database: Database, *keys: Any) -> list[Any]:
    with database.scope("read") as session:
        return [book and book.title for book in (session.get(Book, key) for key in keys)]


def test_the_second_get_goes_by_what_the_first_has_left(url: str, planned: list[str]) -> None:
    database = Database(url, plans=True)
    assert titles(database, 1) == ["book 1"]
    assert planned == []
    assert titles(database, 2, 99, 2) == ["book 2", None, "book 2"]
    assert len(planned) == 3
    database.close()


def test_an_object_that_is_there_is_the_same_one(url: str, planned: list[str]) -> None:
    with opened(url) as database, database.scope("read") as session:
        book = session.get(Book, 1)
        assert session.get(Book, 1) is book
        assert session.get(Book, (1,)) is book
        assert len(planned) == 1


def test_it_is_tracked_as_any_other(url: str, planned: list[str]) -> None:
    with opened(url, commit="on_success") as database:
        with database.scope("write") as session:
            book = session.get(Book, 1)
            book.title = "another"
            assert [*session.dirty] == [book]
            assert orm.attributes.get_history(book, "title").deleted == ["book 1"]
        assert len(planned) == 1
        assert titles(database, 1) == ["another"]


def test_what_was_changed_is_flushed_before(url: str, planned: list[str]) -> None:
    def program(database: Database) -> Any:
        with database.scope("write") as session:
            session.add(Book(id=50, title="new"))
            found = session.get(Book, 1)
            seen = found.title, len(session.new), session.in_transaction(), session.get(Book, 50).title
            session.rollback()
            return seen

    assert both(url, program) == ("book 1", 0, True, "new")
    assert planned


def test_inside_of_a_transaction_it_reads_there(url: str, planned: list[str]) -> None:
    def program(database: Database) -> Any:
        with database.scope("write") as session:
            session.get(Book, 2).title = "mine"
            session.flush()
            session.expunge_all()
            seen = session.get(Book, 2).title, session.holds_connection
            session.rollback()
            return seen, session.get(Book, 2).title

    assert both(url, program) == (("mine", True), "book 2")
    assert len(planned) == 3


@pytest.mark.parametrize("begin", ["on_use", "on_write"])
def test_a_transaction_begins_as_ever(url: str, planned: list[str], begin: Any) -> None:
    def program(database: Database) -> Any:
        with database.scope("read") as session:
            session.get(Book, 1)
            return session.in_transaction(), session.holds_connection, session.phase

    both(url, program, begin=begin)
    assert len(planned) == 1


def test_nothing_is_planned_where_it_is_switched_off(url: str, planned: list[str]) -> None:
    with opened(url, plans=False) as database:
        assert titles(database, 1, 2) == ["book 1", "book 2"]
        assert planned == []


@pytest.mark.parametrize("text, planned_", [("off", False), ("on", True), ("0", False), ("TRUE", True)])
def test_the_switch_in_the_environment(url: str, text: str, planned_: bool) -> None:
    database = Database.from_env(environ={"RESPOOL_URL": url, "RESPOOL_PLANS": text})
    assert database.plans is planned_
    database.close()


def test_what_is_no_switch_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="RESPOOL_PLANS='maybe' is not accepted"):
        Database.from_env(environ={"RESPOOL_URL": url, "RESPOOL_PLANS": "maybe"})
    wrong: Any = "off"
    with pytest.raises(ConfigError, match="plans='off' is not accepted"):
        Database(url, plans=wrong)


@pytest.mark.parametrize(
    "call",
    [
        lambda session: session.get([], 1),
        lambda session: session.get(int, 1),
        lambda session: session.get(Book, (1, 2)),
        lambda session: session.get(Book, None),
        lambda session: session.get(Book, {"id": 1}).title,
        lambda session: session.get(Book, {"nr": 1}),
        lambda session: session.get(Book, [1]).title,
        lambda session: session.get(Book, "1").title,
        lambda session: session.get(Book, True).title,
        lambda session: session.get(Book, NOTHING),
        lambda session: session.get(Book, 1, options=[orm.joinedload(Book.author)]).author.name,
        lambda session: session.get(Book, 1, populate_existing=True).title,
        lambda session: session.get(Book, 1, with_for_update=True).title,
        lambda session: session.get(Book, 1, identity_token="x").title,
        lambda session: session.get(entity=Book, ident=1).title,
        lambda session: session.get_one(Book, 99),
        lambda session: session.get(Book.__mapper__, 1).title,
        lambda session: session.get(ALIAS, 1),
    ],
)
@pytest.mark.filterwarnings("ignore:fully NULL primary key")
def test_whatever_is_asked_for(url: str, call: Any) -> None:
    def program(database: Database) -> Any:
        with database.scope("read") as session:
            return raised(lambda: call(session)), raised(lambda: call(session)), session.get(Book, 1).title

    both(url, program)


# -- who listens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target, name",
    [
        (lambda database: Book, "load"),
        (lambda database: Book, "refresh"),
        (lambda database: Session, "do_orm_execute"),
        (lambda database: respool.Session, "do_orm_execute"),
        (lambda database: Session, "loaded_as_persistent"),
        (lambda database: database.session_type, "do_orm_execute"),
        (lambda database: Session, "after_begin"),
        (lambda database: database.engine, "before_cursor_execute"),
        (lambda database: database.engine, "before_execute"),
        (lambda database: database.engine, "after_execute"),
        (lambda database: database.engine, "do_execute"),
        (lambda database: database.engine, "checkout"),
        (lambda database: database.engine, "checkin"),
        (lambda database: database.engine, "begin"),
    ],
)
def test_a_listener_that_comes_late_is_heard(url: str, target: Any, name: str) -> None:
    def program(database: Database) -> Any:
        for _ in range(100):
            titles(database, 3)
        heard: list[int] = []

        def listener(*args: Any) -> None:
            heard.append(len(args))

        def listens(*args: Any, **_: Any) -> Any:
            return listener(*args)

        where = target(database)
        event.listen(where, name, listens)
        try:
            with database.scope("read") as session:
                book = session.get(Book, 1)
                session.refresh(book)
                session.get(Book, 2)
        finally:
            event.remove(where, name, listens)
        return heard, titles(database, 4)

    heard, _ = both(url, program)
    assert heard


def test_a_listener_to_one_session_is_heard(url: str, planned: list[str]) -> None:
    with opened(url) as database, database.scope("read") as session:
        session.get(Book, 1)
        heard: list[Any] = []
        event.listen(session, "do_orm_execute", heard.append)
        session.get(Book, 2)
        assert len(heard) == 1
        assert len(planned) == 1


def test_who_only_looks_is_told_of_a_planned_read(url: str, planned: list[str]) -> None:
    def program(database: Database) -> Any:
        seen: list[Any] = []

        @only_looks
        def before(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> Any:
            seen.append(
                ("before", statement, parameters, many, context.compiled is not None, context.execution_options)
            )
            return statement + " -- looked", parameters

        @only_looks
        def after(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
            facts = context.statement, context.parameters, context.compiled_parameters, context.invoked_statement
            seen.append(("after", statement, facts[:3], str(facts[3]), cursor.description, conn.in_transaction()))

        event.listen(database.engine, "before_cursor_execute", before, retval=True)
        event.listen(database.engine, "after_cursor_execute", after)
        found = titles(database, 1, 2)
        with database.scope("transaction") as session:
            session.connection()
            return found, session.get(Book, 3).title, seen

    found, third, seen = both(url, program)
    assert (found, third, len(seen)) == (["book 1", "book 2"], "book 3", 6)
    assert len(planned) == 3


def test_what_is_logged_is_the_same(url: str, caplog: pytest.LogCaptureFixture) -> None:
    def program(database: Database) -> Any:
        titles(database, 1)
        caplog.clear()
        titles(database, 2)
        with database.scope("read") as session:
            session.scalars(select(Book).where(Book.id.in_([1, 2]))).all()
            session.scalars(select(Book).where(Book.id.in_([3]))).all()
        said = [record.getMessage() for record in caplog.records if record.name.startswith("sqlalchemy.engine")]
        return [re.sub(r"\[(cached since|generated in) [^]]*\]", "[known]", message) for message in said]

    assert len(both(url, program, engine_options={"echo": True})) == 6


# -- whose session it is ------------------------------------------------------------------------------------------------


class Telling(Session):
    """Wants to be asked."""

    def execute(self, *args: Any, **kw: Any) -> Any:
        self.info["asked"] = self.info.get("asked", 0) + 1
        return super().execute(*args, **kw)


class Routing(Session):
    def get_bind(self, mapper: Any = None, **kw: Any) -> Any:
        self.info["asked"] = self.info.get("asked", 0) + 1
        return super().get_bind(mapper, **kw)


@pytest.mark.parametrize("given", [Telling, Routing])
def test_a_class_that_has_a_way_of_its_own_is_asked(url: str, planned: list[str], given: Any) -> None:
    with opened(url, session_class=given) as database, database.scope("read") as session:
        session.get(Book, 1)
        session.get(Book, 2)
        assert session.info["asked"] == 2
        assert planned == []


def test_so_is_what_somebody_has_put_into_a_session(url: str, planned: list[str]) -> None:
    with opened(url) as database, database.scope("read") as session:
        asked: list[Any] = []
        plain = session.execute
        session.execute = lambda *args, **kw: (asked.append(args), plain(*args, **kw))[1]  # type: ignore[method-assign]
        session.get(Book, 1)
        assert len(asked) == 1
        assert planned == []


def test_several_engines_are_sqlalchemys(url: str, planned: list[str]) -> None:
    other = create_engine(url)
    with opened(url, session_options={"binds": {Book: other}}) as database:
        assert titles(database, 1, 2) == ["book 1", "book 2"]
        assert planned == []
    other.dispose()


def test_refused_after_the_end_of_the_scope(url: str) -> None:
    with opened(url) as database:
        with database.scope("read") as session:
            session.get(Book, 1)
        with pytest.raises(ScopeEnded):
            session.get(Book, 2)


# -- what a mapping becomes ----------------------------------------------------------------------------------------------


def test_a_property_that_comes_later(url: str) -> None:
    def program(database: Database) -> Any:
        class Local(orm.DeclarativeBase):
            pass

        class Late(Local):
            __table__ = Table("books", Local.metadata, Column("id", Integer, primary_key=True), Column("title", String))

        def read() -> Any:
            with database.scope("read") as session:
                found = session.get(Late, 1)
                return sorted(vars(found)), found.title, getattr(found, "shout", None)

        before = read(), read()
        Late.shout = column_property(Late.title + "!")
        return before, read(), read(), read()

    both(url, program)


def test_a_class_that_is_mapped_anew(url: str) -> None:
    class Plain:
        pass

    def mapped(*names: str) -> registry:
        made = registry(metadata=MetaData())
        columns = [Column("id", Integer, primary_key=True), *(Column(name, String) for name in names)]
        made.map_imperatively(Plain, Table("books", made.metadata, *columns))
        return made

    with opened(url) as database:
        for names in (["title"], ["title", "pages"]):
            made = mapped(*names)
            for _ in range(3):
                with database.scope("read") as session:
                    assert sorted(vars(session.get(Plain, 1))) == ["_sa_instance_state", "id", *sorted(names)]
            made.dispose()
        with database.scope("read") as session, pytest.raises(exc.NoInspectionAvailable):
            session.get(Plain, 2)


def test_what_cannot_be_learned_is_read_all_the_same(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise KeyError("a cache that is another than it was")

    monkeypatch.setattr("respool.session.loading.plans.plan.call_of", broken)
    with opened(url) as database:
        assert titles(database, 1, 2) == ["book 1", "book 2"]
        assert "could not be learned: KeyError" in str(plans_of(database.engine).gets[Book])


def test_why_there_is_no_plan_is_kept(url: str) -> None:
    class Local(Base):
        __tablename__ = "locals"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        kind: orm.Mapped[str]
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "local"}

    Local.metadata.create_all(create_engine(url), tables=[Local.__table__])
    with opened(url) as database:
        with database.scope("read") as session:
            assert session.get(Local, 1) is None
        assert str(plans_of(database.engine).gets[Local]) == "Local is part of an inheritance"
    Base.metadata.remove(Local.__table__)


def test_the_table_of_plans_does_not_grow_without_end() -> None:
    from respool.session.loading.plans.kept import Table as Plans
    from respool.session.loading.plans.refusal import NoPlan

    table = Plans()
    for number in range(5000):
        table.note(number, NoPlan("of course"))
    assert len(table) <= 500
    assert 4999 in table


def test_two_rows_of_one_key(url: str, planned: list[str]) -> None:
    class Half(orm.DeclarativeBase):
        pass

    class Twice(Half):
        __table__ = Table("twice", Half.metadata, Column("id", Integer, primary_key=True), Column("name", String))

    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE twice (id INTEGER, name TEXT)")
        connection.exec_driver_sql("INSERT INTO twice VALUES (1, 'a'), (1, 'b'), (NULL, 'c')")
    engine.dispose()

    def program(database: Database) -> Any:
        with database.scope("read") as session:
            session.get(Twice, 5)
            return session.get(Twice, 1).name, select(Twice).where(Twice.id == 1) is not None

    assert both(url, program)[0] == "a"


# -- the lazy load of a many-to-one ---------------------------------------------------------------------------------------


def authors(database: Database, *keys: int) -> list[str | None]:
    with database.scope("read") as session:
        return [author and author.name for author in (session.get_one(Book, key).author for key in keys)]


def test_a_lazy_load_of_one_goes_by_a_plan(url: str, planned: list[str]) -> None:
    with opened(url) as database:
        assert authors(database, 1) == ["author 2"]
        planned.clear()
        assert authors(database, 2) == ["author 1"]
        assert [sql.partition("FROM ")[2].partition(" ")[0].strip() for sql in planned] == ["books", "authors"]


def test_a_lazy_load_is_sqlalchemys_in_all_else(url: str) -> None:
    def program(database: Database) -> Any:
        authors(database, 1)
        seen: list[Any] = []
        with database.scope("read") as session:
            book = session.get_one(Book, 1)
            session.add(Book(id=70, title="pending", author_id=1))
            state = orm.attributes.instance_state(book.author)
            seen.append((state.load_path, state.load_options, session.in_transaction(), len(session.new)))
            session.expunge_all()
            session.rollback()
            stray = session.get_one(Book, 3)
            session.expunge(stray)
            seen.append(raised(lambda: stray.author)[0])
            event.listen(session, "do_orm_execute", lambda state: seen.append(state.lazy_loaded_from is not None))
            seen.append(session.get_one(Book, 2).author.name)
        other = raised(lambda: book.author)[0]
        with Session(database.engine) as plain:
            seen.append(plain.get_one(Book, 1).author.name)
        return [repr(each) for each in seen], other

    both(url, program)
