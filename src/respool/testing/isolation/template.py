"""Databases that are made for tests: one for all tests of a process, or one for each, as a copy of a template."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, make_url

from respool.database.base import DatabaseBase
from respool.database.override.blocks import Override
from respool.database.override.engines import engine_for
from respool.engine.shared.home import Home
from respool.errors import ConfigError
from respool.testing.isolation.homes import home_of
from respool.testing.isolation.rollback import rolling_back

__all__ = ["DatabaseTemplate", "closed_at_home", "fresh_database"]

D = TypeVar("D", bound=DatabaseBase[Any])
Create = Callable[[Connection], object]

#: What the URL of an SQLite database says of that one, and not of its copies.
_OF_ONE_FILE = ("uri", "mode", "cache", "vfs", "immutable")


class DatabaseTemplate(Generic[D]):
    """A database with its tables, of which tests get copies. As a block, whose end removes it; it is made when needed.

    SQLite: files in a temporary folder. PostgreSQL: databases beside that of the URL, by ``CREATE DATABASE … TEMPLATE``;
    its user needs the right to do that. MySQL and MariaDB: databases in which ``create`` runs each time.

    Args:
        db: whose place the copies take.
        create: makes the tables, and whatever else all tests begin with: called with a (sync) ``Connection``, in a
            transaction that is committed: ``Base.metadata.create_all``.
        url: where, if not beside the database's own: a URL with the same driver.
    """

    def __init__(self, db: D, create: Create | None = None, *, url: str | URL | None = None) -> None:
        self.db = db
        self._create = create
        self._url = url
        self._open = ExitStack()
        self._maker: _Maker | None = None
        self._common: Any = None  #: the engine of the copy that is always rolled back

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._maker = self._common = None
        self._open.close()

    @contextmanager
    def rolled_back(self, *, patience: float = 5.0) -> Iterator[D]:
        """One copy for all such blocks in the database's place, and whatever is committed in one is gone after it.

        Args:
            patience: as for :func:`rolled_back`.

        Yields:
            the database.
        """
        if self._common is None:
            self._common = self._common_engine()
        with Override(self.db, self._common), rolling_back(self.db, patience, keep=True):
            yield self.db

    @contextmanager
    def fresh(self) -> Iterator[D]:
        """A database of its own in the database's place, for the length of a block.

        Yields:
            the database.
        """
        maker = self._made()
        with maker.copy() as url, _in_place_of(self.db, url) as db:
            yield db

    def _made(self) -> _Maker:
        if self._maker is None:
            engine: Engine = getattr(self.db.engine, "sync_engine", self.db.engine)
            home = self._open.enter_context(home_of(engine))
            url = engine.url if self._url is None else make_url(self._url)
            kind = _MAKERS.get(url.get_backend_name())
            if kind is None:
                raise ConfigError(
                    f"nobody knows how to make a database of {url.get_backend_name()}",
                    advice=["make it yourself, and use it: with db.override(url): …"],
                    setting="url",
                )
            maker = kind(url, home, self._create_in)
            self._maker = self._open.enter_context(maker)
        return self._maker

    def _common_engine(self) -> Any:
        url = self._open.enter_context(self._made().copy())
        engine = engine_for(self.db, url).engine
        self._open.enter_context(closed_at_home(engine))
        return self.db.face_of(engine)

    def _create_in(self, url: URL) -> None:
        """Make the tables, with the listeners that the database's engine has."""
        if self._create is None:
            return
        create = self._create
        with _in_place_of(self.db, url) as db:
            engine: Engine = getattr(db.engine, "sync_engine", db.engine)

            def run() -> None:
                with engine.begin() as connection:
                    create(connection)

            with home_of(engine) as home:
                home.run(run)
                home.run(engine.dispose)


def fresh_database(db: D, create: Create | None = None, *, url: str | URL | None = None) -> AbstractContextManager[D]:
    """A new database in the place of one, for the length of a block; it is removed at the end.

    Args:
        db, create, url: as for :class:`DatabaseTemplate`.

    Returns:
        a context manager that gives the database.
    """
    return _fresh(db, create, url)


