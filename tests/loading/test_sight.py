"""What is told of planned reads: each statement with why it has no plan, and what stands in the way of all; as it really is."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import __version__ as version
from sqlalchemy import bindparam, create_engine, event, func, literal_column, select
from sqlalchemy.orm import defer, joinedload, selectinload, subqueryload, with_loader_criteria

from respool import AsyncDatabase, Database, PoolConfig
from respool.engine import only_looks
from respool.observe import planning
from respool.session.loading import eligibility as eligible
from respool.session.loading import running
from respool.session.loading.plans import kept
from respool.session.loading.plans.kept import plans_of
from respool.session.session import Session, eligibility
from tests.loading.shelf import Author, Book, fill, opened
from tests.loading.test_gets import Routing, Telling


@pytest.fixture
def url(sqlite_file: str) -> str:
    return fill(f"sqlite:///{sqlite_file}")


def seen(database: Any) -> Any:
    """What is told of a database; plain values only."""
    found = planning.planning(database)
    assert json.loads(json.dumps(found)) == found
    return found


def statements(database: Any, text: str = "") -> list[tuple[Any, ...]]:
    return [
        (row["kind"], row["planned"], row["why"], row["advice"])
        for row in seen(database)["statements"]
        if text in row["text"]
    ]


# -- statements -------------------------------------------------------------------------------------------------------

PLANNED: list[tuple[str, Any]] = [
    ("select", select(Book).where(Book.pages == 7)),
    ("select", select(Book).where(Book.pages.in_([7, 8]))),
    ("part of a load", select(Author).where(Author.id == 1).options(selectinload(Author.books))),
]


@pytest.mark.parametrize("kind, statement", PLANNED)
def test_what_is_planned(url: str, kind: str, statement: Any) -> None:
    with opened(url) as database:
        with database.scope("read") as session:
            session.scalars(statement).all()
        found = statements(database)
        if kind == "part of a load" and version < "2.1":
            why, advice = (
                "it does not select keys and a mapped class",
                "install SQLAlchemy 2.1, whose loaders select a key as a column",
            )
            assert found.pop(0) == (kind, False, why, advice)
        else:
            assert (kind, True, None, None) in found
        assert all(planned for _, planned, *_ in found)


def test_a_get_and_a_lazy_load(url: str) -> None:
    with opened(url) as database:
        with database.scope("read") as session:
            assert session.get(Book, 1).author.id == 2
        found = seen(database)
        assert [row["kind"] for row in found["statements"]] == ["get", "get", "lazy load"]
        assert (found["on"], found["advice"], found["known"], found["planned"]) == (True, None, 3, 3)
        assert found["statements"][0]["text"].endswith("WHERE books.id = ?")


REFUSED: list[tuple[Any, str, str]] = [
    (select(Book).options(joinedload(Book.author)), "something is joined to it", "selectinload()"),
    (select(Book.id), "it does not select one mapped class", "select(Item)"),
    (select(func.count()).select_from(Book), "it does not select one mapped class", "select(Item)"),
    (select(Book).with_for_update(), "it locks what it reads", "SQLAlchemy's way, which is right"),
    (select(Book).options(with_loader_criteria(Book, Book.pages > 1)), "criteria", "where()"),
    (select(Book).options(defer(Book.title, raiseload=True)), "Book.title is loaded or deferred", "in the mapping"),
]


@pytest.mark.parametrize("statement, why, advice", REFUSED, ids=[why for _, why, _ in REFUSED])
def test_what_is_not_planned_and_what_would_make_it_so(url: str, statement: Any, why: str, advice: str) -> None:
    with opened(url) as database:
        with database.scope("read") as session:
            session.execute(statement).all()
        kind, planned, told, do = statements(database)[0]  # those without a plan come first
        assert (kind, planned) == ("select", False)
        assert why in told
        assert advice in do
        assert seen(database)["planned"] == seen(database)["known"] - 1


MENDED: list[tuple[str, Any, Any]] = [
    (
        "selectinload()",
        select(Author).options(joinedload(Author.books)),
        select(Author).options(selectinload(Author.books)),
    ),
    (
        "selectinload()",
        select(Author).options(subqueryload(Author.books)),
        select(Author).options(selectinload(Author.books)),
    ),
    ("select(Item)", select(Book.id, Book.title), select(Book)),
    (
        "where()",
        select(Book).options(with_loader_criteria(Book, Book.pages > 1)),
        select(Book).where(Book.pages > 1),
    ),
    ("option for title out", select(Book).options(defer(Book.title)), select(Book)),
]


@pytest.mark.parametrize("advice, refused, mended", MENDED)
def test_what_is_advised_makes_a_plan(url: str, planned: list[str], advice: str, refused: Any, mended: Any) -> None:
    with opened(url) as database:
        for statement in (refused, mended):
            for _ in range(2):
                with database.scope("read") as session:
                    session.execute(statement).unique().all()
        wrong = [do for kind, planned, _, do in statements(database) if kind == "select" and not planned]
        assert len(wrong) == 1
        assert advice in wrong[0]
        assert [sql for sql in planned if "IN" not in sql] == [str(mended.compile(database.engine))]


def test_what_is_the_same_is_told_of_once(url: str) -> None:
    with opened(url) as database:
        for times in range(3):
            with database.scope("read") as session:
                for what in (Book, Book.id):
                    statement = select(what).where(Book.pages == bindparam("pages", times))
                    session.execute(statement).all()
                    session.execute(statement, {"pages": 7}).all()  # which is another key
        assert len(plans_of(database.engine).selects) == 4
        assert len(statements(database, "books.pages = ?")) == 2


def test_a_text_is_kept_without_its_values_and_not_all_of_a_long_one(url: str) -> None:
    with opened(url) as database:
        with database.scope("read") as session:
            session.execute(select(Book.id).where(Book.title == "s3cret", Book.pages.in_([123454321]))).all()
            session.execute(select(Book.id, literal_column(f"'{'x' * 5000}'"))).all()
        texts = [row["text"] for row in seen(database)["statements"]]
        assert "WHERE books.title = ? AND books.pages IN (…)" in texts[0].replace("\n", "")
        assert not any("s3cret" in text or "123454321" in text for text in texts)
        assert max(map(len, texts)) == 601


def test_what_an_error_says_is_not_kept(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise KeyError("s3cret")

    monkeypatch.setattr("respool.session.loading.plans.plan.call_of", broken)
    with opened(url) as database:
        _, planned, why, advice = statements(database, "books.id = ?")[0]
    assert (planned, why) == (False, "it could not be learned: KeyError")
    assert advice.startswith("report it")


def test_nothing_is_kept_of_where_it_was_executed(url: str) -> None:
    class Held:
        pass

    with opened(url) as database:

        def work() -> weakref.ref[Held]:
            held = Held()
            with database.scope("read") as session:
                try:
                    raise KeyError(held)
                except KeyError:
                    session.execute(select(Book.id)).all()
            return weakref.ref(held)

        held = work()
        gc.collect()
        assert held() is None
        assert statements(database)[0][1] is False


def test_a_listener_to_loads_is_named_while_it_is_there(url: str, planned: list[str]) -> None:
    def heard(*args: Any) -> None: ...

    with opened(url) as database:
        event.listen(Book, "load", heard)
        try:
            assert statements(database, "FROM books") == [
                ("get", False, "somebody listens to load or refresh of Book", "do it without that listener, or @reconstructor")
            ]  # fmt: skip
            with database.scope("read") as session:
                session.get(Book, 1)
            assert planned == []
        finally:
            event.remove(Book, "load", heard)
        assert statements(database, "FROM books") == [("get", True, None, None)]


async def test_an_async_database_too(url: str) -> None:
    database = AsyncDatabase(url.replace("sqlite:", "sqlite+aiosqlite:"), plans=True)
    async with database.scope("read") as session:
        await session.get(Book, 1)
        await session.execute(select(Book.id))
    assert [planned for _, planned, *_ in statements(database)] == [False, True]
    assert seen(database)["obstacles"] == []
    await database.close()


def test_where_plans_are_off_it_is_told_how_they_are_switched_on(url: str) -> None:
    with opened(url, plans=False) as database:
        found = seen(database)
    assert (found["on"], found["statements"], found["obstacles"]) == (False, [], [])
    assert "plans=False" in found["advice"]


# -- what stands in the way of all --------------------------------------------------------------------------------------


def nothing(*args: Any, **kw: Any) -> None: ...


HERE = f"tests/loading/test_sight.py:{nothing.__code__.co_firstlineno}"


def on_engine(name: str, listener: Callable[..., Any] = nothing) -> Callable[[Database], None]:
    return lambda database: event.listen(database.engine, name, listener)


def on_sessions(name: str) -> Callable[[Database], None]:
    return lambda database: event.listen(database.session_type, name, nothing)


def gone(database: Database) -> None:
    event.listen(database.engine, "before_cursor_execute", nothing)
    event.remove(database.engine, "before_cursor_execute", nothing)


class Finding(Session):
    def _identity_lookup(self, *args: Any, **kw: Any) -> Any:
        return super()._identity_lookup(*args, **kw)


#: The keywords of the database, what is done to it, whether no read is planned then, and what is told.
CASES: dict[str, tuple[dict[str, Any], Callable[[Database], None], bool, str]] = {
    "execute": ({"session_class": Telling}, nothing, True, "Telling has a method execute() of its own"),
    "get_bind": ({"session_class": Routing}, nothing, True, "Routing has a method get_bind() of its own"),
    "lookup": ({"session_class": Finding}, nothing, True, "Finding has a method _identity_lookup() of its own"),
    "binds": ({"session_options": {"binds": {}}}, nothing, True, "made with binds"),
    "do_orm_execute": ({}, on_sessions("do_orm_execute"), True, "listens to do_orm_execute of Session"),
    "loaded": ({}, on_sessions("loaded_as_persistent"), True, "listens to loaded_as_persistent of Session"),
    "before_execute": ({}, on_engine("before_execute"), True, f"nothing() at {HERE} listens to before_execute"),
    "looks": ({}, on_engine("after_execute", only_looks(lambda *_: None)), True, "listens to after_execute"),
    "cursor": ({}, on_engine("before_cursor_execute"), False, "listens to before_cursor_execute"),
    "begin": ({}, on_engine("begin"), False, "listens to begin"),
    "checkout": ({}, lambda db: event.listen(db.pool, "checkout", nothing), False, "listens to checkout"),
    "gone": ({}, gone, False, "somebody has listened to the engine"),
    "after_begin": ({}, on_sessions("after_begin"), False, "listens to after_begin of Session"),
    "on_use": ({"begin": "on_use"}, nothing, False, 'begin="on_use"'),
    "echo": ({"engine_options": {"echo": True}}, nothing, False, "SQLAlchemy logs what is done: echo"),
}


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The reads that were executed on a connection that was lent."""
    went: list[Any] = []
    plain = running._lent

    def lending(*args: Any) -> Any:
        went.append(args)
        return plain(*args)

    monkeypatch.setattr(running, "_lent", lending)
    return went


