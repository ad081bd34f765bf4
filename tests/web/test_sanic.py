"""Sanic's own server: one task for all requests of a connection."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

from tests.session.shop import opened_async
from tests.web.contract import held
from tests.web.stands.sanic import SanicStand


async def test_requests_of_one_connection_do_not_keep_each_other(shop_url: str, async_shop_url: str) -> None:
    async with opened_async(async_shop_url) as db, opened_async(async_shop_url, name="other") as other:
        stand = SanicStand(db, other)
        made: list[weakref.ref[Any]] = []
        new_scope = db.new_scope

        def noting(label: str, **keywords: Any) -> Any:
            scope = new_scope(label, **keywords)
            made.append(weakref.ref(scope))
            return scope

        async with stand.running():
            async with held(db):
                pass  # nobody has to wait for the first connection: a wait's timer lives a little longer
            db.new_scope = noting  # type: ignore[method-assign]
            reader, writer = await asyncio.open_connection("127.0.0.1", stand.port)
            for _ in range(4):
                writer.write(b"GET /do/read/1 HTTP/1.1\r\nHost: test\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(3) == b"tea"
            gc.collect()
            assert [ref() is None for ref in made] == [True, True, True, False]
            writer.close()
