"""The shop of the sessions' tests."""

from tests.session.conftest import async_shop_url, db, shop_url, the_shop

__all__ = ["async_shop_url", "db", "shop_url", "the_shop"]