@pytest.mark.parametrize("case", CASES)
def test_what_stands_in_the_way_of_all_is_told_and_is_so(
    url: str, planned: list[str], lent: list[Any], case: str
) -> None:
    keywords, do, stops, told = CASES[case]
    plain = {"session_class": type("Session", (Session,), {}), **keywords}  # others must not hear what this one hears
    other = create_engine(url)
    if case == "binds":
        plain["session_options"]["binds"][Book] = other
    with opened(url, **plain) as database:
        do(database)
        with database.scope("read") as session:
            session.get(Book, 2)
        (obstacle,) = seen(database)["obstacles"]
        assert told in obstacle["what"]
        assert obstacle["advice"]
        assert obstacle["stops"] is stops
        assert bool(planned) is not stops
        assert lent == []
        if stops:
            assert {(row["planned"], row["why"]) for row in seen(database)["statements"]} <= {(False, obstacle["what"])}
    other.dispose()


def test_where_nothing_does_nothing_is_told(url: str, planned: list[str], lent: list[Any]) -> None:
    with opened(url) as database:
        with database.scope("read") as session:
            session.get(Book, 2)
        assert seen(database)["obstacles"] == []
        assert len(planned) == len(lent) == 1


def test_a_pool_of_sqlalchemys_own(url: str, planned: list[str], lent: list[Any]) -> None:
    engine = create_engine(url)
    database = Database(engine, plans=True)
    for key in (1, 2):
        with database.scope("read") as session:
            session.get(Book, key)
    (obstacle,) = seen(database)["obstacles"]
    assert (obstacle["what"], obstacle["stops"]) == ("its pool, a QueuePool, lends no connection for one read", False)
    assert (len(planned), lent) == (1, [])
    database.close()
    engine.dispose()


