"""The proof against the databases: statements made at random are executed, and none that was proved had an effect.

Each is made of parts that are valid somewhere, among them functions, operators, types and views that count how often they
are executed. Most are refused by the database, and say nothing; of the others enough are proved, and enough had effects.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from respool.engine.catalogue import Catalogue, Effect, asking

PG_EXPRESSIONS = [
    "t.rowf",
    "(t).rowf",
    't . "rowf"',
    "1::dom",
    "dom '1'",
    "ARRAY[1]::dom[]",
    "ROW(1)::pair",
    "1 <=@ 2",
    "1 OPERATOR(public.<=@) 2",
    "E'\\''",
    "E'\\\\'",
    "$$charge()$$",
    "$a$'$a$",
    "U&'a'",
    "'\\'",
    "EXTRACT(year FROM now())",
    "SUBSTRING('abc' FROM 1 FOR charge())",
    "s . charge ( )",
    "TRIM(BOTH FROM 'a')",
    "ARRAY[charge()]",
    "1 = ANY (ARRAY[1])",
    "log(1.5)",
    "log('a')",
    "count(*) OVER (PARTITION BY t.a)",
]
LITE_EXPRESSIONS = [
    "[charge](1)",
    "`charge`(1)",
    "[a'b]",
    "x'00'",
    '"charge()"',
    "'\\'",
    "t.a IN v",
    "t.a IN charge(1)",
    "'a' REGEXP 'b'",
    "CURRENT_TIMESTAMP",
    "log(1.5)",
    "1 IN (1, 2)",
    "b COLLATE nocase",
    "json_extract('{}', '$')",
    "max(1, 2)",
    "'a' GLOB 'b'",
    "count(*) OVER (PARTITION BY t.a)",
]
EXPRESSIONS = [
    "1",
    "NULL",
    "t.a",
    "b",
    "'a'",
    "'it''s'",
    "'charge()'",
    "charge()",
    "charge ( )",
    '"charge"()',
    "lower('a')",
]
PG_TABLES = [
    "charge()",
    "generate_series(1, 2) g(h)",
    "ROWS FROM (charge(), abs(1))",
    "LATERAL charge()",
    "ONLY (v)",
    "s.w",
    "guarded",
    "pg_catalog.pg_class",
    "unnest(ARRAY[1]) WITH ORDINALITY u(x, n)",
    "generate_series(1, 2) charge(a)",
]
LITE_TABLES = ["json_each('[1]')", "main.v", "'v'", "tv", "w", "pragma_table_info('t')", "[v]", "`t`"]
TABLES = ["t", "t", "t AS t", '"t"', "v", "cte", "charge", "nowhere"]


class Statements:
    """Makes statements.

    Args:
        seed: the same one makes the same statements.
        postgresql: for that, or for SQLite.
    """

    def __init__(self, seed: int, *, postgresql: bool) -> None:
        self.random = random.Random(seed)
        self.expressions = EXPRESSIONS + (PG_EXPRESSIONS if postgresql else LITE_EXPRESSIONS)
        self.tables = TABLES + (PG_TABLES if postgresql else LITE_TABLES)

    def one(self, *of: str) -> str:
        return self.random.choice(of)

    def often(self, chance: float) -> bool:
        return self.random.random() < chance

    def space(self) -> str:
        return self.one("/* ' */", "-- '\n", "/* a */") if self.often(0.01) else self.one(" ", " ", "\n", "\t")

    def expression(self, depth: int) -> str:
        kind = self.random.randrange(12) if depth else 0
        inner = [self.expression(depth - 1) for _ in range(3)] if depth else []
        if kind < 5:
            return self.one(*self.expressions)
        if kind == 5:
            return f"({self.query(depth - 1)})"
        if kind == 6:
            return f"{inner[0]}{self.one(' = ', ' || ', '+', '-', ' IN ', ' LIKE ', '<=@-')}{inner[1]}"
        if kind == 7:
            return f"CASE WHEN {inner[0]} IS NULL THEN {inner[1]} ELSE {inner[2]} END"
        if kind == 8:
            return f"CAST({inner[0]} AS {self.one('text', 'int', 'numeric(5, 2)', 'dom')})"
        if kind == 9:
            return f"EXISTS ({self.query(depth - 1)})"
        name = self.one("coalesce", "abs", "max", "COUNT", "length", "nosuch", "charge", '"lower"', "Charge")
        return f"{name}{self.one('', '', self.space())}({inner[0]})"

    def table(self, depth: int) -> str:
        kind = self.random.randrange(9) if depth else 0
        if kind == 7:
            return f"({self.query(depth - 1)}) {self.one('q', 'AS q', 'AS charge')}"
        if kind == 8:
            join = self.one(" CROSS JOIN {}", " JOIN {} ON true", ", {}")
            return self.table(depth - 1) + join.format(self.table(depth - 1))
        return self.one(*self.tables)

    def query(self, depth: int) -> str:
        begin = ""
        if self.often(0.25) and depth:
            columns, how = self.one("", "(k)"), self.one("", "", "MATERIALIZED ", "NOT MATERIALIZED ")
            names = [self.one("cte", "charge", "log", "v") for _ in range(self.random.randint(1, 2))]
            heads = [f"{name}{columns}{self.space()}AS {how}({self.query(depth - 1)})" for name in names]
            begin = f"WITH {self.one('', 'RECURSIVE ')}{', '.join(heads)} "
        labels = ["", "", "", " AS x", " AS charge", ' AS "charge()"', " AS update"]
        columns = ", ".join(self.expression(depth) + self.one(*labels) for _ in range(self.random.randint(1, 2)))
        text = f"{begin}SELECT{self.space()}{self.one('', '', '', 'DISTINCT ON (1) ')}{columns}"
        if self.often(0.8):
            text += f"{self.space()}FROM{self.space()}{self.table(depth)}"
        if self.often(0.2):
            text += f" WHERE {self.expression(depth)} IS NOT NULL"
        if self.often(0.1):
            text += self.one(" LIMIT 1", " FOR UPDATE", " GROUP BY 1", " LIMIT charge()")
        return text if self.often(0.9) or not depth else f"{text} UNION ALL {self.query(depth - 1)}"


def examine(statements: Statements, known: Catalogue, execute: Callable[[str], int | None], many: int) -> list[int]:
    """How many of the statements that the database accepts were proved, and how many had an effect."""
    proved = effective = 0
    for _ in range(many):
        sql = statements.query(2)
        plain, effects = known.is_plain(sql), known.effects(sql)
        assert plain is not None
        assert effects is not None
        executed = execute(sql)
        if executed is not None:
            assert not (plain and executed), sql
            if executed and known.dialect.name == "postgresql":
                assert any(Effect.WRITES in effect for effect in effects.values()), sql
            proved, effective = proved + plain, effective + bool(executed)
    return [proved, effective]


@pytest.mark.parametrize("seed", range(2))
def test_promise_02_nothing_that_is_proved_has_an_effect_on_sqlite(seed: int) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    executed: list[Any] = []
    for name in ("charge", "log", "regexp"):
        connection.create_function(name, -1, lambda *args: executed.append(args) or 1)
    connection.executescript(
        "CREATE TABLE t (a, b, x); INSERT INTO t VALUES (1, 2, 3); CREATE VIEW v AS SELECT charge() AS x;"
        "CREATE TEMP VIEW tv AS SELECT charge() AS a; CREATE VIEW w AS SELECT * FROM v"
    )

    def execute(sql: str) -> int | None:
        executed.clear()
        rounds = iter(range(100))
        connection.set_progress_handler(lambda: next(rounds, None) is None, 1000)  # what is recursive has no end
        try:
            connection.execute(sql).fetchall()
        except sqlite3.Error:
            return len(executed) or None
        finally:
            connection.set_progress_handler(None, 0)
        return len(executed)

    known = Catalogue(sqlite.dialect(), lambda sql: connection.execute(sql).fetchall())
    proved, effective = examine(Statements(seed, postgresql=False), known, execute, 1500)
    assert min(proved, effective) > 30
    connection.close()


PG_HAZARDS = """
CREATE TABLE t (a int, b int, x int); INSERT INTO t VALUES (1, 2, 3);
CREATE SCHEMA s;
CREATE FUNCTION charge() RETURNS int LANGUAGE plpgsql VOLATILE AS
    $f$ BEGIN PERFORM set_config('my.hits', '1', false); RETURN 1; END $f$;
