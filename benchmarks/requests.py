"""What a request pays, and what it meets under load: ``python -m benchmarks.requests``.

* ``overhead``: processor time of a request of the same application, with the middleware and without.
* ``hops``: sync handlers, a dependency that reads in one thread and a handler that writes in another; 120 clients, 15
  connections, 40 threads; FastAPI, Starlette, Litestar, Quart.
* ``streams``: five clients read an answer slowly, on a pool of 5; how long do ordinary requests take?
* ``departures``: 200 clients hang up within 0.1 s, on a pool of 5; how long does the next one wait?

Prints the figures, and writes them to ``results/requests.json``.
"""

# Annotations are evaluated here: FastAPI cannot see the local names of a postponed one.
import argparse
import asyncio
import json
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from benchmarks.clients import ask
from benchmarks.hops import hops
from benchmarks.streams import streams
from respool import AsyncDatabase, Database, PoolConfig
from respool.web import asgi, wsgi
from respool.web.fastapi import install, session_of
from tests.support.postgres import PostgresServer

RESULTS = Path(__file__).parent / "results" / "requests.json"
Figures = dict[str, dict[str, float]]


# -- overhead ------------------------------------------------------------------------------------------------------------


def overhead(quick: bool) -> Figures:
    """Microseconds of processor time for one request, and how much that is over the same application without."""
    db = Database("sqlite://")
    adb = AsyncDatabase("sqlite+aiosqlite://", name="async")
    cases: dict[str, tuple[Callable[[], Any], Callable[[Any, int], float], str | None]] = {
        "ASGI: without": (bare, in_asgi, None),
        "ASGI: with an unused session": (lambda: asgi.RequestScopeMiddleware(bare(), db), in_asgi, "ASGI: without"),
        "ASGI: with an unused async session": (
            lambda: asgi.RequestScopeMiddleware(bare(), adb),
            in_asgi,
            "ASGI: without",
        ),
        "WSGI: without": (lambda: bare_wsgi, in_wsgi, None),
        "WSGI: with an unused session": (
            lambda: wsgi.RequestScopeMiddleware(bare_wsgi, db),
            in_wsgi,
            "WSGI: without",
        ),
        "FastAPI: without": (lambda: fastapi_app(None, None), in_asgi, None),
        "FastAPI: its own yield dependency": (lambda: fastapi_app(yields, None), in_asgi, "FastAPI: without"),
        "FastAPI: Depends(session_of(db))": (lambda: fastapi_app(session_of(db), db), in_asgi, "FastAPI: without"),
        "FastAPI: Depends(db.current_session)": (
            lambda: fastapi_app(db.current_session, db),
            in_asgi,
            "FastAPI: without",
        ),
    }
    apps = {name: make() for name, (make, _, _) in cases.items()}
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(5 if quick else 25):
        for name, (_, measure, _) in cases.items():
            samples[name].append(measure(apps[name], 200 if quick else 1000))
    found: Figures = {}
    for name, (_, _, without) in cases.items():
        found[name] = {"us": min(samples[name])}
        if without is not None:
            found[name]["over"] = statistics.median(
                mine - theirs for mine, theirs in zip(samples[name], samples[without], strict=True)
            )
    db.close()
    return found


def bare() -> Any:
    async def answer(request: Any) -> PlainTextResponse:
        return PlainTextResponse("ok")

    return Starlette(routes=[Route("/", answer)])


def bare_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def yields() -> Iterator[None]:
    yield


def fastapi_app(dependency: Any, db: Any) -> Any:
    app = FastAPI(openapi_url=None, dependencies=[Depends(dependency)] if dependency else [])
    if db is not None:
        install(app, db)

    @app.get("/")
    async def answer() -> str:
        return "ok"

    return app


def in_asgi(app: Any, requests: int) -> float:
    async def main() -> float:
        await ask(app)
        began = time.process_time()
        for _ in range(requests):
            await ask(app)
        return (time.process_time() - began) / requests * 1e6

    return asyncio.run(main())


def in_wsgi(app: Any, requests: int) -> float:
    began = time.process_time()
    for _ in range(requests):
        body = app({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda status, headers: None)
        for _ in body:
            pass
    return (time.process_time() - began) / requests * 1e6


# -- departures ----------------------------------------------------------------------------------------------------------

SLOW = text("SELECT pg_sleep(0.05)")


def departures(url: str, quick: bool) -> Figures:
    """Seconds that a live request takes, after 200 that were left alone; its own work is 50 ms."""
    url = url.replace("+psycopg:", "+asyncpg:")
    return {
        "respool": asyncio.run(leave_alone(of_respool, url)),
        "SQLAlchemy": asyncio.run(leave_alone(of_stock, url)),
    }


async def leave_alone(make: Callable[[str], tuple[Any, Callable[[], Awaitable[None]]]], url: str) -> dict[str, float]:
    app, close = make(url)
    for _ in range(5):
        await ask(app)
    app.state.served = 0
    gone = asyncio.Event()
    asyncio.get_running_loop().call_later(0.1, gone.set)
    left = [asyncio.create_task(ask(app, gone=gone)) for _ in range(200)]
    await gone.wait()
    began = time.perf_counter()
    await ask(app)
    waited = time.perf_counter() - began
    await asyncio.gather(*left)
    await close()
    return {"seconds": waited, "served_for_nobody": app.state.served - 1}


def of_respool(url: str) -> tuple[Any, Callable[[], Awaitable[None]]]:
    db = AsyncDatabase(url, pool=PoolConfig(max_size=5))
    app = FastAPI(openapi_url=None)
    install(app, db)

    @app.get("/")
    async def slow() -> str:
        await db.session.execute(SLOW)
        app.state.served += 1
        return "ok"

    app.state.served = 0
    return app, db.close


def of_stock(url: str) -> tuple[Any, Callable[[], Awaitable[None]]]:
    engine = create_async_engine(url, pool_size=5, max_overflow=0)
    make = async_sessionmaker(engine)
    app = FastAPI(openapi_url=None)

    async def get_session() -> Any:
        async with make() as session:
            yield session

    @app.get("/")
    async def slow(session: Annotated[AsyncSession, Depends(get_session)]) -> str:
        await session.execute(SLOW)
        app.state.served += 1
        return "ok"

    app.state.served = 0
    return app, engine.dispose


# -- the command ---------------------------------------------------------------------------------------------------------


def prepared(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS visits (id INTEGER)"))
    engine.dispose()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.requests", description=__doc__)
    parser.add_argument("--only", default="overhead,hops,streams,departures", help="some of them")
    parser.add_argument("--quick", action="store_true", help="a short run; its figures are rough, and not written")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    found: dict[str, Figures] = {}
    chosen = options.only.split(",")
    if "overhead" in chosen:
        found["overhead"] = overhead(options.quick)
    if {"hops", "streams", "departures"}.intersection(chosen):
        with PostgresServer() as server:
            server.create_database("requests")
            url = server.url(database="requests")
            prepared(url)
            if "hops" in chosen:
                found["hops"] = hops(url, options.quick)
            if "streams" in chosen:
                found["streams"] = streams(url, options.quick)
            if "departures" in chosen:
                found["departures"] = departures(url, options.quick)
    for title, figures in found.items():
        print(title)
        for name, values in figures.items():
            print(f"  {name:40}", "  ".join(f"{key}={value:.2f}" for key, value in values.items()))
    if not options.quick and len(found) == 4:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
