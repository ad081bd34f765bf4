"""Row-level security by a setting: whoever sets it, and wherever, the rows are those of the tenant, read by read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event, orm

from tests.leases.stand import POSTGRES, Note, Side, Stand, Ware, names

_POLICY = """
DO $$ BEGIN CREATE ROLE clerk LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT ALL ON SCHEMA public TO clerk;
GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO clerk;
ALTER TABLE wares ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON wares USING (tenant = current_setting('app.tenant', true));
"""


class Here:
    """The tenant of the request that is being answered, as a context variable would have it."""

    tenant: str | None = None


def by_sql(conn: sa.Connection, statement: str) -> None:
    conn.exec_driver_sql(statement)


def by_text(conn: sa.Connection, statement: str) -> None:
    conn.execute(sa.text(statement))


def on_a_cursor(conn: sa.Connection, statement: str) -> None:
    cursor = conn.connection.cursor()
    cursor.execute(statement)
    cursor.close()


def by_function(conn: sa.Connection, statement: str) -> None:
    name, value = statement.removeprefix("SET LOCAL ").split(" = ")
    conn.execute(sa.select(sa.func.set_config(name, value.strip("'"), True)))


Say = Callable[[sa.Connection, str], None]
WAYS: list[Say] = [by_sql, by_text, on_a_cursor, by_function]


def told_before(event_name: str, here: Here, target: Any, say: Say) -> None:
    """Have the tenant set at an event of an engine; what the listener itself says is not listened to."""
    saying: list[bool] = []

    def tell(conn: sa.Connection, *args: Any) -> None:
        if here.tenant is not None and not saying:
            saying.append(True)
            try:
                say(conn, f"SET LOCAL app.tenant = '{here.tenant}'")
            finally:
                saying.pop()

    event.listen(target, event_name, tell)


def requests(side: Side, here: Here, at_session: Callable[[orm.Session], None] = lambda session: None) -> list[Any]:
    """Two tenants' requests, one of nobody's, and one that writes; what each has seen."""
    seen: list[Any] = []
    for here.tenant in ("a", "b", None, "a"):
        with side.request() as session:
            at_session(session)
            ware = session.scalars(sa.select(Ware)).first()
            seen.append((here.tenant, names(session), ware and [part.name for part in ware.parts]))
    here.tenant = "b"
    with side.request() as session:
        at_session(session)
        for ware in session.scalars(sa.select(Ware)):
            ware.stock += 1
        session.commit()
        seen.append(names(session))
    return [*seen, side.stand.elsewhere("SELECT stock FROM wares ORDER BY id")]


RIGHT = [
    ("a", ["tea"], ["leaf"]),
    ("b", ["rum"], ["cask"]),
    (None, [], None),
    ("a", ["tea"], ["leaf"]),
    ["rum"],
    [5, 8],
]


def tenants_rows(stand: Stand, listen: Callable[[Side, Here], Any]) -> Any:
    """What both sides see of a table whose rows belong to tenants."""

    def program(side: Side) -> Any:
        stand.elsewhere(_POLICY)
        here = Here()
        return requests(side, here, listen(side, here) or (lambda session: None))

    return stand.same(program, url=stand.url.set(username="clerk"))


@pytest.mark.on(*POSTGRES)
@pytest.mark.parametrize("way", WAYS)
def test_set_before_each_statement(stand: Stand, way: Say) -> None:
    assert tenants_rows(stand, lambda side, here: told_before("before_cursor_execute", here, side.engine, way)) == RIGHT


@pytest.mark.on("psycopg", "asyncpg")
@pytest.mark.parametrize("way", [by_sql, on_a_cursor])
@pytest.mark.parametrize("when", ["before_execute", "begin"])
def test_set_before_it_is_compiled_or_at_the_beginning(stand: Stand, when: str, way: Say) -> None:
    assert tenants_rows(stand, lambda side, here: told_before(when, here, side.engine, way)) == RIGHT


@pytest.mark.on("psycopg", "asyncpg")
def test_set_on_the_cursor_that_the_statement_will_run_on(stand: Stand) -> None:
    def listen(side: Side, here: Here) -> None:
        @event.listens_for(side.engine, "before_cursor_execute")
        def tell(conn: Any, cursor: Any, *args: Any) -> None:
            if here.tenant is not None:
                cursor.execute(f"SET LOCAL app.tenant = '{here.tenant}'")

    assert tenants_rows(stand, listen) == RIGHT


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")
@pytest.mark.parametrize("when", ["engine_connect", "after_begin", "do_orm_execute"])
def test_set_when_a_session_or_connection_comes_to_work(stand: Stand, when: str) -> None:
    def listen(side: Side, here: Here) -> Any:
        def tell(conn: sa.Connection, say: Say = by_sql) -> None:
            if here.tenant is not None:
                say(conn, f"SET LOCAL app.tenant = '{here.tenant}'")

        def of_session(session: orm.Session) -> None:
            if when == "after_begin":
                event.listen(session, when, lambda session, transaction, conn: tell(conn))
            elif when == "do_orm_execute":
                event.listen(session, when, lambda state: tell(state.session.connection()))

        if when == "engine_connect":
            event.listen(side.engine, when, lambda conn: tell(conn, on_a_cursor))
        return of_session

    assert tenants_rows(stand, listen)[:4] == RIGHT[:4]


def in_order(dbapi_connection: Any, statement: str) -> None:
    cursor = dbapi_connection.cursor()
    cursor.execute(statement)
    cursor.close()


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")
@pytest.mark.parametrize("word", ["SET LOCAL", "SET"])
def test_set_at_the_checkout_where_there_is_a_tenant(stand: Stand, word: str) -> None:
    """The ROLLBACK of the give-back takes also a plain SET away: it does not leak to the request that comes next."""

    def program(side: Side) -> Any:
        stand.elsewhere(_POLICY)
        here, seen = Here(), []

        @event.listens_for(side.engine, "checkout")
        def tell(dbapi_connection: Any, record: Any, proxy: Any) -> None:
            if here.tenant is not None:
                in_order(dbapi_connection, f"{word} app.tenant = '{here.tenant}'")

        for here.tenant in ("a", None, "b", None):
            with side.request() as session:
                seen.append((names(session), names(session)))
        return seen

    url = stand.url.set(username="clerk")
    assert stand.same(program, url=url, size=1) == [(["tea"],) * 2, ([], []), (["rum"],) * 2, ([], [])]


@pytest.mark.on("psycopg", "asyncpg")
def test_a_role_for_each_transaction(stand: Stand) -> None:
    """``SET LOCAL ROLE``: whose superuser's rights end with the transaction that gave them up."""

    def program(side: Side) -> Any:
        stand.elsewhere(_POLICY + "CREATE POLICY of_clerks ON wares TO clerk USING (name = 'rum')")
        saying: list[bool] = []

        @event.listens_for(side.engine, "before_cursor_execute")
        def tell(conn: sa.Connection, *args: Any) -> None:
            if not saying:
                saying.append(True)
                conn.exec_driver_sql("SET LOCAL ROLE clerk")
                saying.pop()

        with side.request() as session:
            seen = [names(session), names(session)]
        event.remove(side.engine, "before_cursor_execute", tell)
        with side.request() as session:
            return [*seen, names(session)]

    assert stand.same(program) == [["rum"], ["rum"], ["tea", "rum"]]


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")
def test_set_at_the_first_statement_of_a_connection_object(stand: Stand) -> None:
    """SQLAlchemy's session has one for each transaction: what is keyed by it is said once, and holds for all of it."""

    def listen(side: Side, here: Here) -> None:
        told: list[sa.Connection] = []

        @event.listens_for(side.engine, "before_cursor_execute")
        def tell(conn: sa.Connection, *args: Any) -> None:
            if here.tenant is not None and not any(conn is each for each in told):
                told.append(conn)
                conn.exec_driver_sql(f"SET LOCAL app.tenant = '{here.tenant}'")

    assert tenants_rows(stand, listen)[:4] == RIGHT[:4]


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")
def test_set_once_and_noted_in_conn_info_until_the_checkin(stand: Stand) -> None:
    def listen(side: Side, here: Here) -> None:
        @event.listens_for(side.engine, "before_cursor_execute")
        def tell(conn: sa.Connection, *args: Any) -> None:
            if conn.info.get("tenant") != here.tenant:
                conn.info["tenant"] = here.tenant
                conn.exec_driver_sql(f"SET LOCAL app.tenant = '{here.tenant}'")

        @event.listens_for(side.engine, "checkin")
        def forget(dbapi_connection: Any, record: Any) -> None:
            record.info.pop("tenant", None)

    assert tenants_rows(stand, listen)[:4] == RIGHT[:4]


