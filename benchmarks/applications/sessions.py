"""The work of the routes on a session of SQLAlchemy, whoever has made it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import func, select

from benchmarks.applications.models import Item, Order, plain

__all__ = ["AsyncSessionWork", "SessionWork"]

HUNDRED = select(Item).order_by(Item.id).limit(100)


class AsyncSessionWork:
    """On an ``AsyncSession``.

    Args:
        commits: whether handlers commit; otherwise the peer does, after them.
    """

    def __init__(self, *, commits: bool) -> None:
        self._commits = commits

    async def read(self, session: Any, number: int) -> dict[str, Any]:
        return plain(await session.get(Item, number))

    async def listing(self, session: Any) -> list[dict[str, Any]]:
        return [plain(item) for item in await session.scalars(HUNDRED)]

    async def stock(self, session: Any, number: int) -> int:
        return int(await session.scalar(select(Item.stock).where(Item.id == number)))

    async def write(self, session: Any, token: str, item: int) -> None:
        session.add(Order(token=token, item_id=item))
        await self._end(session)

    async def sell(self, session: Any, number: int, token: str) -> None:
        item = await session.get(Item, number)
        item.stock = Item.stock - 1
        session.add(Order(token=token, item_id=number))
        await self._end(session)

    async def sleep(self, session: Any, seconds: float) -> None:
        await session.execute(select(func.pg_sleep(seconds)))

    async def declined(self, session: Any, token: str, error: Exception) -> None:
        session.add(Order(token=token, item_id=1))
        await session.flush()
        raise error

    async def shared(self, session: Any, tokens: Sequence[str]) -> None:
        async def one(token: str) -> None:
            session.add(Order(token=token, item_id=1))
            await session.flush()

        await asyncio.gather(*(one(token) for token in tokens))
        await self._end(session)

    async def _end(self, session: Any) -> None:
        if self._commits:
            await session.commit()


class SessionWork:
    """On a ``Session``; see :class:`AsyncSessionWork`."""

    def __init__(self, *, commits: bool) -> None:
        self._commits = commits

    def read(self, session: Any, number: int) -> dict[str, Any]:
        return plain(session.get(Item, number))

    def listing(self, session: Any) -> list[dict[str, Any]]:
        return [plain(item) for item in session.scalars(HUNDRED)]

    def stock(self, session: Any, number: int) -> int:
        return int(session.scalar(select(Item.stock).where(Item.id == number)))

    def write(self, session: Any, token: str, item: int) -> None:
        session.add(Order(token=token, item_id=item))
        self._end(session)

    def sell(self, session: Any, number: int, token: str) -> None:
        item = session.get(Item, number)
        item.stock = Item.stock - 1
        session.add(Order(token=token, item_id=number))
        self._end(session)

    def sleep(self, session: Any, seconds: float) -> None:
        session.execute(select(func.pg_sleep(seconds)))

    def declined(self, session: Any, token: str, error: Exception) -> None:
        session.add(Order(token=token, item_id=1))
        session.flush()
        raise error

    def shared(self, session: Any, tokens: Sequence[str]) -> None:
        def one(token: str) -> None:
            session.add(Order(token=token, item_id=1))
            session.flush()

        with ThreadPoolExecutor(len(tokens)) as threads:
            for job in [threads.submit(one, token) for token in tokens]:
                job.result()
        self._end(session)

    def _end(self, session: Any) -> None:
        if self._commits:
            session.commit()
