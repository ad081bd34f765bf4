"""Signposts: what is looked for on a database, or with a block, by those who come from elsewhere, and what to write."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    _AsyncGeneratorContextManager,
    _GeneratorContextManager,
)
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

from sqlalchemy import Engine, orm

from respool.config import suggest
from respool.errors import ConfigError
from respool.whereabouts import caller

__all__ = [
    "AsyncOnly",
    "NoSuchName",
    "NotPicklable",
    "Signposts",
    "SyncOnly",
    "async_block",
    "block",
    "refuse_coroutine",
    "refuse_decorating",
    "require_coroutine",
]

P = ParamSpec("P")
T = TypeVar("T")

#: What Flask-SQLAlchemy has on its ``db``, and where it is.
_FLASK_SQLALCHEMY = {
    "Model": "a model is a class of a base of your own: class Base(DeclarativeBase): pass, from sqlalchemy.orm",
    "Base": "a model is a class of a base of your own: class Base(DeclarativeBase): pass, from sqlalchemy.orm",
    "metadata": "the tables are those of your models' base: Base.metadata",
    "create_all": "the tables are made by your models' base: {create_all}",
    "drop_all": "the tables are dropped by your models' base: {drop_all}",
    "reflect": "tables are reflected by SQLAlchemy's own: Base.metadata.reflect(engine)",
    "init_app": "install(app, db) of respool.web.<framework> does it; Respool(db) is the same as an extension of Flask's",
    "paginate": "write it as a statement: select(Model).limit(20).offset(40)",
    "get_or_404": "session.get(Model, key), and abort(404) where that is None",
    "first_or_404": "session.scalars(statement).first(), and abort(404) where that is None",
    "one_or_404": "session.scalars(statement).one_or_none(), and abort(404) where that is None",
    "engines": "each Database has one engine: db.engine; another database is another Database, with a name of its own",
    "get_engine": "it is an attribute: db.engine",
    "Query": "write select(Model), and session.scalars(…)",
    "relationship": "it is SQLAlchemy's: from sqlalchemy.orm import relationship",
    "backref": "it is SQLAlchemy's: from sqlalchemy.orm import backref",
}
#: What stands for the session in other libraries.
_SESSIONS = {
    **dict.fromkeys(
        ("Session", "sessionmaker", "session_maker", "session_factory", "scoped_session", "async_session"),
        "the session in force is db.session; outside of a request {block} makes one",
    ),
    **dict.fromkeys(
        ("get_session", "get_db", "get_async_session", "session_dependency", "provide_session"),
        "as a dependency: Depends(db.current_session), in FastAPI Depends(session_of(db))",
    ),
    **dict.fromkeys(
        ("session_scope", "transaction", "begin_session", "session_context"),
        "a session outside of a request: {block}; a unit of work in one: session.unit()",
    ),
    "remove": "it is the session's: {await_}db.session.remove()",
    "dispose": "db.close() closes the pool and all its connections: {await_}db.close()",
    "shutdown": "db.close() closes the pool and all its connections: {await_}db.close()",
    "disconnect": "db.close() closes the pool and all its connections: {await_}db.close()",
    "open": "nothing has to be opened: the pool connects when it is used; after close() there is db.reopen()",
    "url": "it is the engine's: db.engine.url",
    "middleware": "respool.web.<framework> has install(app, db), respool.web.asgi and wsgi RequestScopeMiddleware(app, db)",
    "install": "it is a function: from respool.web.<framework> import install, and install(app, db)",
}


#: What a database is used by.
_NAMES = (
    *("session", "current_session", "scope", "released", "run", "gather", "job", "observe", "engine", "pool"),
    *("scopes", "name", "close", "closed", "reopen", "from_env"),
)


class NoSuchName(ConfigError, AttributeError):
    """Also an ``AttributeError``, so that ``hasattr`` and ``getattr`` with a default are what they are."""


class NotPicklable(ConfigError, TypeError):
    """Also a ``TypeError``, as for whatever else cannot be pickled."""


class _NoBlock:
    """Stands for ``__enter__`` or ``__aenter__``: ``with`` gets a lesson, and ``hasattr`` and ``isinstance`` a no.

    So does whoever looks whether to write ``with`` or ``async with``, as containers of dependencies do.

    Args:
        tell: makes the lesson, of the object that is no such block.
    """

    def __init__(self, tell: Callable[[Any], NoSuchName]) -> None:
        self._tell = tell

    def __get__(self, instance: Any, owner: type[Any]) -> NoReturn:
        if instance is None:
            raise AttributeError
        raise self._tell(instance)


def _no_block(database: Any) -> NoSuchName:
    asynchronous = database.other_kind == "Database"
    return NoSuchName(
        f"{type(database).__name__} {database.name!r} is no block by itself, at {caller()}",
        advice=[
            f'a session: {"async with" if asynchronous else "with"} db.scope("job") as session',
            "a connection without a session: "
            + (
                "async with db.engine.connect() as connection"
                if asynchronous
                else "with db.engine.connect() as connection"
            ),
            f"its end is {'await ' if asynchronous else ''}db.close()",
        ],
        setting="with",
    )


class Signposts:
    """Of a database: a name that it has not, and a block that it is none of, are answered by what to write."""

    if not TYPE_CHECKING:  # type checkers have a better word for it: there is no such attribute

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            raise _no_such_name(self, name)

        def __reduce_ex__(self, protocol: object) -> NoReturn:
            raise NotPicklable(
                f"a {type(self).__name__} cannot be pickled or copied: its connections and its sessions are this process's",
                advice=[
                    "give the other process its URL, or have it import the module that makes it: each has a pool of its own",
                    "the same for a worker of ProcessPoolExecutor: in its initializer",
                ],
                setting="pickle",
            )

        __enter__ = __aenter__ = _NoBlock(_no_block)
        __exit__ = __aexit__ = None


def _no_such_name(database: Any, name: str) -> NoSuchName:
    kind = type(database).__name__
    where = _where(database, name)
    return NoSuchName(
        f"a {kind} has no {name!r}{'' if where else suggest(name, _NAMES)}",
        advice=[where] if where else [f"it has: {', '.join(_NAMES)}"],
        setting=name,
    )


def _where(database: Any, name: str) -> str | None:
    asynchronous = database.other_kind == "Database"
    words = {
        "block": f'{"async with" if asynchronous else "with"} db.scope("job") as session',
        "await_": "await " if asynchronous else "",
        **{
            each: f"async with db.engine.begin() as c: await c.run_sync(Base.metadata.{each})"
            if asynchronous
            else f"Base.metadata.{each}(db.engine)"
            for each in ("create_all", "drop_all")
        },
    }
    if (known := _FLASK_SQLALCHEMY.get(name) or _SESSIONS.get(name)) is not None:
        return known.format_map(words)
    if hasattr(orm.Session, name):
        return f"it is the session's: {words['await_'] if name not in _AT_ONCE else ''}db.session.{name}(…)"
    if hasattr(Engine, name):
        return f"it is the engine's: db.engine.{name}"
    for module in ("sqlalchemy", "sqlalchemy.orm"):
        if hasattr(__import__(module, fromlist=["_"]), name):
            return f"it is SQLAlchemy's: from {module} import {name}"
    return None


#: What an async session does without being awaited.
_AT_ONCE = ("add", "add_all", "expire", "expire_all", "expunge", "expunge_all", "is_modified", "begin", "begin_nested")


class SyncOnly:
    """A block of ``with``: ``async with`` and the use without a block are answered by how it is written."""

    __slots__ = ()

    if not TYPE_CHECKING:
        __aenter__ = _NoBlock(lambda _: _other_with("async with", "with: nothing is awaited there"))
        __aexit__ = None

        def __getattr__(self, name: str) -> Any:
            raise _not_entered(name, "with")


class AsyncOnly:
    """The same of ``async with``."""

    __slots__ = ()

    if not TYPE_CHECKING:
        __enter__ = _NoBlock(lambda _: _other_with("with", "async with: to enter and to leave it may wait"))
        __exit__ = None

        def __getattr__(self, name: str) -> Any:
            raise _not_entered(name, "async with")


class _Block(SyncOnly, _GeneratorContextManager[T, None, None]): ...


class _AsyncBlock(AsyncOnly, _AsyncGeneratorContextManager[T, None]): ...


def block(function: Callable[P, Iterator[T]]) -> Callable[P, AbstractContextManager[T]]:
    """``contextmanager``, whose blocks know the way."""

    @wraps(function)
    def make(*args: P.args, **keywords: P.kwargs) -> AbstractContextManager[T]:
        return _Block(function, args, keywords)  # type: ignore[arg-type]

    return make


def async_block(function: Callable[P, AsyncIterator[T]]) -> Callable[P, AbstractAsyncContextManager[T]]:
    """``asynccontextmanager``, whose blocks know the way."""

    @wraps(function)
    def make(*args: P.args, **keywords: P.kwargs) -> AbstractAsyncContextManager[T]:
        return _AsyncBlock(function, args, keywords)  # type: ignore[arg-type]

    return make


def _other_with(given: str, right: str) -> NoSuchName:
    return NoSuchName(
        f"{given} where {right.partition(':')[0]} is expected, at {caller()}",
        advice=[
            f"write {right}",
            "what is a block of a Database has with, of an AsyncDatabase async with; session.read_only() always with",
        ],
        setting="with",
    )


def _not_entered(name: str, right: str) -> AttributeError:
    if name.startswith("_"):
        return AttributeError(name)
    return NoSuchName(
        f"{name!r} was asked of a block that nobody has entered, at {caller()}",
        advice=[f'what the block gives may have it: {right} db.scope("job") as session: session.{name}'],
        setting=name,
    )


def refuse_decorating() -> NoReturn:
    """Refuse ``@db.scope("nightly")``.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(
        f"a scope was used as a decorator at {caller()}",
        advice=['for a scope at each call of a function: @db.job("nightly")'],
        setting="with",
    )


def refuse_coroutine(result: Any, function: Any, what: str) -> Any:
    """Refuse a coroutine where nobody awaits: none of its work would be done.

    Raises:
        ConfigError: it is one.
    """
    if hasattr(result, "__await__"):
        if hasattr(result, "close"):
            result.close()
        raise ConfigError(
            f"{what} of a Database was given the coroutine function {_name(function)}",
            advice=["make it a plain function: def", "or use an AsyncDatabase, which awaits it"],
            setting="function",
        )
    return result


def require_coroutine(result: Any, function: Any, what: str) -> Any:
    """Refuse what nobody can await.

    Raises:
        ConfigError: it is no awaitable.
    """
    if not hasattr(result, "__await__"):
        raise ConfigError(
            f"{what} of an AsyncDatabase was given {_name(function)}, which is no coroutine function",
            advice=["make it one: async def", "or use a Database, whose session needs no await"],
            setting="function",
        )
    return result


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
