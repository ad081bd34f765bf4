"""The routes that every application has, once for coroutines and once for threads.

An act is given the peer's work (``read``, ``write``, …), the session that the peer has for the request (``None`` where
it has none), and the parameters of the path. It returns plain data, or ``(status, data)``, or ``STREAM``. What makes a
response of that is the framework's: :mod:`~benchmarks.applications.fastapi_routes` and its twins.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

__all__ = ["ACTS", "ACTS_OF_THREADS", "STREAM", "Late", "portions", "portions_of_threads"]

STREAM = object()
PORTIONS, PORTION = 20_000, b"x" * 1024

Params = dict[str, Any]


class Late:
    """What became of a use of a request's session after the request."""

    outcome = "not yet"

    @classmethod
    def note(cls, error: Exception | None) -> None:
        cls.outcome = "worked" if error is None else f"refused: {type(error).__name__}"


# -- coroutines ----------------------------------------------------------------------------------------------------------


async def read(work: Any, session: Any, params: Params) -> Any:
    return await work.read(session, int(params["number"]))


async def listing(work: Any, session: Any, params: Params) -> Any:
    return await work.listing(session)


async def write(work: Any, session: Any, params: Params) -> Any:
    await work.write(session, params["token"], 1)
    return {"token": params["token"]}


async def sell(work: Any, session: Any, params: Params) -> Any:
    await work.sell(session, int(params["number"]), params["token"])
    return {"token": params["token"]}


async def call(work: Any, session: Any, params: Params) -> Any:
    item = await work.read(session, int(params["number"]))
    await asyncio.sleep(int(params["ms"]) / 1000)
    return item | {"stock": await work.stock(session, item["id"])}


async def sleep(work: Any, session: Any, params: Params) -> Any:
    await work.sleep(session, int(params["ms"]) / 1000)
    return {}


async def limited(work: Any, session: Any, params: Params) -> Any:
    try:
        async with asyncio.timeout(int(params["limit"]) / 1000):
            await work.sleep(session, int(params["ms"]) / 1000)
    except TimeoutError:
        return 504, {}
    return {}


async def refused(work: Any, session: Any, params: Params) -> Any:
    await work.write(session, params["token"], 0)
    return {"token": params["token"]}


async def declined(work: Any, session: Any, params: Params) -> Any:
    await work.declined(session, params["token"], params["error"])
    return {}


async def shared(work: Any, session: Any, params: Params) -> Any:
    await work.shared(session, [f"{params['token']}-{n}" for n in range(8)])
    return {"token": params["token"]}


async def stream(work: Any, session: Any, params: Params) -> Any:
    await work.read(session, 1)
    return STREAM


async def late(work: Any, session: Any, params: Params) -> Any:
    async def later() -> None:
        await asyncio.sleep(0.1)
        try:
            await work.stock(session, 1)
        except Exception as error:
            Late.note(error)
        else:
            Late.note(None)

    Late.outcome = "not yet"
    await work.read(session, 1)
    params["keep"].append((session, asyncio.create_task(later())))
    return {}


async def portions() -> AsyncIterator[bytes]:
    for _ in range(PORTIONS):
        yield PORTION


# -- threads -------------------------------------------------------------------------------------------------------------


def read_(work: Any, session: Any, params: Params) -> Any:
    return work.read(session, int(params["number"]))


def listing_(work: Any, session: Any, params: Params) -> Any:
    return work.listing(session)


def write_(work: Any, session: Any, params: Params) -> Any:
    work.write(session, params["token"], 1)
    return {"token": params["token"]}


def sell_(work: Any, session: Any, params: Params) -> Any:
    work.sell(session, int(params["number"]), params["token"])
    return {"token": params["token"]}


def call_(work: Any, session: Any, params: Params) -> Any:
    item = work.read(session, int(params["number"]))
    time.sleep(int(params["ms"]) / 1000)
    return item | {"stock": work.stock(session, item["id"])}


def sleep_(work: Any, session: Any, params: Params) -> Any:
    work.sleep(session, int(params["ms"]) / 1000)
    return {}


def refused_(work: Any, session: Any, params: Params) -> Any:
    work.write(session, params["token"], 0)
    return {"token": params["token"]}


def declined_(work: Any, session: Any, params: Params) -> Any:
    work.declined(session, params["token"], params["error"])
    return {}


def shared_(work: Any, session: Any, params: Params) -> Any:
    work.shared(session, [f"{params['token']}-{n}" for n in range(8)])
    return {"token": params["token"]}


def stream_(work: Any, session: Any, params: Params) -> Any:
    work.read(session, 1)
    return STREAM


def late_(work: Any, session: Any, params: Params) -> Any:
    def later() -> None:
        time.sleep(0.1)
        try:
            work.stock(session, 1)
        except Exception as error:
            Late.note(error)
        else:
            Late.note(None)

    Late.outcome = "not yet"
    work.read(session, 1)
    thread = threading.Thread(target=later, daemon=True)
    params["keep"].append((session, thread))
    thread.start()
    return {}


def portions_of_threads() -> Iterator[bytes]:
    for _ in range(PORTIONS):
        yield PORTION


Acts = dict[tuple[str, str], Callable[..., Any]]

#: Method and path, with ``{…}`` for a parameter, and what is done there.
ACTS: Acts = {
    ("GET", "/items/{number}"): read,
    ("GET", "/items"): listing,
    ("POST", "/orders/{token}"): write,
    ("POST", "/sell/{number}/{token}"): sell,
    ("GET", "/call/{number}/{ms}"): call,
    ("GET", "/sleep/{ms}"): sleep,
    ("GET", "/limited/{ms}/{limit}"): limited,
    ("POST", "/refused/{token}"): refused,
    ("POST", "/declined/{token}"): declined,
    ("POST", "/shared/{token}"): shared,
    ("GET", "/stream"): stream,
    ("POST", "/late"): late,
}

#: The same for threads, which cannot be cut off: there is no ``/limited``.
ACTS_OF_THREADS: Acts = {
    ("GET", "/items/{number}"): read_,
    ("GET", "/items"): listing_,
    ("POST", "/orders/{token}"): write_,
    ("POST", "/sell/{number}/{token}"): sell_,
    ("GET", "/call/{number}/{ms}"): call_,
    ("GET", "/sleep/{ms}"): sleep_,
    ("POST", "/refused/{token}"): refused_,
    ("POST", "/declined/{token}"): declined_,
    ("POST", "/shared/{token}"): shared_,
    ("GET", "/stream"): stream_,
    ("POST", "/late"): late_,
}
