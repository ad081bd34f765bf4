"""A shop in an SQLite file, opened both ways."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from respool import Database
from tests.session.faces import the_shop
from tests.session.shop import fill, opened

__all__ = ["the_shop"]


@pytest.fixture
def shop_url(sqlite_file: str) -> str:
    """The URL of a shop (sync driver)."""
    url = f"sqlite:///{sqlite_file}"
    fill(url)
    return url


@pytest.fixture
def async_shop_url(shop_url: str) -> str:
    """The same shop for asyncio."""
    return shop_url.replace("sqlite:", "sqlite+aiosqlite:")


@pytest.fixture
def db(shop_url: str) -> Iterator[Database]:
    """The shop, with the rule that successes commit."""
    with opened(shop_url, commit="on_success") as database:
        yield database
