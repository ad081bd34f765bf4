"""What goes wrong in the middle of a planned read: it is told as SQLAlchemy tells it, and nothing stays out of the pool."""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import threading
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import create_engine, event, orm, select, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from respool import Database, PoolConfig
from respool.errors import ConcurrentUse, PoolTimeout
from respool.session.loading import running
from respool.session.loading.plans import plan
from tests.loading.arenas import NAMES
from tests.loading.shelf import Author, Book, both, fill, listened, opened, raised
from tests.support.mariadb import MariaServer
from tests.support.postgres import PostgresServer

ONE = PoolConfig(max_size=1, timeout=5.0, check_after=None)


@pytest.fixture
def url(sqlite_file: str) -> str:
    return fill(f"sqlite:///{sqlite_file}")


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that were executed on connections lent for them."""
    plain, went = running._lent, []

    def counting(session: Any, life: Any, plans: Any, plan: Any, *more: Any) -> Any:
        went.append(plan.compiled.string)
        return plain(session, life, plans, plan, *more)

    monkeypatch.setattr(running, "_lent", counting)
    return went


def read(database: Database, key: int = 1) -> Any:
    with database.scope("read") as session:
        book = session.get(Book, key)
        return book and book.title


def aside(database: Database, sql: str) -> None:
    """Done by somebody else."""
    engine = create_engine(database.engine.url)
    with engine.begin() as connection:
        connection.execute(text(sql))
    engine.dispose()


def test_a_connection_that_died_at_rest_is_replaced(
    pg_url: str,
    postgres: PostgresServer,
    planned: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("respool.engine.pools.fair.REST", math.inf)  # else it is found before
    caplog.set_level(logging.INFO, "sqlalchemy.pool")
    fill(pg_url)
    with opened(pg_url, pool=ONE) as database:
        database.pool._monitor.look_at_idle(False)
        read(database)
        assert len(planned) == 1
        postgres.terminate_backends(pg_url.rpartition("/")[2])
        assert read(database, 2) == "book 2"
        assert database.pool.stats().acquired == 0
        assert "was dead when it was taken; replaced" in caplog.text


def test_a_server_that_is_gone_is_told(pg_url: str, postgres: PostgresServer) -> None:
    def program(database: Database) -> Any:
        read(database)
        postgres.stop("immediate")
        try:
            kind, *_ = raised(lambda: read(database, 2))
        finally:
            postgres.start()
        return kind.__mro__[-3:], database.pool.stats().acquired

    both(pg_url, program, pool=PoolConfig(max_size=1, timeout=0.5, check_after=None))


def test_ddl_between_two_reads(url: str, pg_url: str) -> None:
    def program(database: Database) -> Any:
        read(database)
        aside(database, "ALTER TABLE books RENAME COLUMN title TO name")
        failed = raised(lambda: read(database, 2))
        aside(database, "ALTER TABLE books RENAME COLUMN name TO title")
        return failed, read(database, 2), database.pool.stats().acquired

    for where in (url, pg_url):
        failed, after, acquired = both(where, program)
        assert issubclass(failed[0], OperationalError | ProgrammingError)
        assert (after, acquired) == ("book 2", 0)


def test_who_hears_of_errors_hears_the_same(url: str) -> None:
    def program(database: Database) -> Any:
        heard: list[Any] = []

        def listen(context: Any) -> None:
            execution = context.execution_context
            assert execution is not None
            heard.append(
                (
                    *(context.statement, context.parameters, context.is_disconnect, type(context.original_exception)),
                    *(execution.statement, execution.parameters, str(execution.invoked_statement)),
                    *(execution.cursor.description, context.connection.in_transaction()),
                )
            )

        event.listen(database.engine, "handle_error", listen)
        aside(database, "DROP TABLE books")
        return raised(lambda: read(database, 2)), heard

    failed, heard = both(url, program)
    assert failed[0] is OperationalError
    assert len(heard) == 1


def test_a_statement_that_takes_too_long(pg_url: str, planned: list[str]) -> None:
    def program(database: Database) -> Any:
        read(database)
        with psycopg.connect(pg_url.replace("+psycopg", "")) as other:
            other.execute("LOCK TABLE books IN ACCESS EXCLUSIVE MODE")
            failed = raised(lambda: read(database, 2))
        return failed, read(database, 2), database.pool.stats().total

    failed, after, total = both(
        pg_url, program, engine_options={"connect_args": {"options": "-c statement_timeout=200"}}, pool=ONE
    )
    assert issubclass(failed[0], DBAPIError)
    assert (after, total) == ("book 2", 1)


def test_an_exhausted_pool(url: str, planned: list[str]) -> None:
    with opened(url, pool=PoolConfig(max_size=1, timeout=0.05, check_after=None)) as database:
        connection = database.engine.connect()
        with pytest.raises(PoolTimeout):
            read(database)
        connection.close()
        assert read(database) == "book 1"
        assert database.pool.stats().acquired == 0


def test_a_second_thread_is_refused(url: str) -> None:
    with opened(url, pool=ONE) as database, database.scope("read") as session:
        inside, go_on = threading.Event(), threading.Event()
        session.get(Book, 1)

        class Slow(list[Any]):
            def __iter__(self) -> Any:
                inside.set()
                go_on.wait(5)
                return super().__iter__()

        plain = database.engine.pool._do_get  # type: ignore[attr-defined]

        def slow(claim: Any) -> Any:
            inside.set()
            go_on.wait(5)
            return plain(claim)

        database.engine.pool._do_get = slow  # type: ignore[attr-defined]
        found: list[Any] = []
        import contextvars

        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(lambda: found.append(session.get(Book, 2)),)
        )
        thread.start()
        inside.wait(5)
        with pytest.raises(ConcurrentUse):
            session.get(Book, 3)
        go_on.set()
        thread.join()
        assert found[0].title == "book 2"


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("moment", ["cursor", "execute", "fetchall"])
def test_an_exception_from_outside(url: str, moment: str, lost: bool, lent: list[str]) -> None:
    """Ctrl-C in the middle of it: the connection is nobody's any more, and the next read has one.

    The driver may have closed the connection by then, which gives no other cursor.
    """
    armed: list[str] = []

    def passes(name: str, connection: sqlite3.Connection) -> None:
        if name in armed:
            armed.clear()
            if lost:
                connection.close()
            raise KeyboardInterrupt

    class Cursor(sqlite3.Cursor):
        def execute(self, *arguments: Any) -> Any:
            passes("execute", self.connection)
            return super().execute(*arguments)

        def fetchall(self) -> Any:
            passes("fetchall", self.connection)
            return super().fetchall()

    class Connection(sqlite3.Connection):
        def cursor(self, *arguments: Any) -> Any:
            passes("cursor", self)
            return super().cursor(Cursor)

    with opened(url, pool=ONE, engine_options={"connect_args": {"factory": Connection}}) as database:
        read(database)
        assert len(lent) == 1
        armed.append(moment)
        with pytest.raises(KeyboardInterrupt):
            read(database, 2)
        assert armed == []
        assert database.pool.stats().acquired == 0
        assert read(database, 2) == "book 2"
        assert len(lent) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_the_plans_and_not_the_connection(pg_url: str) -> None:
    fill(pg_url)
    with opened(pg_url, pool=ONE) as database:
        assert read(database) == "book 1"
        child = os.fork()
        if not child:
            try:
                os._exit(0 if read(database, 2) == "book 2" else 1)
            except BaseException:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert read(database, 3) == "book 3"


def test_a_bind_processor_that_refuses(url: str) -> None:
    def program(database: Database) -> Any:
        with database.scope("read") as session:
            session.get(Author, 1)
            return raised(lambda: session.get(Author, 2**80)), raised(lambda: session.get(Author, "no number"))

    both(url, program)


def test_a_time_limit_that_is_reached_while_values_are_made(url: str, lent: list[str]) -> None:
    class Limited(sa.TypeDecorator[int]):
        impl = sa.Integer
        cache_ok = True

        def process_bind_param(self, value: Any, dialect: Any) -> Any:
            if reached:
                raise reached.pop()
            return value

    class Base(orm.DeclarativeBase):
        pass

    class Limits(Base):
        __tablename__ = "books"
        id: orm.Mapped[int] = orm.mapped_column(Limited, primary_key=True)

    reached: list[Exception] = []
    with opened(url) as database, database.scope("read") as session:
        session.get(Limits, 1)
        session.get(Limits, 2)
        lent.clear()
        reached.append(TimeoutError("soft time limit"))
        with pytest.raises(TimeoutError, match="soft time limit"):
            session.get(Limits, 3)
        assert lent == []
        assert session.get_one(Limits, 3).id == 3


def test_a_time_limit_that_is_reached_while_a_plan_is_made(
    url: str, monkeypatch: pytest.MonkeyPatch, lent: list[str]
) -> None:
    """It is no fault of the statement: it goes on, and the next read learns the plan."""

    class Base(orm.DeclarativeBase):
        pass

    class Read(Base):
        __tablename__ = "books"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)

    reached: list[Exception] = []
    makes = plan.call_of

    def limited(*args: Any) -> Any:
        if reached:
            raise reached.pop()
        return makes(*args)

    monkeypatch.setattr(plan, "call_of", limited)
    with opened(url) as database, database.scope("read") as session:
        reached.append(TimeoutError("soft time limit"))
        with pytest.raises(TimeoutError, match="soft time limit"):
            session.get(Read, 1)
        assert database.pool.stats().acquired == 0
        session.expunge_all()
        assert session.get_one(Read, 1).id == 1
        lent.clear()
        assert session.get_one(Read, 2).id == 2
        assert len(lent) == 1


def test_a_time_limit_that_is_reached_while_a_loader_is_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same one floor below, where a loader that refuses is no fault."""
    reached: list[Exception] = []
    asks: Any = orm.RelationshipProperty.create_row_processor

    def limited(prop: Any, context: Any, entity: Any, path: Any, mapper: Any, result: Any, *more: Any) -> Any:
        if reached and result is None:  # of a plan that is being made: SQLAlchemy has one
            raise reached.pop()
        return asks(prop, context, entity, path, mapper, result, *more)

    monkeypatch.setattr(orm.RelationshipProperty, "create_row_processor", limited)
    statement = select(Author).options(orm.selectinload(Author.books))
    with opened(url) as database, database.scope("read") as session:
        reached.append(TimeoutError("soft time limit"))
        with pytest.raises(TimeoutError, match="soft time limit"):
            session.scalars(statement).all()
        assert (reached, database.pool.stats().acquired) == ([], 0)
        assert session.scalars(statement).first() is not None