CREATE FUNCTION s.charge() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT charge()';
CREATE FUNCTION charge(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT charge()';
CREATE FUNCTION log(text) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT charge()';
CREATE FUNCTION rowf(t) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT charge()';
CREATE FUNCTION compares(int, int) RETURNS bool LANGUAGE sql VOLATILE AS 'SELECT charge() > 0';
CREATE OPERATOR <=@ (leftarg = int, rightarg = int, function = compares);
CREATE DOMAIN dom AS int CHECK (charge() > 0);
CREATE TYPE pair AS (d dom);
CREATE VIEW v AS SELECT charge() AS x;
CREATE VIEW s.w AS SELECT * FROM v;
CREATE TABLE guarded (a int); INSERT INTO guarded VALUES (1);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY who ON guarded USING (charge() > 0);
CREATE ROLE reader; GRANT ALL ON ALL TABLES IN SCHEMA public, s TO reader; GRANT USAGE ON SCHEMA s TO reader;
SET ROLE reader; SET statement_timeout = '2s';
"""


@pytest.mark.parametrize("seed", range(2))
def test_promise_02_nothing_that_is_proved_has_an_effect_on_postgresql(pg_url: str, seed: int) -> None:
    engine = sa.create_engine(pg_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        driver.execute(PG_HAZARDS)

        def execute(sql: str) -> int | None:
            driver.execute("SET my.hits = '0'")
            try:
                driver.execute(sql)
                failed = False
            except psycopg.Error:
                failed = True
            hits = int(driver.execute("SELECT current_setting('my.hits')").fetchone()[0])
            return hits or (None if failed else 0)

        known = Catalogue(engine.dialect, asking(driver))
        try:
            proved, effective = examine(Statements(seed, postgresql=True), known, execute, 1500)
        finally:
            driver.execute("RESET ROLE; DROP OWNED BY reader; DROP ROLE reader")
        assert min(proved, effective) > 30
    engine.dispose()
