"""Database URLs: what is wrong with one, said in a way that helps, and never a password in it."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any, NoReturn

from sqlalchemy import exc
from sqlalchemy.engine import URL, Dialect, make_url

from respool.config import suggest
from respool.errors import ConfigError, MissingExtra

__all__ = ["completed", "is_memory", "mask", "parse"]

#: The driver to write where none is named; of several the first, or the first that is installed.
_SYNC = {
    "postgresql": ("psycopg", "psycopg2"),
    "mysql": ("pymysql",),
    "mariadb": ("pymysql",),
    "oracle": ("oracledb",),
    "mssql": ("pyodbc",),
}
_ASYNC = {
    "postgresql": ("asyncpg", "psycopg"),
    "mysql": ("aiomysql", "asyncmy"),
    "mariadb": ("aiomysql", "asyncmy"),
    "sqlite": ("aiosqlite",),
    "oracle": ("oracledb",),
    "mssql": ("aioodbc",),
}
_KNOWN = sorted({*_SYNC, *_ASYNC})
#: What others call a database that SQLAlchemy has another name for.
_ALIASES = {
    **dict.fromkeys(("postgres", "pgsql", "psql", "pg", "postgre", "postgis"), "postgresql"),
    **dict.fromkeys(("mysql2", "mysqli"), "mysql"),
    **dict.fromkeys(("sqlserver", "sqlsrv"), "mssql"),
    "sqlite3": "sqlite",
}
#: Where the package to install is called otherwise than the module.
_PACKAGES = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
#: The extra that brings a driver, by its module.
_EXTRAS = {
    "psycopg": "postgresql",
    "psycopg2": "psycopg2",
    "asyncpg": "asyncpg",
    "pymysql": "pymysql",
    "MySQLdb": "mysqlclient",
    "aiomysql": "aiomysql",
    "asyncmy": "asyncmy",
    "aiosqlite": "aiosqlite",
}
#: Options that URLs of PostgreSQL have, and drivers that do not know them; what they call it, if they have it.
_UNKNOWN_OPTIONS: dict[str, dict[str, str | None]] = {"asyncpg": {"sslmode": "ssl", "channel_binding": None}}
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
    if backend.lower() in _ALIASES:
        _refuse_alias(parsed, backend, driver, asynchronous)
    dialect = _dialect_of(parsed, backend, driver, asynchronous)
    if not driver and (asynchronous or backend in _SYNC):
        raise ConfigError(
            f"{mask(parsed)!r} names no driver",
            advice=_with_driver(parsed, backend, asynchronous),
            setting="url",
        )
    if dialect.is_async is not asynchronous:
        given, other = ("a sync", "Database") if asynchronous else ("an async", "AsyncDatabase")
        raise ConfigError(
            f"{mask(parsed)!r} has {given} driver",
            advice=[*_with_driver(parsed, backend, asynchronous), f"or keep the URL, and use {other}"],
            setting="url",
        )
    for option, right in _UNKNOWN_OPTIONS.get(driver, {}).items():
        if option in parsed.query:
            _refuse_option(parsed, backend, driver, option, right)
    _require_installed(parsed, dialect)
    return parsed


def completed(url: str, *, asynchronous: bool) -> str | URL:
    """A URL that a machine gives, whom nobody can ask for another one, with the name and the driver that SQLAlchemy wants.

    Args:
        url: such as ``postgres://user@host/shop?sslmode=require``; what cannot be read stays as it is.
        asynchronous: for an async engine.

    Returns:
        it, with a driver that is installed, if there is one; a driver that it names stays.
    """
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):
        return url
    backend, _, driver = parsed.drivername.partition("+")
    backend = _ALIASES.get(backend.lower(), backend)
    right = f"{backend}+{driver}" if driver else _named(backend, asynchronous)
    names = _UNKNOWN_OPTIONS.get(right.partition("+")[2], {})
    return parsed.set(drivername=right, query={names.get(key) or key: value for key, value in parsed.query.items()})


def is_memory(url: URL) -> bool:
    """Whether this is an SQLite database that lives in its connection."""
    return url.get_backend_name() == "sqlite" and (
        url.database in (None, "", ":memory:")
        or "mode=memory" in str(url.database)
        or url.query.get("mode") == "memory"
    )


def _refuse_option(url: URL, backend: str, driver: str, option: str, right: str | None) -> NoReturn:
    rest = {key: value for key, value in url.query.items() if key != option}
    other = next((each for each in _drivers(backend) if each not in _UNKNOWN_OPTIONS), None)
    raise ConfigError(
        f"{mask(url)!r}: {driver} has no option {option!r}",
        advice=[
            f"it is {right!r} there: {mask(url.set(query={**rest, right: url.query[option]}))}"
            if right is not None
            else f"leave it out: {mask(url.set(query=rest))}",
            *([f"or use {other}, which has it: {mask(url.set(drivername=f'{backend}+{other}'))}"] if other else []),
        ],
        setting="url",
    )


def _refuse_alias(url: URL, backend: str, driver: str, asynchronous: bool) -> NoReturn:
    name = _ALIASES[backend.lower()]
    right = f"{name}+{driver}" if driver else _named(name, asynchronous)
    raise ConfigError(
        f"{mask(url)!r}: SQLAlchemy's name of {backend!r} is {name!r}",
        advice=[
            f"write {mask(url.set(drivername=right))}",
            "where the URL comes from the machine that it runs on: "
            + f'url.replace("{url.drivername}://", "{right}://", 1)',
            f'or, from the variable DATABASE_URL: {"AsyncDatabase" if asynchronous else "Database"}.from_env("DATABASE_")',
        ],
        setting="url",
    )


def _dialect_of(url: URL, backend: str, driver: str, asynchronous: bool) -> type[Dialect]:
    try:
        return url.get_dialect(_is_async=asynchronous)
    except exc.NoSuchModuleError:
        if backend not in _KNOWN:
            advice = [f"known here: {', '.join(_KNOWN)}; others come as packages of their own"]
            told = f"no dialect {backend!r} is installed{suggest(backend, [*_KNOWN, *_ALIASES])}"
        else:
            advice = _with_driver(url, backend, asynchronous)
            told = f"{backend} has no driver {driver!r}{suggest(driver, _drivers(backend))}"
        raise ConfigError(f"{mask(url)!r}: {told}", advice=advice, setting="url") from None


def _require_installed(url: URL, dialect: type[Dialect]) -> None:
    try:
        dialect.import_dbapi()
    except ImportError as error:
        package = error.name or url.get_driver_name()
        extra = _EXTRAS.get(package)
        raise MissingExtra(
            f"{mask(url)!r}: the driver {package!r} is not installed",
            advice=[
                *([f'pip install "respool[{extra}]"'] if extra else []),
                f"{'or by itself: ' if extra else ''}pip install {_PACKAGES.get(package, package)!r}",
            ],
            setting="url",
            name=package,
            extra=extra,
        ) from error


def _drivers(backend: str) -> list[str]:
    return [*dict.fromkeys((*_SYNC.get(backend, ()), *_ASYNC.get(backend, ())))]


def _named(backend: str, asynchronous: bool) -> str:
    """The backend with a driver, if possible one that is installed."""
    drivers = (_ASYNC if asynchronous else _SYNC).get(backend, ())
    if not drivers:
        return backend
    return f"{backend}+{next((driver for driver in drivers if find_spec(driver)), drivers[0])}"


def _with_driver(url: URL, backend: str, asynchronous: bool) -> list[str]:
    name = _named(backend, asynchronous)
    driver = name.partition("+")[2]
    right = url.set(drivername=name)
    if backend == "sqlite" and url.host:  # sqlite://shop.db
        right = URL.create(name, database="/".join(filter(None, (url.host, url.database))), query=url.query)
    advice = [f"write it with a driver: {mask(right)}"]
    if driver in _EXTRAS and not find_spec(driver):
        advice.append(f'which comes with pip install "respool[{_EXTRAS[driver]}]"')
    return advice


def _example(asynchronous: bool) -> str:
    return "sqlite+aiosqlite:///shop.db" if asynchronous else "sqlite:///shop.db"
