"""What an ``install`` is given, an application and databases, and what to write where it is something else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, NamedTuple

from respool.database.base import DatabaseBase
from respool.database.database import AsyncDatabase
from respool.errors import ConfigError

__all__ = ["Words", "check_application", "check_databases", "two_of_one_name"]


class Words(NamedTuple):
    """How it is said what databases are asked for."""

    by: str  #: what asks for them
    none: str  #: there is none
    name_them: list[str]  #: how to name some
    sync_only: str  #: where no coroutine runs, behind ``by``
    instead: str  #: what to do about that


def check_databases(databases: Sequence[Any], words: Words, *, asynchronous: bool) -> tuple[DatabaseBase[Any], ...]:
    """The databases that were given, if they can serve.

    Args:
        databases: what was given.
        words: for the refusals.
        asynchronous: whether coroutines run there.

    Raises:
        ConfigError: there is none, one is not a database, is given twice, or needs asyncio where there is none.
    """
    if not databases:
        raise ConfigError(words.none, advice=words.name_them, setting="databases")
    seen: dict[str, Any] = {}
    for database in databases:
        if isinstance(database, AsyncDatabase) and not asynchronous:
            raise ConfigError(
                f"{words.by}{words.sync_only} got the AsyncDatabase {database.name!r}",
                advice=[words.instead],
                setting="databases",
            )
        if not isinstance(database, DatabaseBase):
            raise ConfigError(
                f"{words.by} got {type(database).__name__} where a database is expected",
                advice=["give it what Database(url) or AsyncDatabase(url) made", *words.name_them],
                setting="databases",
            )
        if database in seen.values():
            raise ConfigError(
                f"{words.by} got the same database twice: {database.name!r}",
                advice=["name each once"],
                setting="databases",
            )
        if database.name in seen:
            raise two_of_one_name(f"{words.by} got both", database.name)
        seen[database.name] = database
    return tuple(databases)


def two_of_one_name(told: str, name: str) -> ConfigError:
    """The error of two databases that errors and pages could not tell apart."""
    return ConfigError(
        f"two databases of one name in an application, {name!r}: {told}",
        advice=['give each a name of its own: Database(url, name="reports")'],
        setting="databases",
    )


def check_application(
    app: Any, *kinds: type[Any], module: str, what: str = "the application", classes: bool = False
) -> None:
    """Refuse what is no application of a framework.

    Args:
        app: what was given.
        kinds: the classes of its applications.
        module: the name of our module: ``"respool.web.flask"``.
        what: what is expected, in words.
        classes: whether a class may stand for it, with what it needs as attributes.

    Raises:
        ConfigError: it is something else; the message says which module serves it, if one does.
    """
    if isinstance(app, kinds) or (isinstance(app, type) and classes):
        return
    own = " or ".join(f"{kind.__module__.partition('.')[0]}'s {kind.__name__}" for kind in kinds)
    other = _module_for(type(app))
    advice = []
    if isinstance(app, DatabaseBase):
        advice.append("the application comes first: install(app, db)")
    elif other is not None and other != module:
        advice.append(f"for this one: from {other} import install")
    advice.append(f"give it {what} itself: {own}; not a part of one, nor what was made around it")
    if callable(app) and other is None and module.startswith("respool.web."):
        advice.append("around anything else: RequestScopeMiddleware(app, db) from respool.web.asgi or respool.web.wsgi")
    raise ConfigError(
        f"install() of {module} got {_described(app)} where {what} is expected: {own}",
        advice=advice,
        setting="app",
    )


def _described(app: Any) -> str:
    if app is None or isinstance(app, str | bytes | int | float):
        return repr(app)
    kind = type(app)
    if isinstance(app, DatabaseBase):
        return f"the {kind.__name__} {app.name!r}"
    package = kind.__module__.partition(".")[0]
    return f"{kind.__name__}" if package in ("builtins", "__main__") else f"{package}'s {kind.__name__}"


def _module_for(kind: type[Any]) -> str | None:
    """Our module that serves what is of a class, by the package of the class or of one below it."""
    packages = (cls.__module__.partition(".")[0] for cls in kind.__mro__)
    return next((_served()[package] for package in packages if package in _served()), None)


@cache
def _served() -> dict[str, str]:
    """The packages that are served, each by a module of ours with its name; none is imported for that."""
    root = Path(__file__).parent.parent
    return {
        module.name: f"respool.{room}.{module.name}"
        for room in ("web", "jobs")
        for module in iter_modules([str(root / room)])
        if not module.ispkg and "\ndef install(" in (root / room / f"{module.name}.py").read_text(encoding="utf-8")
    }
