"""Bad database URLs: refused at construction, with the way to write them, and never a password."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from respool import PoolConfig
from respool.engine import build_async_engine, build_engine, mask
from respool.errors import ConfigError

BAD_SYNC = {
    "postgresql://u:hunter2@h/d": "postgresql+psycopg://u:***@h/d",
    "sqlite+aiosqlite:///shop.db": "sqlite:///shop.db",
    "postgresql+asyncpg://u:hunter2@h/d": "AsyncDatabase",
    "postgresql+psycopgg://u:hunter2@h/d": "did you mean 'postgresql'",
    "mysql+mysqldb://u:hunter2@h/d": "pip install 'mysqlclient'",
    "u:hunter2@h/d": "dialect+driver://",
    5: "sqlite:///shop.db",
}
BAD_ASYNC = {
    "sqlite:///shop.db": "sqlite+aiosqlite:///shop.db",
    "postgresql://u:hunter2@h/d": "postgresql+asyncpg://u:***@h/d",
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
