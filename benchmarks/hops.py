"""Sync handlers in threads, in one hop and in several: 120 clients on 15 connections, 40 threads.

Each request reads and holds its connection in a dependency, and writes in its handler, 20 ms later: two hops, for each of
which it queues for a thread.  Beside each framework stands the same work in one hop, where nobody queues twice.  What is
counted begins when every client has been served twice: by then the connections are open and the threads are there.
"""

# Annotations are evaluated here: FastAPI cannot see the local names of a postponed one.
import asyncio
import importlib
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.clients import crowd
from respool import Database, PoolConfig

__all__ = ["hops"]

CLIENTS, CONNECTIONS, PAUSE = 120, 15, 0.02
READ, WRITE = text("SELECT 1"), text("INSERT INTO visits VALUES (1)")

Made = tuple[Any, Callable[[], None]]


def hops(url: str, quick: bool) -> dict[str, dict[str, float]]:
    """Requests in two hops, beside the same work in one, by framework; and with SQLAlchemy's own."""
    cases: dict[str, Callable[[], Made]] = {"FastAPI, SQLAlchemy, pool_timeout=5": lambda: of_stock(url)}
    for name, make in FRAMEWORKS.items():
        try:
            importlib.import_module(name.lower())
        except ImportError:
            print(f"{name} is left out: it is not installed here")
            continue
        cases[f"{name}, one hop"] = lambda make=make: of_respool(url, make, one=True)  # type: ignore[misc]
        cases[f"{name}, two hops"] = lambda make=make: of_respool(url, make, one=False)  # type: ignore[misc]
    found = {}
    for name, made in cases.items():
        app, close = made()
        asked = 600 if quick or "SQLAlchemy" in name else 10_000
        found[name] = asyncio.run(crowd(app, clients=CLIENTS, requests=asked, before=2 * CLIENTS))
        close()
    return found


def of_respool(url: str, make: Callable[[Database, bool], Any], *, one: bool) -> Made:
    db = Database(url, pool=PoolConfig(max_size=CONNECTIONS), commit="on_success", begin="on_use")
    return make(db, one), db.close


def read(db: Database) -> None:
    db.session.execute(READ)


def write(db: Database) -> None:
    time.sleep(PAUSE)
    db.session.execute(WRITE)


def both(db: Database) -> None:
    read(db)
    write(db)


def with_fastapi(db: Database, one: bool) -> Any:
    from respool.web.fastapi import install

    app = FastAPI(openapi_url=None)
    install(app, db)

    def user() -> int:
        read(db)
        return 1

    @app.get("/one")
    def in_one() -> str:
        both(db)
        return "ok"

    @app.get("/two")
    def in_two(user: Annotated[int, Depends(user)]) -> str:
        write(db)
        return "ok"

    return at(app, one)


def with_starlette(db: Database, one: bool) -> Any:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    from respool.web.starlette import install

    def in_one(request: Request) -> PlainTextResponse:
        both(db)
        return PlainTextResponse("ok")

    async def in_two(request: Request) -> PlainTextResponse:
        await run_in_threadpool(read, db)
        await run_in_threadpool(write, db)
        return PlainTextResponse("ok")

    app = Starlette(routes=[Route("/one", in_one), Route("/two", in_two)])
    install(app, db)
    return at(app, one)


def with_litestar(db: Database, one: bool) -> Any:
    from litestar import Litestar, get
    from litestar.di import Provide

    from respool.web.litestar import install

    def user() -> int:
        read(db)
        return 1

    @get("/one", sync_to_thread=True)
    def in_one() -> str:
        both(db)
        return "ok"

    @get("/two", sync_to_thread=True, dependencies={"user": Provide(user, sync_to_thread=True)})
    def in_two(user: int) -> str:
        write(db)
        return "ok"

    app = Litestar([in_one, in_two], openapi_config=None)
    install(app, db)
    return at(app, one)


def with_quart(db: Database, one: bool) -> Any:
    from quart import Quart
    from quart.utils import run_sync

    from respool.web.quart import install

    app = Quart("hops")
    install(app, db)

    @app.get("/one")
    def in_one() -> str:
        both(db)
        return "ok"

    @app.get("/two")
    async def in_two() -> str:
        await run_sync(read)(db)
        await run_sync(write)(db)
        return "ok"

    return at(app, one)


FRAMEWORKS: dict[str, Callable[[Database, bool], Any]] = {
    "FastAPI": with_fastapi,
    "Starlette": with_starlette,
    "Litestar": with_litestar,
    "Quart": with_quart,
}


def at(app: Any, one: bool) -> Any:
    """The application, asked at one of its two paths."""

    async def asked(scope: Any, receive: Any, send: Any) -> None:
        path = "/one" if one else "/two"
        await app({**scope, "path": path, "raw_path": path.encode()}, receive, send)

    return asked


def of_stock(url: str) -> Made:
    engine = create_engine(url, pool_size=5, max_overflow=CONNECTIONS - 5, pool_timeout=5)
    make = sessionmaker(engine)
    app = FastAPI(openapi_url=None)

    def get_session() -> Iterator[Session]:
        with make() as session:
            yield session

    def user(session: Annotated[Session, Depends(get_session)]) -> int:
        session.execute(READ)
        return 1

    @app.get("/")
    def visit(user: Annotated[int, Depends(user)], session: Annotated[Session, Depends(get_session)]) -> str:
        time.sleep(PAUSE)
        session.execute(WRITE)
        session.commit()
        return "ok"

    return app, engine.dispose
