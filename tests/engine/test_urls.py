"""Bad database URLs: refused at construction, with the way to write them, and never a password."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from respool import PoolConfig
from respool.engine import build_async_engine, build_engine, completed, mask
from respool.errors import ConfigError, MissingExtra

BAD_SYNC = {
    "postgresql://u:hunter2@h/d": "postgresql+psycopg://u:***@h/d",
    "sqlite+aiosqlite:///shop.db": "sqlite:///shop.db",
    "postgresql+asyncpg://u:hunter2@h/d": "AsyncDatabase",
    "postgresql+psycopgg://u:hunter2@h/d": "no driver 'psycopgg', did you mean 'psycopg'?",
    "mysql+mysqldb://u:hunter2@h/d": "pip install 'mysqlclient'",
    "postgres://u:hunter2@h/d": "write postgresql+psycopg://u:***@h/d",
    "postgres+psycopg2://u:hunter2@h/d": "write postgresql+psycopg2://u:***@h/d",
    "pgsql://u:hunter2@h/d": "write postgresql+psycopg://u:***@h/d",
    "sqlite3:///shop.db": "write sqlite:///shop.db",
    "sqlite://shop.db": "sqlite:///shop.db",
    "mysql+aiomysql://u:hunter2@h/d": "mysql+pymysql://u:***@h/d",
    "mysql+asyncmy://u:hunter2@h/d": "mysql+pymysql://u:***@h/d",
    "mariadb://u:hunter2@h/d": "mariadb+pymysql://u:***@h/d",
    "postgresql+nothing://u:hunter2@h/d": "postgresql has no driver 'nothing'\n",
    "oracel+oracledb://u:hunter2@h/d": "no dialect 'oracel' is installed, did you mean 'oracle'?",
    "mongodb://u:hunter2@h/d": "no dialect 'mongodb' is installed\n",
    "u:hunter2@h/d": "dialect+driver://",
    5: "sqlite:///shop.db",
}
BAD_ASYNC = {
    "sqlite:///shop.db": "sqlite+aiosqlite:///shop.db",
    "postgresql://u:hunter2@h/d": "postgresql+asyncpg://u:***@h/d",
    "postgres://u:hunter2@h/d": "write postgresql+asyncpg://u:***@h/d",
    "postgresql+psycopg2://u:hunter2@h/d": "postgresql+asyncpg://u:***@h/d",
    "mysql+pymysql://u:hunter2@h/d": "mysql+aiomysql://u:***@h/d",
    "mysql+mysqldb://u:hunter2@h/d": "or keep the URL, and use Database",
    "sqlite://shop.db": "sqlite+aiosqlite:///shop.db",
    "postgresql+asyncpg://u:hunter2@h/d?sslmode=require&a=1": "it is 'ssl' there: postgresql+asyncpg://u:***@h/d?a=1&ssl=require",
    "postgresql+asyncpg://u:hunter2@h/d?channel_binding=require": "or use psycopg, which has it: postgresql+psycopg://u:***@h/d?",
    "xyz://u:hunter2@h/d": "no dialect 'xyz' is installed\n",
    "redis://u:hunter2@h/0": "known here: mariadb, mssql, mysql, oracle, postgresql, sqlite",
    "": "dialect+driver://",
}


@pytest.mark.parametrize("url, help_text", BAD_SYNC.items(), ids=str)
def test_a_bad_url_is_refused_with_the_right_one(url: Any, help_text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "MySQLdb", None)  # not installed, even where it is
    with pytest.raises(ConfigError) as refused:
        build_engine(url, pool=PoolConfig())
    assert help_text in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url, help_text", BAD_ASYNC.items(), ids=str)
def test_a_bad_async_url_is_refused_with_the_right_one(url: Any, help_text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build_async_engine(url, pool=PoolConfig())
    assert help_text in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url, shown",
    [
        ("postgresql+psycopg://u:hunter2@h/d", "postgresql+psycopg://u:***@h/d"),
        ("postgresql+psycopg://u@h/d?password=hunter2", "postgresql+psycopg://u@h/d?password=***"),
        ("u:hunter2@h/d", "***@h/d"),
        ("u:hun\nter2@h/d", "***@h/d"),
        ("postgresql+psycopg://h/d?sslpwd=hunter2", "postgresql+psycopg://h/d?sslpwd=***"),
        ("x://u:hun@ter2@h", "x://***@h"),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    assert mask(url) == shown


def test_more_than_one_connection_to_a_database_in_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match="lives in one connection"):
        build_engine("sqlite://", pool=PoolConfig(max_size=5))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://app:p@s3cr3t@db/shop",
        "postgresql+psycopg://app:s3/cr3t@db/shop",
        "postgresql+psycopg://app:12/s3cr3t@db/shop",
        "postgresql+psycopg://app:s3cr3t?@db/shop",
        "postgresql+psycopg://app:a?s3cr3t@db/shop",
        "postgresql+psycopg://app:s3:cr3t@db/shop",
        "postgresql+psycopg://app:p@db/shop?password=s3cr3t&options=-c%20my.key%3Ds3cr3t",
        "postgresql+psycopg://db/shop?passfile=/s3cr3t&sslpassword=s3cr3t",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3DODBC%3BUID%3Dapp%3BPWD%3Ds3cr3t",
        "postgresql+psycopg2:///?dsn=host%3Ddb%20password%3Ds3cr3t",
        "postgresql+psycopg://db/shop?service=x&application_name=pwd%3Ds3cr3t",
        "app:s3cr3t@db/shop",
        "postgresql+psycopg://app:s3cr3t",
    ],
)
@pytest.mark.parametrize("made", [str, make_url], ids=["text", "URL"])
def test_no_part_of_a_password_is_shown(url: str, made: Any) -> None:
    try:
        given = made(url)
    except (ArgumentError, ValueError):
        return  # SQLAlchemy cannot read it
    shown = mask(given)
    assert "s3" not in shown
    assert "cr3t" not in shown


def test_a_sync_driver_is_called_one_even_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(ConfigError, match="has a sync driver"):
        build_async_engine("postgresql+psycopg2://h/d", pool=PoolConfig())
    with pytest.raises(MissingExtra, match="the driver 'psycopg2' is not installed") as missing:
        build_engine("postgresql+psycopg2://h/d", pool=PoolConfig())
    assert (missing.value.name, missing.value.extra) == ("psycopg2", "psycopg2")
    assert isinstance(missing.value, ModuleNotFoundError)


@pytest.mark.parametrize(
    "option, told",
    [
        ("isolation_lvl", "unknown argument 'isolation_lvl' in engine_options, did you mean 'isolation_level'?"),
        ("colour", "unknown argument 'colour' in engine_options\n"),
    ],
)
def test_an_argument_that_create_engine_has_not(option: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build_engine("sqlite://", pool=PoolConfig(), **{option: 1})
    assert told in str(refused.value)


# -- as platforms give them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, sync, asynchronous",
    [
        ("postgres://u:p%40@h/d", "postgresql+psycopg://u:p%40@h/d", "postgresql+asyncpg://u:p%40@h/d"),
        ("POSTGRES://h/d", "postgresql+psycopg://h/d", "postgresql+asyncpg://h/d"),
        ("postgresql://h/d", "postgresql+psycopg://h/d", "postgresql+asyncpg://h/d"),
        ("postgres+psycopg2://h/d", "postgresql+psycopg2://h/d", "postgresql+psycopg2://h/d"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        (
            "postgres://h/d?sslmode=require",
            "postgresql+psycopg://h/d?sslmode=require",
            "postgresql+asyncpg://h/d?ssl=require",
        ),
        ("mysql2://h/d", "mysql+pymysql://h/d", "mysql+aiomysql://h/d"),
        ("sqlite:///shop.db", "sqlite:///shop.db", "sqlite+aiosqlite:///shop.db"),
        ("oracle://h/d", "oracle+oracledb://h/d", "oracle+oracledb://h/d"),
        ("mongodb://h/d", "mongodb://h/d", "mongodb://h/d"),
        ("nonsense", "nonsense", "nonsense"),
    ],
)
def test_a_platforms_url_is_completed(given: str, sync: str, asynchronous: str) -> None:
    for kind, expected in ((False, sync), (True, asynchronous)):
        found = completed(given, asynchronous=kind)
        assert (found if isinstance(found, str) else found.render_as_string(hide_password=False)) == expected


def test_the_driver_is_one_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("respool.engine.urls.find_spec", lambda name: name if name in ("psycopg2", "asyncmy") else None)
    assert str(completed("postgres://h/d", asynchronous=False)) == "postgresql+psycopg2://h/d"
    assert str(completed("postgres://h/d", asynchronous=True)) == "postgresql+asyncpg://h/d"  # who says what to install
    assert str(completed("mysql://h/d", asynchronous=True)) == "mysql+asyncmy://h/d"
