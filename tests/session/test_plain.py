"""What is proved to be a plain read, and what is not: the proof errs on one side only."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.dialects import mysql, oracle, sqlite
from sqlalchemy.dialects.postgresql import asyncpg, psycopg
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    column_property,
    joinedload,
    mapped_column,
    relationship,
    with_loader_criteria,
)
from sqlalchemy.sql.functions import FunctionElement, GenericFunction
from sqlalchemy.types import TypeDecorator, UserDefinedType

from respool.engine.catalogue import Catalogue
from respool.session.reads.plain import is_plain_read
from tests.support.postgres import PostgresServer

POSTGRES = [psycopg.dialect(), asyncpg.dialect()]
SQLITE, MYSQL = sqlite.dialect(), mysql.dialect()


class Base(DeclarativeBase):
    pass


class Child(Base):
    __tablename__ = "child"

    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int] = mapped_column(sa.ForeignKey("parent.id"))


class Parent(Base):
    __tablename__ = "parent"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(30))
    data: Mapped[Any] = mapped_column(sa.JSON)
    update: Mapped[int]  # a name, and no statement
    children: Mapped[list[Child]] = relationship()


#: Everything in it changes something, or would give another answer on another connection.
HAZARDS = """
CREATE TABLE parent (id int PRIMARY KEY, name varchar(30), data json, "update" int);
CREATE TABLE child (id int PRIMARY KEY, parent_id int);
CREATE TABLE charges (amount int);
CREATE SEQUENCE numbers;
CREATE FUNCTION charge() RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO charges VALUES (1) RETURNING amount';
CREATE FUNCTION charge(int) RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO charges VALUES ($1) RETURNING amount';
CREATE FUNCTION log(text) RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO charges VALUES (2) RETURNING amount';
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
CREATE SCHEMA ours;
CREATE FUNCTION ours.twice(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT charge()';
CREATE FUNCTION ours.thrice(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT 3 * $1';
CREATE FUNCTION "Quoted"(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT charge()';
CREATE FUNCTION "between"(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT charge()';
CREATE FUNCTION rowf(parent) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT charge()';
CREATE FUNCTION adds(int, int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT charge()';
CREATE AGGREGATE total(int) (sfunc = adds, stype = int, initcond = '0');
CREATE FUNCTION compares(int, int) RETURNS bool LANGUAGE sql VOLATILE AS 'SELECT charge() > 0';
CREATE OPERATOR <=@ (leftarg = int, rightarg = int, function = compares);
CREATE FUNCTION harmless(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 > $2';
CREATE OPERATOR <=# (leftarg = int, rightarg = int, function = harmless);
CREATE OPERATOR <=% (leftarg = int, rightarg = int, function = compares);
CREATE DOMAIN checked AS int CHECK (charge() >= VALUE);
CREATE DOMAIN email AS text CHECK (VALUE ~ '@' AND length(VALUE) < 90);
CREATE TYPE pair AS (a checked, b int);
CREATE TYPE money2 AS (amount int);
CREATE FUNCTION to_money2(int) RETURNS money2 LANGUAGE sql VOLATILE AS 'SELECT ROW(charge())::money2';
CREATE CAST (int AS money2) WITH FUNCTION to_money2(int);
CREATE VIEW plain_view AS SELECT parent.id, count(*) FILTER (WHERE name LIKE 'a%') OVER (PARTITION BY parent.id) AS many,
    extract(year FROM now()) AS y, substring(name FROM 1 FOR 2) AS s, "left"(name, 1) AS l, x, CAST(parent.id AS numeric(9, 2)) AS n
    FROM parent, unnest(ARRAY[1, 2]) WITH ORDINALITY AS u(x, n), generate_series(1, 2) AS g(y), LATERAL (VALUES (1)) AS w(z);
CREATE VIEW charging AS SELECT charge() AS amount;
CREATE VIEW over_charging AS WITH a(b) AS (SELECT 1) SELECT amount, b FROM charging, a;
CREATE VIEW locking AS SELECT id FROM child FOR UPDATE;
CREATE VIEW counting AS SELECT nextval('numbers') AS number;
CREATE TABLE guarded (id int);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY who ON guarded USING (charge() > 0);
CREATE TABLE tenants (id int);
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
CREATE POLICY whose ON tenants USING (id = CAST(current_setting('app.tenant', true) AS int));
"""


@pytest.fixture(scope="module")
def pg_ask(postgres: PostgresServer) -> Iterator[Callable[[str], Sequence[Any]]]:
    """Asks a database that is full of hazards."""
    postgres.start()
    postgres.create_database("plain_reads")
    engine = sa.create_engine(postgres.url(database="plain_reads"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(HAZARDS, execution_options={"no_parameters": True})
        yield lambda sql: connection.exec_driver_sql(sql, execution_options={"no_parameters": True}).fetchall()
    engine.dispose()
    postgres.drop_database("plain_reads")


@pytest.fixture(scope="module")
def sqlite_ask() -> Iterator[Callable[[str], Sequence[Any]]]:
    """Asks a database with functions of the user's."""
    connection = sqlite3.connect(":memory:")
    for name in ("charge", "log", "like", "->>", "regexp"):
        connection.create_function(name, -1, lambda *args: 1)
    connection.executescript(
        """
        CREATE TABLE parent (id);
        CREATE VIEW plain_view AS /* of */ SELECT upper(id) AS id -- it
            FROM parent;
        CREATE VIEW charging (amount) AS SELECT charge();
        CREATE VIEW [over charging] AS SELECT * FROM charging;
        CREATE TEMP VIEW tempting AS SELECT random() AS r;
        ATTACH ':memory:' AS other;
        CREATE VIEW other.attached AS SELECT last_insert_rowid() AS id;
        """
    )
    yield lambda sql: connection.execute(sql).fetchall()
    connection.close()


MYSQL_VIEWS = {
    "plain_view": "select `s`.`p`.`id` AS `id`,lcase(`s`.`p`.`name`) AS `n` from `s`.`parent` `p`",
    "charging": "select `s`.`charge`() AS `amount`",
    "counting": "select last_insert_id() AS `id`",
}


def mysql_ask(sql: str) -> Sequence[Any]:
    return [(name, text) for name, text in MYSQL_VIEWS.items() if f"table_name = '{name}'" in sql]


Catalogues = Callable[[sa.Dialect], Catalogue]


@pytest.fixture
def catalogue(request: pytest.FixtureRequest) -> Catalogues:
    """The catalogue of a dialect's database."""
    fixtures = {"postgresql": "pg_ask", "sqlite": "sqlite_ask"}

    def made(dialect: sa.Dialect) -> Catalogue:
        if dialect.name in fixtures:
            return Catalogue(dialect, request.getfixturevalue(fixtures[dialect.name]))
        return Catalogue(dialect, mysql_ask)

    return made


@pytest.fixture(params=[pytest.param("postgresql", marks=pytest.mark.postgres), "asyncpg", "sqlite", "mysql"])
def dialect(request: pytest.FixtureRequest) -> sa.Dialect:
    """Each dialect of those that are known."""
    return {"postgresql": POSTGRES[0], "asyncpg": POSTGRES[1], "sqlite": SQLITE, "mysql": MYSQL}[request.param]


def tree() -> Any:
    root = select(Parent.id.label("n")).where(Parent.id == 1).cte("tree", recursive=True)
    return select(root.union_all(select(Parent.id).join(root, Parent.id == root.c.n + 1)).c.n)


def ctes() -> Any:
    """Two of them, with columns; the names are those of functions."""
    first = sa.values(sa.column("a", sa.Integer), name="charge").data([(1,)])
    second = select(Parent.id).cte("log")
    return select(second.c.id, select(Child.id).cte("twice").c.id, first.c.a)


PLAIN = {
    "entity": select(Parent),
    "in": select(Parent.id).where(Parent.id.in_([1, 2])),
    "joined": select(Parent).options(joinedload(Parent.children)).limit(3).offset(1),
    "count": select(func.count()).select_from(Parent),
    "window": select(func.row_number().over(partition_by=Parent.name, order_by=Parent.id)),
    "recursive": tree(),
    "exists": select(Parent.id).where(sa.exists().where(Child.parent_id == Parent.id)),
    "cast": select(sa.cast(Parent.id, sa.Numeric(10, 2)), sa.cast(Parent.name, sa.String(5))),
    "case and a string like a call": select(sa.case((Parent.id > 1, "a"), else_=sa.literal_column("'nextval(''s'')'"))),
    "union": select(Parent.id).union(select(Child.id)),
    "json": select(Parent.data["a"]),
    "group": select(Parent.id).join(Parent.children).group_by(Parent.id).having(func.count(Child.id) > 2),
    "like": select(Parent.id).where(Parent.name.ilike("%x(%")),
    "extract": select(sa.extract("year", func.now())),
    "a name like a call": select(aliased(Parent, name="order(")),
    "scalar subquery": select(Parent.id).where(Parent.id == select(func.max(Child.id)).scalar_subquery()),
    "between": select(Parent.id).where(Parent.id.between(1, 2)).order_by(Parent.id.desc()).distinct(),
    "criteria": select(Parent).options(with_loader_criteria(Child, Child.id > 3), joinedload(Parent.children)),
    "a view": select(sa.table("plain_view", sa.column("id"))),
    "no such table": select(sa.table("nowhere", sa.column("id"))),
    "a schema that is named later": select(sa.table("parent", sa.column("id"), schema="tenant")),
    "values": sa.values(sa.column("a", sa.Integer), name="v").data([(1,), (2,)]),
    "column of a subquery": select(select(Parent).subquery().c["update"]),
    "a text that is understood": select(Parent.id).where(sa.text("parent.id > 3 AND name = 'it''s'")),
}
PLAIN["values"] = select(PLAIN["values"])


class Charged(FunctionElement[int]):
    """A construct of the user's own."""

    inherit_cache = True
    type = sa.Integer()


@compiles(Charged)
def _(element: Any, compiler: Any, **kw: Any) -> str:
    return "1, charge ( ) AS x"


class Named(GenericFunction[int]):
    """A function whose name says nothing of what it renders."""

    name = "charge"
    identifier = "innocent"
    inherit_cache = True
    type = sa.Integer()


class Shown(TypeDecorator[str]):
    """A type that calls a function for each column, and for each parameter."""

    impl = sa.String
    cache_ok = True

    def column_expression(self, column: Any) -> Any:
        return func.charge(column)

    def bind_expression(self, bindparam: Any) -> Any:
        return func.charge(bindparam)


class Rendered(UserDefinedType[str]):
    """A type that renders its values by itself."""

    cache_ok = True

    def get_col_spec(self) -> str:
        return "text"

    def literal_processor(self, dialect: Any) -> Any:
        return lambda value: f"charge({value})"


class Owner(Base):
    __tablename__ = "owner"

    id: Mapped[int] = mapped_column(primary_key=True)
    fee = column_property(select(func.charge(Child.id)).scalar_subquery())


def literal(text: str) -> Any:
    return select(sa.literal_column(text))


shown = sa.table("parent", sa.column("id"), sa.column("name", Shown()))

MORE = {
    "lock": select(Parent).with_for_update(),
    "share": select(Parent).with_for_update(read=True),
    "a lock inside": select(select(Parent.id).with_for_update().subquery().c.id),
    "sequence": select(func.nextval("s")),
    "advisory lock": select(func.pg_advisory_lock(1)),
    "unknown function": select(func.charge_the_customer(Parent.id)),
    "function of a schema": select(func.nobodys.count(Parent.id)),
    "volatile": select(func.random(), func.rand()),
    "text": sa.text("SELECT 1"),
    "textual": sa.text("SELECT 1 AS a").columns(sa.column("a")),
    "text with a call": select(sa.text("charge(1)")),
    "literal with a call": literal("charge(1)"),
    "literal with a comment": literal("1 -- )"),
    "hint": select(Parent).prefix_with("/*+ x */"),
    "suffix": select(Parent).suffix_with("FOR UPDATE"),
    "insert": sa.insert(Parent),
    "update": sa.update(Parent),
    "delete": sa.delete(Parent),
    "into": literal("1 INTO t"),
    # a call behind a comma was taken for the head of a common table expression
    "second column": select(Parent.id, func.charge().label("x")),
    "third column": literal("1 AS a, charge() AS x, charge(a) AS y"),
    "second in from": select(Parent.id).select_from(Parent, func.charge().alias("x")),
    "bare names": literal("1, charge(a, b) AS x"),
    "looks like a head": literal("1, charge(a) AS MATERIALIZED"),
    "behind a real head": literal("(WITH a AS (SELECT 1), b(c) AS (SELECT 2) SELECT charge() FROM a, b)"),
    "in from behind a subquery": literal("1 FROM (SELECT 1) AS a, charge() AS b"),
    "blanks": literal("charge \n ( )"),
    "quoted": literal("1").add_columns(func.count(), func.charge()),
    # names that are harmless on their own
    "users overload": select(func.log("a")),
    "own construct": select(Parent.id, Charged()),
    "own name": select(func.innocent()),
    "column expression": select(shown.c.name),
    "bind expression": select(shown.c.id).where(shown.c.name == "a"),
    "bind expression in a list": select(shown.c.id).where(shown.c.name.in_(["a", "b"])),
    "column property": select(Owner),
    "loader criteria": select(Child).options(with_loader_criteria(Child, lambda cls: cls.id > func.charge())),
    "rendered value": select(Parent.id).where(sa.bindparam("x", "a", type_=Rendered(), literal_execute=True) == "b"),
    "a view": select(sa.table("charging", sa.column("amount"))),
    # what cannot be read to its end
    "open string": literal("'a"),
    "open name": literal('"a'),
    "open comment": literal("1 /* a"),
    "open parenthesis": literal("(1"),
    "two statements": literal("1; SELECT 2"),
}


@pytest.mark.parametrize("what", PLAIN)
def test_promise_02_a_plain_read_is_proved(what: str, dialect: sa.Dialect, catalogue: Catalogues) -> None:
    if dialect is SQLITE and what in ("like", "json"):
        pytest.skip("the user has replaced these functions")
    if dialect is MYSQL and what == "values":
        pytest.skip("MySQL writes them as ROW()")
    statement = PLAIN[what]
    compiled = statement.compile(dialect=dialect, schema_translate_map={"tenant": "a"} if "later" in what else None)
    assert is_plain_read(compiled, {}, catalogue(dialect))


@pytest.mark.parametrize("what", MORE)
def test_promise_02_all_else_is_more_than_a_read(what: str, dialect: sa.Dialect, catalogue: Catalogues) -> None:
    if dialect is MYSQL and what == "users overload":
        pytest.skip("MySQL has no overloads: what is built in cannot be replaced")
    assert not is_plain_read(MORE[what].compile(dialect=dialect), {}, catalogue(dialect))


def test_what_is_inside_of_a_read_counts_too(catalogue: Catalogues) -> None:
    written = sa.insert(Parent).returning(Parent.id).cte("written")
    locked = select(Parent.id).with_for_update().subquery()
    for statement in (select(written.c.id), select(locked.c.id)):
        assert not is_plain_read(statement.compile(dialect=MYSQL), {}, catalogue(MYSQL))


# -- PostgreSQL --------------------------------------------------------------------------------------------------------

PG_PLAIN = {
    "common functions": "lower(name), coalesce(max(id), 0), date_trunc('day', now()), CURRENT_TIMESTAMP FROM parent",
    "of the users, and harmless": "ours.thrice(1), 1 <=# 2",
    "dollar string": "$tag$ charge() $tag$, $$ ' $$",
    "escapes": r"E'it\'s charge()', E'\\'",
    "words": "EXTRACT(year FROM now()), CAST(1 AS numeric(10, 2)), 'a'::varchar(3), 1 IN (1, 2), 1 = ANY (ARRAY[1]), "
    "OVERLAY('a' PLACING 'b' FROM 1 FOR 1), POSITION('a' IN 'b'), TRIM(BOTH FROM 'a'), ROW(1, 2) = ROW(1, 3)",
    "operators": "1 OPERATOR(pg_catalog.+) 2, '{}'::jsonb ? 'a', '{}'::jsonb @> '{}', -1, 2 - -1",
    "heads": "(WITH RECURSIVE charge(a) AS (SELECT 1), log AS NOT MATERIALIZED (SELECT 2) SELECT 1 FROM charge, log)",
    "aliases": "1 FROM unnest(ARRAY[1]) AS charge(a), generate_series(1, 2) log(a)",
    "harmless domain": "'a@b'::email",
    "row security by a setting": "* FROM tenants",
    "catalogue": "* FROM pg_stat_activity",
    "information schema": "* FROM information_schema.tables",
    "qualified": "parent.update, parent.insert, (x).delete, 1 AS into",
    "long name": f"1 AS {'a' * 90}",
    "distinct from": "1 IS DISTINCT FROM 2",
    "nested comments inside of a string": "'/* /* charge() */'",
}
PG_MORE = {
    "escaped quote": r"E'\'' , charge() AS x, '\''",
    "dollars": "$a$ ' $a$, charge(), $a$ ' $a$",
    "unicode name": r'U&"ch\0061rge"()',
    "strings on two lines": "E'a'\n'\\' , charge() , '",
    "nested comments": "1 /* /* */ ' */, charge() /* ' */",
    "quoted call": '"charge"()',
    "folded": "CHARGE()",
    "case kept": '"Quoted"(1)',
    "quoted keyword": 'public."between"(1)',
    "of a schema with blanks": "ours . twice /* */ ( 1 )",
    "behind distinct on": "DISTINCT ON (a) charge(a) FROM parent",
    "behind an operator": "1 OPERATOR(pg_catalog.+) charge(1)",
    "overload in another schema": "twice(1)",
    "volatile aggregate": "total(id) FROM parent",
    "attribute": "parent.rowf FROM parent",
    "attribute of a row": "(p).rowf FROM parent AS p",
    "operator": "1 <=@ 2",
    "operator with a percent sign": "1 <=%% 2",
    "operator of a schema": "1 OPERATOR(public.<=@) 2",
    "domain": "1::checked",
    "domain as a string": "checked '1'",
    "domain in a row": "ROW(1, 2)::pair",
    "array of a domain": "ARRAY[1]::checked[]",
    "cast": "CAST(1 AS money2)",
    "view": "* FROM charging",
    "view over a view": "* FROM ours.parent JOIN (public.over_charging) ON true",
    "locking view": "* FROM locking",
    "counting view": "* FROM counting",
    "row security": "* FROM guarded",
    "comma": "* FROM parent, ONLY (charging)",
    "table": "(TABLE charging)",
    "system view": "* FROM pg_locks",
    "prepared statements": "* FROM pg_prepared_statements",
    "connection": "pg_backend_pid()",
    "transaction": "txid_current(), pg_current_xact_id()",
    "currval": "currval('numbers')",
    "into": "1 INTO TEMP x",
    "for update": "1 FROM parent FOR NO KEY UPDATE",
    "dml": "(WITH x AS (DELETE FROM parent RETURNING id) SELECT 1)",
    "rows from": "* FROM ROWS FROM (generate_series(1, 2), charge()) AS x",
    "join": "* FROM parent JOIN LATERAL charge() AS x ON true",
    "aliased call": "* FROM generate_series(1, 2) a(b), charge(1) c(d)",
    "text of a query": "query_to_xml('select charge()', true, true, '')",
}


@pytest.mark.postgres
@pytest.mark.parametrize("what", PG_PLAIN)
def test_promise_02_what_postgresql_says_is_harmless(what: str, catalogue: Catalogues) -> None:
    text = PG_PLAIN[what]
    for dialect in POSTGRES:
        assert catalogue(dialect).is_plain(f"SELECT {text}"), dialect.driver


@pytest.mark.postgres
@pytest.mark.parametrize("what", PG_MORE)
def test_promise_02_what_postgresql_says_is_more(what: str, catalogue: Catalogues) -> None:
    for dialect in POSTGRES:
        text = PG_MORE[what] if dialect.paramstyle == "pyformat" else PG_MORE[what].replace("%%", "%")
        assert catalogue(dialect).is_plain(f"SELECT {text}") is False, dialect.driver


@pytest.mark.postgres
@pytest.mark.parametrize(
    "symbol, plain", [("<=#", True), ("<=@", False), ("<=%", False), ("||", True), ("<==>", False)]
)
def test_operators_of_the_users_are_judged_by_what_they_execute(
    symbol: str, plain: bool, catalogue: Catalogues
) -> None:
    statement = select(Parent.id).where(Parent.id.op(symbol)(3))
    for dialect in POSTGRES:
        assert is_plain_read(statement.compile(dialect=dialect), {}, catalogue(dialect)) is plain


@pytest.mark.postgres
def test_a_cast_of_parameters_counts(catalogue: Catalogues) -> None:
    class Checked(UserDefinedType[int]):
        cache_ok = True
        render_bind_cast = True

        def get_col_spec(self) -> str:
            return "checked"

    column = sa.table("parent", sa.column("id", Checked())).c.id
    for where in (column == 3, column.in_([3, 4])):
        for dialect in POSTGRES:
            compiled = select(column).where(where).compile(dialect=dialect)
            assert not is_plain_read(compiled, {}, catalogue(dialect))


# -- SQLite ------------------------------------------------------------------------------------------------------------

LITE_PLAIN = {
    "built in": "lower('a'), count(*), coalesce(1, 2), strftime('%Y', CURRENT_TIMESTAMP), max(1, 2), printf('%d', 1)",
    "rows of a document": "value FROM json_each('[1]')",
    "pragma": "name FROM pragma_table_info('parent')",
    "view with comments": "* FROM plain_view",
    "bracketed": "[a'b], `a'b`, \"a'b\" FROM parent",
    "glob": "'a' GLOB 'b'",
    "head": "1 FROM (WITH charge(a) AS (VALUES (1)) SELECT * FROM charge)",
}
LITE_MORE = {
    "bracket": "[a'b], charge(), [a'b] FROM parent",
    "backtick": "`a'b`, charge(), `a'b` FROM parent",
    "quoted call": "[charge](1)",
    "string as a name": "'charge'(1)",
    "rowid": "last_insert_rowid()",
    "changes": "changes(), total_changes()",
    "random": "random()",
    "extension": "load_extension('x')",
    "replaced": "log(1)",
    "replaced operator": "'a' LIKE 'b'",
    "replaced arrow": "a ->> 'b'",
    "regexp": "'a' REGEXP 'b'",
    "view": "* FROM charging",
    "view over a view": "* FROM main.[over charging]",
    "view named by a string": "* FROM 'charging'",
    "temporary view": "* FROM tempting",
    "attached view": "* FROM other.attached",
    "view behind in": "1 IN charging",
    "function behind in": "1 IN charge(2)",
    "pragma that works": "* FROM pragma_optimize",
    "unknown rows": "* FROM charges(1)",
}


@pytest.mark.parametrize("what", LITE_PLAIN)
def test_promise_02_what_sqlite_says_is_harmless(what: str, catalogue: Catalogues) -> None:
    assert catalogue(SQLITE).is_plain(f"SELECT {LITE_PLAIN[what]}")


@pytest.mark.parametrize("what", LITE_MORE)
def test_promise_02_what_sqlite_says_is_more(what: str, catalogue: Catalogues) -> None:
    assert catalogue(SQLITE).is_plain(f"SELECT {LITE_MORE[what]}") is False


# -- MySQL and MariaDB -------------------------------------------------------------------------------------------------

MY_PLAIN = {
    "built in": "lower(name), count(*), date_format(now(), '%%Y'), if(a, 1, 2), cast(a as char(5)), convert(a, char(5))",
    "words": "a in (1, 2), a div (2), match (a) against ('b' in boolean mode), 1 = any (select 2)",
    "window": "row_number() over (partition by a order by b)",
    "escapes": r"'a\\b', 'c''d', " + '"charge()"',
    "view": "* from plain_view",
    "minus": "1--1",
    "hint": "* from a use index for order by (b), plain_view",
}
MY_MORE = {
    "escaped quote": r"'a\\\' , charge() , '",
    "doubtful quote": r"'a\' , charge() , \''",
    "double quoted": r'"a\" , charge() , \""',
    "comment": "1 # ' \n, charge() # '",
    "dashes": "1 -- ' \n, charge() -- '",
    "executable": "1 /*! , charge() */",
    "hint": "/*+ SET_VAR(a = 1) */ 1",
    "found rows": "SQL_CALC_FOUND_ROWS a from b",
    "last insert": "last_insert_id()",
    "assigned insert": "last_insert_id(a)",
    "locks": "release_all_locks()",
    "lock": "get_lock('a', 1)",
    "sleep": "sleep(1)",
    "connection": "connection_id()",
    "counts": "found_rows(), row_count()",
    "uuid": "uuid_short()",
    "file": "load_file('/etc/passwd')",
    "sequence": "next value for s",
    "last value": "previous value for s",
    "variable": "@a",
    "assignment": "@a := 1",
    "system variable": "@@session.sql_mode",
    "stored": "charge()",
    "stored, qualified": "shop.lower(a)",
    "stored, quoted": "`lower`(a)",
    "stored, by a blank": "count (a)",
    "name that begins with a digit": "1lower(a)",
    "into": "a into @b",
    "outfile": "a into outfile '/tmp/a'",
    "share": "a from b lock in share mode",
    "procedure": "a from b procedure analyse()",
    "view": "* from charging",
    "counting view": "* from shop.counting",
    "view behind a hint": "* from a use index for order by (b), charging",
}


@pytest.mark.parametrize("what", MY_PLAIN)
def test_promise_02_what_is_harmless_on_mysql(what: str, catalogue: Catalogues) -> None:
    assert catalogue(MYSQL).is_plain(f"SELECT {MY_PLAIN[what]}")


@pytest.mark.parametrize("what", MY_MORE)
def test_promise_02_what_is_more_on_mysql(what: str, catalogue: Catalogues) -> None:
    assert catalogue(MYSQL).is_plain(f"SELECT {MY_MORE[what]}") is False


# -- others ------------------------------------------------------------------------------------------------------------


def test_of_other_databases_only_the_standard_is_known() -> None:
    class Strange(sqlite.dialect):  # type: ignore[misc, name-defined]
        name = "strange"

    known = Catalogue(Strange(), mysql_ask)
    assert known.is_plain("SELECT count(*), lower(a) FROM b WHERE c IN (1, 2)")
    for text in ("median(a)", "lower (a), dbo.f(a)", "NEXT VALUE FOR s", "s.nextval", "a FROM b WITH (UPDLOCK)", "#"):
        assert not known.is_plain(f"SELECT {text}")
    assert not Catalogue(oracle.dialect(), mysql_ask).is_plain("SELECT charge FROM dual")


# -- what is said, and when nothing is said ----------------------------------------------------------------------------


def test_what_the_caller_says_counts(catalogue: Catalogues) -> None:
    known = catalogue(MYSQL)
    read = select(Parent).compile(dialect=MYSQL)
    assert not is_plain_read(read, {"respool_read": False}, known)
    assert is_plain_read(MORE["volatile"].compile(dialect=MYSQL), {"respool_read": True}, known)
    assert is_plain_read(MORE["text"].compile(dialect=MYSQL), {"respool_read": True}, known)


@pytest.mark.parametrize("option", ["stream_results", "yield_per"])
def test_a_server_side_cursor_lives_in_a_transaction(option: str, catalogue: Catalogues) -> None:
    read = select(Parent).compile(dialect=MYSQL)
    assert not is_plain_read(read, {option: 10}, catalogue(MYSQL))
    assert not is_plain_read(read, {option: 10, "respool_read": True}, catalogue(MYSQL))


def test_a_string_for_the_driver_is_not_read(catalogue: Catalogues) -> None:
    assert not is_plain_read("SELECT 1", {}, catalogue(MYSQL))


def test_many_at_once_return_no_rows(catalogue: Catalogues) -> None:
    compiled = select(Parent).compile(dialect=MYSQL)
    compiled.for_executemany = True  # type: ignore[attr-defined]
    assert not is_plain_read(compiled, {}, catalogue(MYSQL))


def test_the_proof_stays_with_the_statement_unless_nobody_could_be_asked() -> None:
    answers: list[Any] = [OSError("not now"), [("parent", None)][:0]]
    asked: list[str] = []

    def ask(sql: str) -> Sequence[Any]:
        asked.append(sql)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    known, compiled = Catalogue(MYSQL, ask), select(Parent).compile(dialect=MYSQL)
    assert [is_plain_read(compiled, {}, known) for _ in range(3)] == [False, True, True]
    assert len(asked) == 2
