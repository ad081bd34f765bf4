"""What a database is asked, how often, on which connection; and how the text of a statement is read for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event, func, select, text
from sqlalchemy.dialects import mysql, postgresql, sqlite

from respool import PoolConfig
from respool.engine.catalogue import Catalogue, asking, catalogue_of
from respool.engine.sql.reading import Call, read
from respool.engine.sql.tokens import Grammar, Unreadable, grammar, tokenize
from respool.errors import PoolTimeout
from tests.session.shop import Order, Product, acquired, fill, opened, opened_async

PG, MY, LITE = grammar("postgresql", "pyformat"), grammar("mysql", "format"), grammar("sqlite", "qmark")


def texts(sql: str, rules: Grammar) -> list[str]:
    return [token.text for token in tokenize(sql, rules).tokens]


# -- tokens ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rules, sql, expected",
    [
        (PG, r"E'\'' , f()", [r"E'\''", ",", "f", "(", ")"]),
        (PG, r"'\' , f()", [r"'\'", ",", "f", "(", ")"]),
        (PG, "$a$ ' $b$ $a$ $$'$$ $1", ["$a$ ' $b$ $a$", "$$'$$", "$1"]),
        (PG, "a$b$c 'it''s' \"a\"\"b\"", ["a$b$c", "'it''s'", 'a"b']),
        (PG, "a /* b /* c */ d */ e -- f\r g", ["a", "e", "g"]),
        (PG, "a<=@-1 a=-1 a*-b +++c", ["a", "<=@-", "1", "a", "=", "-", "1", "a", "*", "-", "b", "+", "+", "+", "c"]),
        (PG, "a %% b <%%> %(x)s::int", ["a", "%", "b", "<%>", "%(x)s", "::", "int"]),
        (PG, "a--b", ["a"]),
        (PG, "1.5e-3 .5 0xFF x[1:2]", ["1.5e-3", ".5", "0xFF", "x", "[", "1", ":", "2", "]"]),
        (PG, "a IN (__[POSTCOMPILE_x_1])", ["a", "IN", "(", "\0", ")"]),
        (PG, "a IN (__[POSTCOMPILE_x_1~~f(~~REPL~~)~~])", ["a", "IN", "(", "f", "(", "\0", ")", ")"]),
        (PG, "a ~~REPL~~ b", ["a", "~~", "REPL", "~~", "b"]),
        (PG, "__[SCHEMA_tenant].t", ["", ".", "t"]),
        (MY, r"'a\'' `b``c` \N"[:-3], [r"'a\''", "b`c"]),
        (MY, "1--1 # c\n2 -- d\n/* e */ 3", ["1", "-", "-", "1", "2", "3"]),
        (MY, "@a := @@b <=> %s", ["@", "a", ":=", "@", "@", "b", "<=>", "%s"]),
        (LITE, "[a'b] `c` \"d\" x'00' ?", ["a'b", "c", "d", "x'00'", "?"]),
        (LITE, "a->>'$' b||c", ["a", "->>", "'$'", "b", "||", "c"]),
    ],
)
def test_tokens(rules: Grammar, sql: str, expected: list[str]) -> None:
    assert texts(sql, rules) == expected


@pytest.mark.parametrize(
    "rules, sql",
    [
        *(
            (PG, sql)
            for sql in ("'", '"', "E'\\'", "$a$ $b$", "/* /* */", 'U&"a"', "E%(x)s", "%(x)s'a'", "1f", "\\", "{", "%")
        ),
        *((MY, sql) for sql in ("'a\\'", "`a", "1f", "f%s", "[a]", "{d '1'}", "/* a", "%")),
        *((LITE, sql) for sql in ("[a", "`a", "$a", "@a", ":a", "/* a", "?1")),
    ],
)
def test_what_is_not_understood_to_its_end_is_refused(rules: Grammar, sql: str) -> None:
    with pytest.raises(Unreadable):
        tokenize(f"SELECT {sql}", rules)


@pytest.mark.parametrize(
    "rules, sql, doubtful",
    [
        (PG, r"'\' , f(), '\'", True),
        (PG, r"'a\\b'", False),
        (PG, "'a'\n'b'", True),
        (PG, "'a', 'b'", False),
        (MY, r"'a\\'", False),
        (MY, r"'a\''", True),
        (MY, "/*! f() */ 1", True),
        (MY, "/*M! f() */ 1", True),
        (MY, "/* a */ 1", False),
        (LITE, r"'\'", False),
    ],
)
def test_what_the_servers_settings_decide_is_doubtful(rules: Grammar, sql: str, doubtful: bool) -> None:
    assert tokenize(f"SELECT {sql}", rules).doubtful is doubtful


@pytest.mark.parametrize("dialect", ["postgresql", "mysql", "sqlite"])
@pytest.mark.parametrize(
    "piece", ["a", "+", "(", "a.", "''", "'", "/*", "--", "$a", "__[POSTCOMPILE_", "%(", "\\'", "1", "[", '"']
)
def test_a_text_of_any_length_is_read_in_linear_time(dialect: str, piece: str) -> None:
    """Each of these took seconds or minutes with a pattern that tries every beginning anew: so this test ends."""
    rules = grammar(dialect, {"postgresql": "pyformat", "mysql": "format", "sqlite": "qmark"}[dialect])
    long = "SELECT " + piece * (60_000 // len(piece))
    try:
        found = tokenize(long, rules).tokens
    except Unreadable:
        return
    assert len(found) <= len(long)
    read(found, rules)


def test_a_word_of_20000_letters_is_one_token() -> None:
    known = Catalogue(mysql.dialect(), lambda sql: [])
    assert len(tokenize("a" * 20_000, PG).tokens) == 1
    assert known.is_plain(f"SELECT {'a' * 20_000}")
    assert known.is_plain(f"SELECT {'a' * 20_000}(1)") is False


# -- what is named -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql, calls, relations",
    [
        ("SELECT f (1), a.g(2), \"H\"(3) FROM t, s.u, v AS w(a, b)", ["f", "a.g", "H"], ["t", "u", "v"]),
        ("SELECT * FROM (a JOIN b ON a.x = f(b.x)) JOIN c USING (x), d", ["f"], ["a", "b", "c", "d"]),
        ("WITH x(a, b) AS (SELECT 1), y AS NOT MATERIALIZED (SELECT 2) SELECT 1 FROM x", [], ["x"]),
        ("WITH x AS (SELECT 1), f(a) AS y SELECT 2", ["f"], []),
        ("SELECT 1, f(a) AS x", ["f"], []),
        ("SELECT EXTRACT(year FROM a), b IS DISTINCT FROM c, SUBSTRING(d FROM 2)", ["extract", "substring"], []),
        ("SELECT x::f(3), CAST(x AS g(4)), DATE 'a'", ["cast"], []),
        ("SELECT 1 FROM f(1) a(b), LATERAL (SELECT 2) c(d), ROWS FROM (g(1), h(2)) i(j)", ["f", "g", "h"], ["lateral", "rows"]),
        ("SELECT DISTINCT ON (a) f(a) FROM b", ["f"], ["b"]),
        ("SELECT (SELECT max(x) FROM t WHERE y IN (SELECT z FROM u)) FROM v", ["max"], ["t", "u", "v"]),
        ("TABLE t", [], ["t"]),
        ("SELECT 1 FROM a UNION SELECT 2 FROM b ORDER BY f(1)", ["f"], ["a", "b"]),
    ],
)  # fmt: skip
def test_what_a_statement_calls_and_reads_from(sql: str, calls: list[str], relations: list[str]) -> None:
    reading = read(tokenize(sql, PG).tokens, PG)
    syntax = {"in", "using", "on", "from", "values", "as", "join", "lateral", "materialized", "select"}
    named = [f"{call.schema}.{call.name}" if call.schema else call.name for call in reading.calls]
    assert [name for name in named if name not in syntax] == calls
    assert list(reading.relations) == relations
    assert not reading.odd


def test_what_stands_before_a_parenthesis_as_it_is_looked_up() -> None:
    (call,) = read(tokenize(f'SELECT "S" . {"A" * 70} (1)', PG).tokens, PG).calls
    assert call == Call("S", "a" * 63, quoted=False, apart=True)


# -- how often it is asked ---------------------------------------------------------------------------------------------


class Asked:
    """Asks a database, and counts."""

    def __init__(self, ask: Callable[[str], Sequence[Any]]) -> None:
        self.ask = ask
        self.questions: list[str] = []

    def __call__(self, sql: str) -> Sequence[Any]:
        self.questions.append(sql)
        return self.ask(sql)

    def taken(self) -> int:
        count, self.questions = len(self.questions), []
        return count


@pytest.fixture
def pg(pg_url: str) -> Iterator[tuple[Catalogue, Asked, sa.Connection]]:
    fill(pg_url)
    engine = sa.create_engine(pg_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        asked = Asked(asking(connection.connection.dbapi_connection))
        yield Catalogue(engine.dialect, asked), asked, connection
    engine.dispose()


def test_each_name_is_asked_for_once(pg: tuple[Catalogue, Asked, sa.Connection]) -> None:
    known, asked, connection = pg
    connection.execute(text("CREATE VIEW one AS SELECT count(*) AS c FROM products"))
    connection.execute(text("CREATE VIEW two AS SELECT c FROM one"))
    assert known.is_plain("SELECT id FROM products")
    assert asked.taken() == 1
    for sql in ("SELECT count(*), lower(note) FROM orders", "SELECT 1 = 2", "SELECT sum(stock) FROM public.products"):
        assert known.is_plain(sql)
    assert asked.taken() == 0  # tables and common functions come with the first answer
    assert known.is_plain("SELECT cbrt(1), sinh(2), cosh(3) FROM nowhere")
    assert asked.taken() == 1  # however many there are
    assert known.is_plain("SELECT cbrt(cosh(3))")
    assert known.is_plain("SELECT nothing_of_the_kind(3)") is False
    assert asked.taken() == 1
    assert known.is_plain("SELECT nothing_of_the_kind(4), 2") is False
    assert asked.taken() == 0
    assert known.is_plain("SELECT c FROM two")
    assert asked.taken() == 2  # a definition leads to another
    assert known.is_plain("SELECT c + 1 FROM two")
    assert asked.taken() == 0


def test_what_is_made_later_is_seen_when_it_is_named(pg: tuple[Catalogue, Asked, sa.Connection]) -> None:
    known, _, connection = pg
    assert known.is_plain("SELECT id FROM products")
    connection.execute(text("CREATE FUNCTION later() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'"))
    connection.execute(text("CREATE FUNCTION after(products) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'"))
    connection.execute(text("CREATE FUNCTION pairs(int, int) RETURNS bool LANGUAGE sql VOLATILE AS 'SELECT true'"))
    connection.execute(text("CREATE OPERATOR <==> (leftarg = int, rightarg = int, function = pairs)"))
    connection.execute(text("CREATE VIEW latest AS SELECT later() AS a"))
    for sql in ("SELECT a FROM latest", "SELECT later()", "SELECT 1 <==> 2", "SELECT products.after FROM products"):
        assert known.is_plain(sql) is False


@pytest.mark.parametrize("name", ["a:b", "a%%b", "a?b", "a\\b", "a'b"])
def test_a_name_that_a_driver_could_misunderstand(pg: tuple[Catalogue, Asked, sa.Connection], name: str) -> None:
    known, asked, connection = pg
    connection.exec_driver_sql(f'CREATE VIEW "{name}" AS SELECT pg_backend_pid() AS a'.replace("%%", "%"))
    assert known.is_plain(f'SELECT a FROM "{name}"') is False
    assert known.is_plain(f'SELECT "{name}"(1)') is False
    assert all(name.replace("%%", "%") not in question for question in asked.questions if "'" not in name)


def test_part_of_a_table_is_elsewhere(pg: tuple[Catalogue, Asked, sa.Connection]) -> None:
    known, _, connection = pg
    for sql in (
        "CREATE FOREIGN DATA WRAPPER far",
        "CREATE SERVER away FOREIGN DATA WRAPPER far",
        "CREATE FOREIGN TABLE alone (id int) SERVER away",
        "CREATE TABLE parts (id int) PARTITION BY RANGE (id)",
        "CREATE TABLE near PARTITION OF parts FOR VALUES FROM (0) TO (9)",
        "CREATE FOREIGN TABLE part PARTITION OF parts FOR VALUES FROM (10) TO (19) SERVER away",
    ):
        connection.execute(text(sql))
    assert [known.is_plain(f"SELECT id FROM {name}") for name in ("alone", "parts", "near")] == [False, False, True]


def test_an_implicit_cast_that_does_more_spares_nothing(pg: tuple[Catalogue, Asked, sa.Connection]) -> None:
    known, _, connection = pg
    connection.execute(text("CREATE TYPE box2 AS (a int)"))
    connection.execute(text("CREATE FUNCTION boxed(int) RETURNS box2 LANGUAGE sql VOLATILE AS 'SELECT ROW(1)::box2'"))
    connection.execute(text("CREATE CAST (int AS box2) WITH FUNCTION boxed(int) AS IMPLICIT"))
    assert known.is_plain("SELECT id FROM products") is False


def test_who_may_not_ask_is_left_alone_for_longer_and_longer() -> None:
    asked = 0

    def ask(sql: str) -> Sequence[Any]:
        nonlocal asked
        asked += 1
        raise PermissionError

    known = Catalogue(postgresql.dialect(), ask)
    assert [known.is_plain("SELECT 1") for _ in range(100)] == [None] * 100
    assert asked == 7  # after 0, 1, 3, 7, 15 and 31 that were left out


def test_a_question_that_fails_is_asked_again() -> None:
    answers: list[Any] = [OSError()]

    def ask(sql: str) -> Sequence[Any]:
        if answers:
            raise answers.pop()
        return []

    known = Catalogue(mysql.dialect(), ask)
    assert [known.is_plain("SELECT a FROM b") for _ in range(2)] == [None, True]


# -- on which connection -----------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """A shop on each database."""
    found = str(request.getfixturevalue({"sqlite": "shop_url", "postgresql": "pg_url"}[request.param]))
    if request.param == "postgresql":
        fill(found)
    return found


ONE = PoolConfig(max_size=1, timeout=30)


def test_an_engine_has_one_catalogue(url: str) -> None:
    with opened(url) as db:
        assert catalogue_of(db.engine) is catalogue_of(db.engine.execution_options(logging_token="a"))


@pytest.mark.parametrize("statement", [select(func.count(), func.abs(func.max(Order.id))), select(Product)])
def test_a_pool_of_one_is_enough(url: str, statement: Any) -> None:
    with opened(url, pool=ONE) as db, db.scope("job") as session:
        session.execute(statement).all()
        assert acquired(db) == 0
        session.execute(sa.update(Product).values(stock=1))
        session.execute(text("SELECT count(*), max(id), length('a') FROM products"))
        session.execute(select(func.lower("A"), func.min(Order.id))).all()
        session.rollback()
        assert acquired(db) == 0


async def test_a_pool_of_one_is_enough_for_asyncio(url: str) -> None:
    there = url.replace("sqlite:", "sqlite+aiosqlite:").replace("+psycopg:", "+asyncpg:")
    async with opened_async(there, pool=ONE) as db, db.scope("job") as session:
        await session.execute(select(func.count(), func.abs(func.max(Order.id))))
        assert acquired(db) == 0
        await session.execute(sa.update(Product).values(stock=1))
        await session.execute(text("SELECT count(*), max(id) FROM products"))
        await session.rollback()
        assert acquired(db) == 0


def test_who_gets_no_connection_waits_for_it_once(url: str) -> None:
    with opened(url, pool=ONE) as db, db.engine.connect(), db.scope("job") as session:
        db.pool._timeout = 0.01
        with pytest.raises(PoolTimeout):
            session.execute(select(Product)).all()
        assert db.pool.stats().timeouts == 1


def test_inside_of_a_read_it_is_asked_on_the_same_connection(url: str) -> None:
    with opened(url, pool=ONE) as db, db.scope("job") as session:
        session.execute(select(Product.id)).all()
        seen: list[int] = []

        @event.listens_for(db.engine, "after_cursor_execute")
        def _(conn: Any, cursor: Any, statement: str, *others: Any) -> None:
            if "stock" in statement:
                seen.append(conn.scalar(select(func.abs(func.count(Order.id)))))

        session.execute(select(Product.stock)).all()
        assert (seen, acquired(db)) == ([0], 0)


@pytest.mark.postgres
def test_a_question_that_fails_within_a_transaction_does_not_doom_it(pg_url: str) -> None:
    fill(pg_url)
    with opened(pg_url) as db, db.scope("job") as session:
        connection: Any = session.connection().connection.dbapi_connection
        connection.execute("UPDATE products SET stock = 17")
        with pytest.raises(Exception, match="nowhere"):
            asking(connection, within_transaction=True)("SELECT * FROM nowhere")
        assert asking(connection, within_transaction=True)("SELECT stock FROM products") == [(17,)]
        session.rollback()


def test_a_function_of_the_users_on_sqlite(shop_url: str) -> None:
    with opened(shop_url) as db:

        @event.listens_for(db.engine, "connect")
        def _(connection: Any, record: object) -> None:
            connection.create_function("charge", 0, lambda: 1)

        with db.scope("job") as session:
            session.scalar(select(func.abs(Product.id)))
            assert acquired(db) == 0
            session.scalar(select(func.charge()))
            assert acquired(db) == 1
            session.rollback()


def test_what_sqlite_does_not_have_is_remembered_while_a_view_is_looked_into(shop_url: str) -> None:
    with opened(shop_url) as db, db.engine.connect() as connection:
        connection.execute(text("CREATE VIEW odd AS SELECT neither(id) FROM products"))
        asked = Asked(asking(connection.connection))
        known = Catalogue(db.engine.dialect, asked)
        assert known.is_plain("SELECT nor(1) FROM odd") is False
        asked.taken()
        assert known.is_plain("SELECT nor(2) FROM odd") is False
        assert asked.taken() == 0


def test_an_sqlite_that_cannot_tell_its_functions_proves_nothing_about_them() -> None:
    def ask(sql: str) -> Sequence[Any]:
        raise sqlite3.OperationalError("no such table: pragma_function_list")

    assert Catalogue(sqlite.dialect(), ask).is_plain("SELECT lower('a')") is None