@pytest.mark.on("psycopg", "asyncpg")
def test_set_by_a_listener_that_changes_the_statement(stand: Stand) -> None:
    """``retval=True``: what is sent is not what was proved to be a plain read."""

    def program(side: Side) -> Any:
        here, seen = Here(), []

        @event.listens_for(side.engine, "before_cursor_execute", retval=True)
        def tell(conn: Any, cursor: Any, statement: str, parameters: Any, *args: Any) -> Any:
            if "wares" in statement:
                setting = f"SELECT set_config('app.tenant', '{here.tenant}', true)"
                statement = statement.replace("FROM wares", f"FROM wares CROSS JOIN ({setting}) AS setting")
            return statement, parameters

        for here.tenant in ("a", "b"):
            with side.request() as session:
                names(session)
                seen.append(session.scalar(sa.select(sa.func.current_setting("app.tenant", True))))
        return seen

    assert stand.same(program) == ["a", "b"]


@pytest.mark.on("psycopg", "psycopg2", "asyncpg")
def test_set_by_a_listener_that_executes_in_the_drivers_place(stand: Stand) -> None:
    def listen(side: Side, here: Here) -> None:
        @event.listens_for(side.engine, "do_execute")
        def tell(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
            if here.tenant is not None:
                cursor.execute(f"SET LOCAL app.tenant = '{here.tenant}'")

    assert tenants_rows(stand, listen)[:4] == RIGHT[:4]


@pytest.mark.on("psycopg", "asyncpg")
def test_what_a_tenants_request_writes_after_its_reads_is_the_tenants(stand: Stand) -> None:
    """A default of a column that reads the setting: stamped by the database, in the transaction of the write."""

    def program(side: Side) -> Any:
        stand.elsewhere(_POLICY + "ALTER TABLE notes ALTER text SET DEFAULT current_setting('app.tenant', true)")
        here = Here()
        told_before("before_cursor_execute", here, side.engine, by_sql)
        for here.tenant in ("a", "b"):
            with side.request() as session:
                names(session)
                session.execute(sa.insert(Note).values(id=1 if here.tenant == "a" else 2))
                session.commit()
        return stand.notes()

    assert stand.same(program, url=stand.url.set(username="clerk")) == ["a", "b"]
