"""The tables that programs work on, and what PostgreSQL has beside them: views, sequences, functions with effects."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

__all__ = ["MARIADB", "MODELS", "POSTGRESQL", "ROWS", "SQLITE", "TABLES", "Audit", "Gauge", "Part", "Widget"]


class Base(DeclarativeBase):
    pass


class Widget(Base):
    __tablename__ = "widgets"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    size: Mapped[int] = mapped_column(default=0)
    tenant: Mapped[int] = mapped_column(default=1)
    parts: Mapped[list[Part]] = relationship(back_populates="widget", order_by="Part.id")


class Part(Base):
    """Has a version: a change by somebody else is noticed at a flush. That its widget is there is checked at COMMIT."""

    __tablename__ = "parts"

    id: Mapped[int] = mapped_column(primary_key=True)
    widget_id: Mapped[int | None] = mapped_column(ForeignKey("widgets.id"))
    name: Mapped[str]
    version: Mapped[int] = mapped_column()
    widget: Mapped[Widget | None] = relationship(back_populates="parts")

    __mapper_args__ = {"version_id_col": version}


class Gauge(Base):
    """A second client changes the type of its column."""

    __tablename__ = "gauges"

    id: Mapped[int] = mapped_column(primary_key=True)
    level: Mapped[int]


class Audit(Base):
    """What functions and listeners write into."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    note: Mapped[str]


MODELS: dict[str, type[Base]] = {"Widget": Widget, "Part": Part, "Gauge": Gauge}

#: Each table with its columns, as they are compared.
TABLES = {
    "widgets": "id, name, size, tenant",
    "parts": "id, widget_id, name, version",
    "gauges": "id, level",
    "audit": "id, note",
}

#: What is in the tables when a program begins.
ROWS = """
INSERT INTO widgets (id, name, size, tenant) VALUES
    (1, 'one', 10, 1), (2, 'two', 20, 1), (3, 'three', 30, 2), (4, 'four', 40, 2);
INSERT INTO parts (id, widget_id, name, version) VALUES (1, 1, 'bolt', 1), (2, 1, 'nut', 1), (3, 2, 'gear', 1);
INSERT INTO gauges (id, level) VALUES (1, 5);
"""

SQLITE = """
CREATE TABLE widgets (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, size INTEGER, tenant INTEGER);
CREATE TABLE parts (
    id INTEGER PRIMARY KEY, widget_id INTEGER REFERENCES widgets (id) DEFERRABLE INITIALLY DEFERRED, name TEXT,
    version INTEGER);
CREATE TABLE gauges (id INTEGER PRIMARY KEY, level INTEGER);
CREATE TABLE audit (id INTEGER PRIMARY KEY, note TEXT);
CREATE VIEW visible AS SELECT id, name FROM widgets WHERE tenant = 1;
"""

MARIADB = """
CREATE TABLE widgets (id INTEGER PRIMARY KEY AUTO_INCREMENT, name VARCHAR(40) NOT NULL UNIQUE, size INTEGER, tenant INTEGER);
CREATE TABLE parts (
    id INTEGER PRIMARY KEY AUTO_INCREMENT, widget_id INTEGER, name VARCHAR(40), version INTEGER,
    FOREIGN KEY (widget_id) REFERENCES widgets (id));
CREATE TABLE gauges (id INTEGER PRIMARY KEY AUTO_INCREMENT, level INTEGER);
CREATE TABLE audit (id INTEGER PRIMARY KEY AUTO_INCREMENT, note VARCHAR(40));
CREATE FUNCTION tenant() RETURNS INTEGER NOT DETERMINISTIC RETURN COALESCE(@tenant, 1);
CREATE VIEW visible AS SELECT id, name FROM widgets WHERE tenant = tenant();
CREATE FUNCTION note(what VARCHAR(40)) RETURNS INTEGER MODIFIES SQL DATA BEGIN
    INSERT INTO audit (note) VALUES (what); RETURN 1; END;
"""

POSTGRESQL = (
    """
CREATE TABLE widgets (id serial PRIMARY KEY, name text NOT NULL UNIQUE, size integer, tenant integer);
CREATE TABLE parts (
    id serial PRIMARY KEY, widget_id integer REFERENCES widgets (id) DEFERRABLE INITIALLY DEFERRED, name text,
    version integer);
CREATE TABLE gauges (id serial PRIMARY KEY, level integer);
CREATE TABLE audit (id serial PRIMARY KEY, note text);
CREATE SEQUENCE tickets;
CREATE VIEW visible AS SELECT id, name FROM widgets
    WHERE tenant = coalesce(nullif(current_setting('app.tenant', true), ''), '1')::integer;

CREATE FUNCTION note(what text) RETURNS integer LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO audit (note) VALUES (what); RETURN 1; END $$;
CREATE FUNCTION log(what text) RETURNS integer LANGUAGE sql AS $$ SELECT note('log: ' || what) $$;
CREATE FUNCTION count_up() RETURNS integer LANGUAGE sql AS $$ SELECT note('counted') $$;
CREATE FUNCTION seen(widgets) RETURNS integer LANGUAGE sql AS $$ SELECT note('seen ' || $1.id) $$;
CREATE FUNCTION doubled(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT $1 * 2 $$;
CREATE FUNCTION how_many() RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT count(*) FROM widgets $$;
CREATE FUNCTION noted(integer, integer) RETURNS boolean LANGUAGE sql AS $$ SELECT note('compared') = 1 $$;
CREATE OPERATOR <=@ (LEFTARG = integer, RIGHTARG = integer, FUNCTION = noted);

CREATE FUNCTION snapshot() RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(E'\\n',
"""
    + "".join(
        f"        (SELECT '{table}: ' || coalesce(json_agg(json_build_array({columns}) ORDER BY id)::text, '[]')"
        f" FROM {table}),\n"
        for table, columns in TABLES.items()
    )
    + """
        (SELECT 'sequences: ' || json_agg(coalesce(last_value, 0) ORDER BY sequencename) FROM pg_sequences),
        (SELECT 'type of gauges: ' || atttypid::regtype FROM pg_attribute
            WHERE attrelid = 'gauges'::regclass AND attname = 'level'),
        'made: ' || to_regclass('made')) $$;

CREATE PROCEDURE restore() LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM parts; DELETE FROM widgets; DELETE FROM gauges; DELETE FROM audit;
        DROP TABLE IF EXISTS made;
        IF pg_typeof((SELECT level FROM gauges LIMIT 1))::text <> 'integer' THEN
            ALTER TABLE gauges ALTER COLUMN level TYPE integer;
        END IF;
        PERFORM setval('widgets_id_seq', 100), setval('parts_id_seq', 100), setval('gauges_id_seq', 100),
            setval('audit_id_seq', 1, false), setval('tickets', 1, false);
"""
    + ROWS
    + "    END $$;\n"
)