def test_the_worst_comes_first(url: str) -> None:
    with opened(url, begin="on_use") as database:
        event.listen(database.engine, "before_execute", nothing)
        assert [each["stops"] for each in seen(database)["obstacles"]] == [True, False]


def test_looking_lays_no_plans_into_an_engine(url: str) -> None:
    database = Database(url, plans=True, pool=PoolConfig(min_size=0))
    assert seen(database)["known"] == 0
    assert kept.PLANS not in vars(database.engine)
    assert database.pool.stats().connects == 0
    database.close()


@pytest.mark.parametrize("name", ["execute", "get_bind", "_execute_internal", "_connection_for_bind", "_get_impl", "_identity_lookup"])  # fmt: skip
def test_the_rule_that_is_told_is_the_rule_that_is_followed(url: str, name: str) -> None:
    cls = type("Mine", (Session,), {name: lambda self, *args, **kw: getattr(Session, name)(self, *args, **kw)})
    assert eligibility.ways_of_its_own(cls) == [name]
    assert eligibility.ways_of_its_own(Session) == []
    engine = create_engine(url)
    for kind, ours in ((cls, False), (Session, True)):
        with kind(engine) as session:
            rule = eligible.Eligibility.plans(eligibility, session, session._respool_life)
            assert (rule is not None) is ours
    engine.dispose()