@contextmanager
def _fresh(db: D, create: Create | None, url: str | URL | None) -> Iterator[D]:
    with DatabaseTemplate(db, create, url=url) as template, template.fresh() as found:
        yield found


@contextmanager
def _in_place_of(db: D, url: URL) -> Iterator[D]:
    """As ``db.override(url)``."""
    with Override(db, url), closed_at_home(getattr(db.engine, "sync_engine", db.engine)):
        yield db


@contextmanager
def closed_at_home(engine: Engine) -> Iterator[None]:
    """Close at the end of a block what an engine has open, and rests, in the loop of asynchronous connections, too."""
    try:
        yield
    finally:
        with home_of(engine) as home:
            home.run(engine.dispose)


# -- how a database is made ---------------------------------------------------------------------------------------------


class _Maker(AbstractContextManager["_Maker"]):
    """Makes databases of one kind.

    Args:
        url: beside which.
        home: where its connections work.
        create: makes the tables in a database.
    """

    def __init__(self, url: URL, home: Home, create: Callable[[URL], None]) -> None:
        self._url = url
        self._home = home
        self._create = create

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove what copies were made of."""

    def copy(self) -> AbstractContextManager[URL]:
        """A database with the tables, for the length of a block."""
        raise NotImplementedError


class _Files(_Maker):
    """SQLite."""

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="respool-test-"))
        self._template = self._folder / "template.db"
        try:
            self._create(self._at(self._template))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def copy(self) -> Iterator[URL]:
        file = self._folder / f"{uuid.uuid4().hex}.db"
        if self._template.exists():
            for suffix in ("", "-wal"):
                if (part := Path(f"{self._template}{suffix}")).exists():
                    shutil.copyfile(part, f"{file}{suffix}")
        try:
            yield self._at(file)
        finally:
            for suffix in ("", "-wal", "-shm", "-journal"):
                Path(f"{file}{suffix}").unlink(missing_ok=True)

    def _at(self, file: Path) -> URL:
        query = {name: value for name, value in self._url.query.items() if name not in _OF_ONE_FILE}
        return self._url.set(database=file.as_posix(), query=query)


class _Server(_Maker):
    """A server, where a database is made by a statement."""

    def __enter__(self) -> Self:
        return self

    @contextmanager
    def copy(self) -> Iterator[URL]:
        name = _new_name()
        self._make(name)
        try:
            self._create(self._url.set(database=name))
            yield self._url.set(database=name)
        finally:
            self._remove(name)

    def _make(self, name: str) -> None:
        self._administer(f"CREATE DATABASE {name}")

    def _remove(self, name: str) -> None:
        self._administer(f"DROP DATABASE IF EXISTS {name}")

    def _administer(self, statement: str) -> None:
        self._home.run(_execute, self._url, statement)


class _PostgreSQL(_Server):
    """PostgreSQL, which copies a database by itself."""

    def __enter__(self) -> Self:
        self._template = _new_name()
        self._make_of("template1", self._template)
        try:
            self._create(self._url.set(database=self._template))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._remove(self._template)

    @contextmanager
    def copy(self) -> Iterator[URL]:
        name = _new_name()
        self._make_of(self._template, name)
        try:
            yield self._url.set(database=name)
        finally:
            self._remove(name)

    def _make_of(self, template: str, name: str) -> None:
        self._administer(f"CREATE DATABASE {name} TEMPLATE {template}")

    def _remove(self, name: str) -> None:
        self._administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _administer(self, statement: str) -> None:
        self._home.run(_execute, self._url.set(database="postgres"), statement)


_MAKERS: dict[str, type[_Maker]] = {"sqlite": _Files, "postgresql": _PostgreSQL, "mysql": _Server, "mariadb": _Server}


def _new_name() -> str:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    return f"respool_test_{worker}_{uuid.uuid4().hex[:12]}"


def _execute(url: URL, statement: str) -> None:
    """Execute one statement outside of all transactions."""
    if url.get_dialect().is_async:
        from sqlalchemy.ext.asyncio import create_async_engine

        engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").sync_engine
    else:
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
