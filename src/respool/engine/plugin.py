"""``?plugin=respool`` in a URL: the pool for an application whose code cannot be touched.

``postgresql+psycopg://…/shop?plugin=respool&respool_max_size=20`` makes SQLAlchemy find this plugin by its entry point.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import URL, CreateEnginePlugin
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from respool.config import PoolConfig, parse_number
from respool.engine.pools.aio import AsyncFairPool
from respool.engine.pools.fair import FairPool

__all__ = ["RespoolPlugin"]

_PREFIX = "respool_"


class RespoolPlugin(CreateEnginePlugin):
    """Puts our pool where SQLAlchemy's queue pool would be; another choice of the application stays."""

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        super().__init__(url, kwargs)
        texts = {key: str(value) for key, value in url.query.items() if key.startswith(_PREFIX)}
        settings = {key.removeprefix(_PREFIX): parse_number(key, text) for key, text in texts.items()}
        config = PoolConfig().merged(settings, source="URL")
        self._keys = list(texts)
        if kwargs.get("poolclass") is None and kwargs.get("pool") is None:
            asynchronous = bool(kwargs.get("_is_async"))
            dialect: Any = url.get_dialect(_is_async=asynchronous)
            stock = dialect.get_pool_class(url)
            if stock in (QueuePool, AsyncAdaptedQueuePool):
                kwargs["poolclass"] = AsyncFairPool if asynchronous else FairPool
                kwargs["pool_config"] = config

    def update_url(self, url: URL) -> URL:
        """Take our settings out: the driver must not see them."""
        return url.difference_update_query(self._keys)
