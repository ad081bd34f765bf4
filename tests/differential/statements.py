"""The catalogue of statements that programs execute, by name: what people write, and what only looks like a read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Integer,
    Sequence,
    String,
    case,
    cast,
    column,
    delete,
    exists,
    func,
    insert,
    literal,
    literal_column,
    select,
    table,
    text,
    tuple_,
    union_all,
    update,
    values,
)
from sqlalchemy.orm import aliased, joinedload, selectinload, subqueryload

from tests.differential.schema import Audit, Part, Widget

__all__ = ["CATALOGUE", "Statement", "names"]

SQLITE, POSTGRESQL, MARIADB = "sqlite", "postgresql", "mariadb"
EVERYWHERE = frozenset({SQLITE, POSTGRESQL, MARIADB})
POSTGRESQL_ONLY = frozenset({POSTGRESQL})
SERVERS = frozenset({POSTGRESQL, MARIADB})


@dataclass(frozen=True)
class Statement:
    """How it is built, on which databases, and of which kind: ``"orm"``, ``"core"``, ``"text"``, ``"fails"``."""

    build: Callable[[], Any]
    kind: str
    databases: frozenset[str] = EVERYWHERE
    moment: bool = False  #: it asks when it was executed


CATALOGUE: dict[str, Statement] = {}


def names(database: str) -> list[str]:
    """The statements for a database."""
    return [name for name, statement in CATALOGUE.items() if database in statement.databases]


def _orm(name: str, build: Callable[[], Any], databases: frozenset[str] = EVERYWHERE) -> None:
    CATALOGUE[name] = Statement(build, "orm", databases)


def _core(name: str, build: Callable[[], Any], databases: frozenset[str] = EVERYWHERE, moment: bool = False) -> None:
    CATALOGUE[name] = Statement(build, "core", databases, moment)


def _text(name: str, sql: str, databases: frozenset[str] = EVERYWHERE) -> None:
    CATALOGUE[name] = Statement(lambda: text(sql), "text", databases)


def _fails(name: str, build: Callable[[], Any], databases: frozenset[str] = EVERYWHERE) -> None:
    CATALOGUE[name] = Statement(build, "fails", databases)


_visible: Any = table("visible", column("id"), column("name"))
_widgets: Any = Widget.__table__
_parts: Any = Part.__table__
_gauges = table("gauges", column("id"), column("level"))
_audit: Any = Audit.__table__

# -- reads of objects

_orm("widgets", lambda: select(Widget).order_by(Widget.id))
_orm("one widget", lambda: select(Widget).where(Widget.id == 1))
_orm("widgets by size", lambda: select(Widget).where(Widget.size > 15, Widget.name.like("t%")).order_by(Widget.size))
_orm("with parts, joined", lambda: select(Widget).options(joinedload(Widget.parts)).order_by(Widget.id))
_orm("with parts, selectin", lambda: select(Widget).options(selectinload(Widget.parts)).order_by(Widget.id))
_orm("with parts, subquery", lambda: select(Widget).options(subqueryload(Widget.parts)).order_by(Widget.id))
_orm("parts", lambda: select(Part).order_by(Part.id))
_orm("pairs", lambda: select(Widget, Part).join(Part.widget).order_by(Part.id))
_orm("alias", lambda: select(aliased(Widget, name="other")).where(text("other.id = 2")))
_orm("from text", lambda: select(Widget).from_statement(text("SELECT * FROM widgets WHERE tenant = 2 ORDER BY id")))
_orm("from visible", lambda: select(Widget).where(Widget.id.in_(select(_visible.c.id))).order_by(Widget.id))
_orm("locked", lambda: select(Widget).where(Widget.id == 1).with_for_update(), SERVERS)
_orm("shared", lambda: select(Widget).where(Widget.id == 2).with_for_update(read=True), SERVERS)
_orm("skip locked", lambda: select(Part).with_for_update(skip_locked=True).order_by(Part.id), SERVERS)

# -- reads of columns

_core("columns", lambda: select(Widget.id, Widget.name, Widget.size).order_by(Widget.id))
_core("table", lambda: select(_widgets).order_by(_widgets.c.id))
_core("visible", lambda: select(_visible).order_by(_visible.c.id))
_core("count", lambda: select(func.count()).select_from(Widget))
_core("aggregates", lambda: select(func.sum(Widget.size), func.max(Widget.name), func.coalesce(func.min(Part.id), 0)))
_core(
    "case",
    lambda: select(case((Widget.size > 20, "big"), else_="small"), cast(Widget.size, String(9)) + "!").order_by(
        Widget.id
    ),
)
_core("lower", lambda: select(func.lower(Widget.name), func.length(Widget.name)).order_by(Widget.id))
_core("exists", lambda: select(exists().where(Part.widget_id == 1)))
_core("scalar subquery", lambda: select(select(func.count(Part.id)).scalar_subquery(), Widget.id).order_by(Widget.id))
_core("union", lambda: union_all(select(Widget.id), select(Part.id)).order_by("id"))
_core("window", lambda: select(Widget.id, func.row_number().over(order_by=Widget.size)).order_by(Widget.id))
_core("tuples", lambda: select(Part.id).where(tuple_(Part.id, Part.widget_id).in_([(1, 1), (3, 2)])).order_by(Part.id))
_core("gauges", lambda: select(_gauges))
_core("gauges, star", lambda: select(text("*")).select_from(_gauges))
_core("audit", lambda: select(_audit.c.id, _audit.c.note).order_by(_audit.c.id))
_core("literal", lambda: select(literal(1), literal_column("2"), literal("it's")))
_core("values", lambda: select(values(column("n", Integer), name="v").data([(1,), (2,)])), POSTGRESQL_ONLY)


@lambda build: _core("cte", build)
def _cte() -> Any:
    big = select(Widget.id).where(Widget.size > 10).cte("big")
    return select(Part.id, big.c.id).join_from(Part, big, Part.widget_id == big.c.id).order_by(Part.id)


@lambda build: _core("recursive", build)
def _recursive() -> Any:
    return select(_numbers(5).c.n)


@lambda build: _core("many rows", build)
def _many() -> Any:
    return select(_numbers(700).c.n, literal("x" * 20))


def _numbers(limit: int) -> Any:
    numbers = select(literal(1, Integer).label("n")).cte("numbers", recursive=True)
    return numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < limit))


# -- what only looks like a read

_core("note", lambda: select(func.note("called")), SERVERS)
_core("note, second", lambda: select(literal(1).label("one"), func.note("second")), SERVERS)
_core("note, label", lambda: select(Widget.id, func.note("row").label("n")).order_by(Widget.id), SERVERS)
_core("note, where", lambda: select(Widget.id).where(func.note("where") == 1).order_by(Widget.id), SERVERS)
_core("note, order", lambda: select(Widget.id).order_by(func.note("order"), Widget.id), SERVERS)
_core("note, in a subquery", lambda: select(select(func.note("sub")).scalar_subquery()), SERVERS)
_core("note, literal column", lambda: select(literal_column("note('literal')")), SERVERS)
_core("note, columns", lambda: select(column("note('x')", is_literal=True)), SERVERS)
_core("log", lambda: select(func.log("x")), POSTGRESQL_ONLY)
_core("log of a number", lambda: select(func.log(100)), POSTGRESQL_ONLY)
_core("from log", lambda: select(text("1")).select_from(func.log("x").alias("l")), POSTGRESQL_ONLY)
_core("count up", lambda: select(Widget.id, func.count_up()).where(Widget.id == 1), POSTGRESQL_ONLY)
_core("from count up", lambda: select(literal(1)).select_from(_widgets, func.count_up().alias("x")), POSTGRESQL_ONLY)
_core("public.count_up", lambda: select(func.public.count_up()), POSTGRESQL_ONLY)
_core("lateral", lambda: select(Widget.id, func.note(Widget.name).table_valued("x").lateral().c.x), POSTGRESQL_ONLY)
_core("operator", lambda: select(Widget.id).where(Widget.size.op("<=@")(3)).order_by(Widget.id), POSTGRESQL_ONLY)
_core(
    "attribute",
    lambda: select(literal_column("widgets.seen")).select_from(Widget).where(Widget.id == 1),
    POSTGRESQL_ONLY,
)
_core("doubled", lambda: select(func.doubled(Widget.size)).order_by(Widget.id), POSTGRESQL_ONLY)
_core("how many", lambda: select(func.how_many()), POSTGRESQL_ONLY)
_core("next value", lambda: select(Sequence("tickets").next_value()), POSTGRESQL_ONLY)
_core("nextval", lambda: select(func.nextval("tickets")), POSTGRESQL_ONLY)
_core("currval", lambda: select(func.currval("tickets")), POSTGRESQL_ONLY)
_core("lastval", lambda: select(func.lastval()), POSTGRESQL_ONLY)
_core("setval", lambda: select(func.setval("tickets", 7)), POSTGRESQL_ONLY)
_core("advisory lock", lambda: select(func.pg_advisory_lock(7)), POSTGRESQL_ONLY)
_core("advisory lock, transaction", lambda: select(func.pg_advisory_xact_lock(8)), POSTGRESQL_ONLY)
_core("try advisory lock", lambda: select(func.pg_try_advisory_lock(9)), POSTGRESQL_ONLY)
_core("unlock", lambda: select(func.pg_advisory_unlock_all()), POSTGRESQL_ONLY)
_core("set_config", lambda: select(func.set_config("app.tenant", "2", False)), POSTGRESQL_ONLY)
_core("set_config, local", lambda: select(func.set_config("app.tenant", "2", True)), POSTGRESQL_ONLY)
_core("setting", lambda: select(func.current_setting("app.tenant", True)), POSTGRESQL_ONLY)
_core("isolation", lambda: select(func.current_setting("transaction_isolation")), POSTGRESQL_ONLY)
_core("read only", lambda: select(func.current_setting("transaction_read_only")), POSTGRESQL_ONLY)
_core("user", lambda: select(func.current_user()), POSTGRESQL_ONLY)
_core("notify", lambda: select(func.pg_notify("channel", "x")), POSTGRESQL_ONLY)
_core("now", lambda: select(func.now() == func.statement_timestamp()), POSTGRESQL_ONLY, moment=True)
_core("last_insert_id", lambda: select(func.last_insert_id()), frozenset({MARIADB}))
_core("found_rows", lambda: select(func.found_rows()), frozenset({MARIADB}))
_core("get_lock", lambda: select(func.get_lock("x", 0)), frozenset({MARIADB}))
_core("release_all_locks", lambda: select(func.release_all_locks()), frozenset({MARIADB}))
_core("last_insert_rowid", lambda: select(func.last_insert_rowid()), frozenset({SQLITE}))
_core("changes", lambda: select(func.changes(), func.total_changes()), frozenset({SQLITE}))


@lambda build: _core("insert in a cte", build, POSTGRESQL_ONLY)
def _insert_in_a_cte() -> Any:
    inserted = insert(_audit).values(note="cte").returning(_audit.c.note).cte("inserted")
    return select(inserted.c.note)


@lambda build: _core("update in a cte", build, POSTGRESQL_ONLY)
def _update_in_a_cte() -> Any:
    grown = update(_widgets).where(_widgets.c.id == 2).values(size=99).returning(_widgets.c.id).cte("grown")
    return select(_parts.c.id).where(_parts.c.widget_id.in_(select(grown.c.id)))


@lambda build: _core("function in a cte", build, POSTGRESQL_ONLY)
def _function_in_a_cte() -> Any:
    called = select(func.note("in a cte").label("n")).cte("called")
    return select(called.c.n)


# -- writes

_core("insert", lambda: insert(_audit).values(note="inserted"))
_core("insert returning", lambda: insert(_audit).values(note="returned").returning(_audit.c.note))
_core("insert many", lambda: insert(_audit).values([{"note": "first"}, {"note": "second"}]))
_core(
    "insert from select", lambda: insert(_audit).from_select(["note"], select(_widgets.c.name).order_by(_widgets.c.id))
)
_core("update", lambda: update(_widgets).where(_widgets.c.id == 1).values(size=_widgets.c.size + 1))
_core("delete", lambda: delete(_parts).where(_parts.c.id == 3))
_orm("insert widget", lambda: insert(Widget).values(name="made", size=1, tenant=1).returning(Widget))
_orm("update widgets", lambda: update(Widget).where(Widget.size < 25).values(size=Widget.size * 2))
_orm("update, fetch", lambda: update(Widget).where(Widget.id == 1).values(tenant=2).execution_options(**_FETCH))
_orm("delete parts", lambda: delete(Part).where(Part.widget_id == 1))
_FETCH: dict[str, Any] = {"synchronize_session": "fetch"}

# -- text

_text("text: select", "SELECT id, name FROM widgets ORDER BY id")
_text("text: one", "SELECT 1")
_text("text: insert", "INSERT INTO audit (note) VALUES ('text')")
_text("text: update", "UPDATE widgets SET size = 77 WHERE id = 1")
_text("text: with", "WITH x AS (SELECT 1 AS n) SELECT n FROM x")
_text("text: savepoint", "SAVEPOINT mine")
_text("text: visible", "SELECT name FROM visible ORDER BY id")
_text("text: locked", "SELECT id FROM widgets WHERE id = 1 FOR UPDATE", SERVERS)
_text("text: note", "SELECT 1, note('text')", SERVERS)
_text("text: note, quoted", "SELECT 'it''s', note('quoted')", SERVERS)
_text("text: note, comment", "SELECT /* ' */ note('comment') -- '\n", SERVERS)
_text("text: temp", "CREATE TEMPORARY TABLE scratch (n integer)")
_text("text: temp, insert", "INSERT INTO scratch VALUES (1)")
_text("text: temp, select", "SELECT n FROM scratch")
_text("text: create", "CREATE TABLE made (n integer)", frozenset({POSTGRESQL}))
_text("text: table", "TABLE gauges", POSTGRESQL_ONLY)
_text("text: values", "VALUES (1), (2)", POSTGRESQL_ONLY)
_text("text: explain", "EXPLAIN (COSTS OFF) SELECT 1", POSTGRESQL_ONLY)
_text(
    "text: explain analyze",
    "EXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF, TIMING OFF, SUMMARY OFF) DELETE FROM parts",
    POSTGRESQL_ONLY,
)
_text("text: set", "SET app.tenant = '2'", POSTGRESQL_ONLY)
_text("text: set local", "SET LOCAL app.tenant = '2'", POSTGRESQL_ONLY)
_text("text: set role", "SET LOCAL ROLE differential_reader", POSTGRESQL_ONLY)
_text("text: reset", "RESET app.tenant", POSTGRESQL_ONLY)
_text("text: show", "SHOW transaction_isolation", POSTGRESQL_ONLY)
_text("text: repeatable read", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", POSTGRESQL_ONLY)
_text("text: read only", "SET TRANSACTION READ ONLY", POSTGRESQL_ONLY)
_text("text: characteristics", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", POSTGRESQL_ONLY)
_text("text: select into", "SELECT 1 AS n INTO made", POSTGRESQL_ONLY)
_text("text: dollars", "SELECT $tag$ ' $tag$, note('dollars')", POSTGRESQL_ONLY)
_text("text: array", "SELECT ARRAY[1, 2], note('array')", POSTGRESQL_ONLY)
_text("text: escape", r"SELECT E'\'', note('escape') --'", POSTGRESQL_ONLY)
_text("text: spaces", "SELECT public . count_up ( )", POSTGRESQL_ONLY)
_text("text: do", "DO $$ BEGIN PERFORM note('do'); END $$", POSTGRESQL_ONLY)
_text("text: lock table", "LOCK TABLE widgets IN SHARE MODE", POSTGRESQL_ONLY)
_text("text: prepare", "PREPARE mine AS SELECT 1", POSTGRESQL_ONLY)
_text("text: listen", "LISTEN channel", POSTGRESQL_ONLY)
_text("text: cursor", "DECLARE mine CURSOR FOR SELECT id FROM widgets ORDER BY id", POSTGRESQL_ONLY)
_text("text: fetch", "FETCH 2 FROM mine", POSTGRESQL_ONLY)
_text("text: @tenant", "SET @tenant = 2", frozenset({MARIADB}))
_text("text: into @", "SELECT 2 INTO @tenant", frozenset({MARIADB}))
_text("text: backslash", r"SELECT '\'', note('escape') -- '", frozenset({MARIADB}))
_text("text: pragma", "PRAGMA user_version", frozenset({SQLITE}))
_text("text: pragma, set", "PRAGMA user_version = 3", frozenset({SQLITE}))
_text("text: replace", "REPLACE INTO gauges (id, level) VALUES (1, 6)", frozenset({SQLITE, MARIADB}))
_text("text: begin", "BEGIN IMMEDIATE", frozenset({SQLITE}))

# -- what fails

_fails("unknown column", lambda: select(literal_column("nonsense")).select_from(Widget))
_fails("unknown table", lambda: select(column("x")).select_from(table("nowhere")))
_fails("unknown table, text", lambda: text("SELECT * FROM nowhere"))
_fails("no function", lambda: select(func.nonsense(1)))
_fails(
    "division by zero", lambda: select(literal(1, Integer) / cast(Widget.size - Widget.size, Integer)), POSTGRESQL_ONLY
)
_fails("division in a later row", lambda: select(100 // (Widget.size - 30)).order_by(Widget.id), POSTGRESQL_ONLY)
_fails("out of range", lambda: select(Widget).where(Widget.id == 2**40))
_fails("out of all range", lambda: select(Widget).where(Widget.id == 2**70))
_fails("wrong type", lambda: select(Widget).where(Widget.size == "ten"))
_fails("bad cast", lambda: select(cast(Widget.name, BigInteger)).order_by(Widget.id), POSTGRESQL_ONLY)
_fails("duplicate", lambda: insert(_widgets).values(id=1, name="one", size=0, tenant=1))
_fails("no such widget", lambda: insert(_parts).values(id=50, widget_id=77, name="lost", version=1))
_fails("nothing is there", lambda: select(_parts.c.id, text("nonsense.x")).where(_parts.c.id < 0))