@pytest.mark.parametrize("name", ["before_execute", "checkout", "do_orm_execute", "loaded_as_persistent", "load"])
def test_a_listener_after_a_thousand_reads(url: str, name: str, planned: list[str]) -> None:
    with opened(url, pool=ONE) as database:
        for _ in range(1000):
            read(database)
        assert len(planned) == 1000
        with listened(database.engine, name) as heard:
            assert read(database, 2) == "book 2"
        assert heard == [name]


def test_threads_that_learn_at_the_same_time(url: str) -> None:
    wrong: list[Any] = []
    ready = threading.Barrier(4)

    def reader(database: Database) -> None:
        ready.wait()
        try:
            for n in range(200):
                key = n % 10 + 1
                with database.scope("read") as session:
                    book = session.get(Book, key)
                    found = session.scalars(select(Book).where(Book.id == key).limit(1 + n % 3)).one()
                    assert found is book
                    assert (found.title, found.author and found.author.name) == (f"book {key}", f"author {key % 2 + 1}")
        except BaseException as error:
            wrong.append(error)

    database = Database(url, plans=True, pool=PoolConfig(max_size=4, check_after=None))  # nothing is learned yet
    threads = [threading.Thread(target=reader, args=[database]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert database.pool.stats().acquired == 0
    database.close()


@pytest.mark.parametrize("driver", ["pymysql", "mysqldb"])
def test_a_connection_of_mariadb_that_died_at_rest(
    mariadb: MariaServer, driver: str, planned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(NAMES.get(driver, driver))
    monkeypatch.setattr("respool.engine.pools.fair.REST", math.inf)  # else it is found before
    name = f"died_{driver}"
    mariadb.create_database(name)
    with opened(fill(mariadb.url(driver, name)), pool=ONE) as database:
        database.pool._monitor.look_at_idle(False)
        read(database)
        assert len(planned) == 1
        mariadb.terminate_backends(name)
        assert read(database, 2) == "book 2"
        assert database.pool.stats().acquired == 0
    mariadb.drop_database(name)
