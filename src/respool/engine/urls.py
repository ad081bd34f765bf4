"""Database URLs: what is wrong with one, said in a way that helps, and never a password in it."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from respool.config import suggest
from respool.errors import ConfigError

__all__ = ["is_memory", "mask", "parse"]

_SYNC = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql", "oracle": "oracledb", "mssql": "pyodbc"}
_ASYNC = {"postgresql": "asyncpg", "mysql": "aiomysql", "mariadb": "aiomysql", "sqlite": "aiosqlite"}
#: Where the package to install is called otherwise than the module.
_PACKAGES = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
#: What is hidden, by its name or by what stands in it: whole connection strings may stand there, and options.
_SECRET = re.compile(r"pass|pwd|secret|token|key|credential|odbc_connect|options|dsn|conninfo", re.IGNORECASE)


def mask(url: str | URL) -> str:
    """The URL as it may be shown: no password, in the user part or in the query."""
    if isinstance(url, str):
        try:
            url = make_url(url)
        except (exc.ArgumentError, ValueError):
            return _masked_text(str(url))
    if _is_misread(url):
        return _masked_text(url.render_as_string(hide_password=False))
    hidden = {key: "***" for key, value in url.query.items() if _SECRET.search(key) or _SECRET.search(str(value))}
    return url.update_query_dict(hidden).render_as_string(hide_password=True).replace("%2A%2A%2A", "***")


def _is_misread(url: URL) -> bool:
    """Whether a character of the password that is not quoted has cut it: parts of it are taken for something else."""
    rest = [url.host, *url.query, *map(str, url.query.values()), url.database if url.host else None]
    return any("@" in part for part in rest if part)


def _masked_text(text: str) -> str:
    """Of what cannot be read: what it begins with, and the host if there is one; all between may be the password."""
    scheme, separator, rest = text.partition("://") if "://" in text else ("", "", text)
    _, at, host = rest.rpartition("@")
    return f"{scheme}{separator}***" + (f"@{host.partition('?')[0]}" if at else "")


def parse(url: Any, *, asynchronous: bool) -> URL:
    """The URL, when this side of the library can use it.

    Args:
        url: text, or SQLAlchemy's ``URL``.
        asynchronous: for an async engine.

    Raises:
        ConfigError: not a URL; no or the wrong kind of driver; a driver that is not installed.
    """
    if not isinstance(url, str | URL):
        raise ConfigError(
            f"a database URL was expected, and {type(url).__name__} was given",
            advice=[f"write it as text: {_example(asynchronous)}"],
            setting="url",
        )
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):
        raise ConfigError(
            f"{mask(url)!r} is not a database URL",
            advice=[f"write dialect+driver://user:password@host:port/database, such as {_example(asynchronous)}"],
            setting="url",
        ) from None
    backend, _, driver = parsed.drivername.partition("+")
    if not driver and (asynchronous or backend in _SYNC):
        raise ConfigError(
            f"{mask(parsed)!r} names no driver",
            advice=[_with_driver(parsed, backend, asynchronous)],
            setting="url",
        )
    _require_kind(parsed, backend, asynchronous)
    return parsed


def is_memory(url: URL) -> bool:
    """Whether this is an SQLite database that lives in its connection."""
    return url.get_backend_name() == "sqlite" and (
        url.database in (None, "", ":memory:")
        or "mode=memory" in str(url.database)
        or url.query.get("mode") == "memory"
    )


def _require_kind(url: URL, backend: str, asynchronous: bool) -> None:
    try:
        dialect = url.get_dialect(_is_async=asynchronous)
        dialect.import_dbapi()
    except exc.NoSuchModuleError:
        known = sorted({*_SYNC, *_ASYNC})
        raise ConfigError(
            f"{mask(url)!r}: no dialect {url.drivername!r} is installed{suggest(backend, known)}",
            advice=[f"known here: {', '.join(known)}; others come as packages of their own"],
            setting="url",
        ) from None
    except ImportError as error:
        package = error.name or url.get_driver_name()
        raise ConfigError(
            f"{mask(url)!r}: the driver {package!r} is not installed",
            advice=[f"pip install {_PACKAGES.get(package, package)!r}"],
            setting="url",
        ) from error
    if dialect.is_async is not asynchronous:
        given, other = ("a sync", "Database") if asynchronous else ("an async", "AsyncDatabase")
        raise ConfigError(
            f"{mask(url)!r} has {given} driver",
            advice=[_with_driver(url, backend, asynchronous), f"or keep the URL, and use {other}"],
            setting="url",
        )


def _with_driver(url: URL, backend: str, asynchronous: bool) -> str:
    driver = (_ASYNC if asynchronous else _SYNC).get(backend)
    name = f"{backend}+{driver}" if driver else backend
    return f"write it with a driver: {mask(url.set(drivername=name))}"


def _example(asynchronous: bool) -> str:
    return "sqlite+aiosqlite:///shop.db" if asynchronous else "sqlite:///shop.db"
