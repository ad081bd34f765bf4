"""FastAPI with both kinds of database: the dependency, the status, handlers, streams, background tasks, middleware.

Annotations are evaluated here: FastAPI cannot see the local names of a postponed one."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Annotated, Any, Self

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from sqlalchemy.exc import IntegrityError
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.testclient import TestClient

from respool import Database, Session
from respool.errors import ConfigError, ScopeEnded, WrongScope
from respool.web.asgi import RequestScopeMiddleware
from respool.web.fastapi import install, session_of
from tests.session.shop import Order, Product, acquired, count, opened, opened_async
from tests.web.clients import Answer, call_asgi

Around = Callable[[FastAPI, Any], Any]


def by_install(app: FastAPI, *databases: Any) -> Any:
    install(app, *databases)
    return app


def by_add_middleware(app: FastAPI, *databases: Any) -> Any:
    app.add_middleware(RequestScopeMiddleware, *databases)
    return app


def by_wrapping(app: FastAPI, *databases: Any) -> Any:
    return RequestScopeMiddleware(app, *databases)


def with_base_http_middleware(app: FastAPI, *databases: Any) -> Any:
    """The framework's own middleware class on both sides: it runs what is within it in a task of its own."""

    async def pass_on(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
    install(app, *databases)
    app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
    return app


AROUNDS = [by_install, by_add_middleware, by_wrapping, with_base_http_middleware]


@pytest.fixture(params=AROUNDS, ids=lambda around: around.__name__)
def around(request: pytest.FixtureRequest) -> Around:
    return request.param  # type: ignore[no-any-return]


class Shop:
    """An application with a database of either kind, and endpoints of that kind; to be entered and left."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self.url = url

    async def __aenter__(self) -> Self:
        self.app = FastAPI()
        self._stack = AsyncExitStack()
        self.db: Any
        if self.kind == "sync":
            self.db = self._stack.enter_context(opened(self.url, commit="on_success"))
            sync_endpoints(self.app, self.db)
        else:
            url = self.url.replace("sqlite:", "sqlite+aiosqlite:")
            self.db = await self._stack.enter_async_context(opened_async(url, commit="on_success"))
            async_endpoints(self.app, self.db)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def post(self, app: Any, path: str) -> Answer:
        return await post(app, path, self.db)


@pytest.fixture(params=["sync", "async"])
def shop(request: pytest.FixtureRequest, shop_url: str) -> Shop:
    return Shop(request.param, shop_url)


def sync_endpoints(app: FastAPI, db: Database) -> None:
    @app.post("/orders/{product_id}", status_code=201)
    def order(product_id: int, session: Annotated[Session, Depends(db.current_session)]) -> dict[str, bool]:
        session.add(Order(product_id=product_id))
        return {"same": session is db.session}

    @app.post("/refused")
    def refused() -> None:
        db.session.add(Order(product_id=1))
        db.session.flush()
        raise HTTPException(418, "short and stout")

    @app.post("/broken")
    def broken() -> None:
        db.session.add(Order(product_id=1))
        db.session.flush()
        raise LookupError("on purpose")


def async_endpoints(app: FastAPI, db: Any) -> None:
    @app.post("/orders/{product_id}", status_code=201)
    async def order(product_id: int, session: Annotated[Any, Depends(db.current_session)]) -> dict[str, bool]:
        session.add(Order(product_id=product_id))
        return {"same": session is db.session}

    @app.post("/refused")
    async def refused() -> None:
        db.session.add(Order(product_id=1))
        await db.session.flush()
        raise HTTPException(418, "short and stout")

    @app.post("/broken")
    async def broken() -> None:
        db.session.add(Order(product_id=1))
        await db.session.flush()
        raise LookupError("on purpose")


async def post(app: Any, path: str, db: Any) -> Answer:
    done = await call_asgi(app, path, "POST", probe=lambda: acquired(db))
    assert acquired(db) == 0
    assert db.scopes() == ()
    return done


async def test_a_success_is_saved_before_it_is_told(shop: Shop, around: Around, shop_url: str) -> None:
    seen: list[int] = []
    async with shop:
        app = around(shop.app, shop.db)
        done = await call_asgi(app, "/orders/1", "POST", probe=lambda: seen.append(count(shop_url)))
    assert (done.status, done.body, done.error) == (201, b'{"same":true}', None)
    assert seen == [1]


async def test_promise_03_a_failed_commit_is_answered_with_500(shop: Shop, around: Around, shop_url: str) -> None:
    async with shop:
        done = await shop.post(around(shop.app, shop.db), "/orders/999")
    assert done.status == 500
    assert isinstance(done.error, IntegrityError)
    assert count(shop_url) == 0


async def test_promise_03_a_registered_handler_answers_a_failed_commit(
    shop: Shop, around: Around, shop_url: str
) -> None:
    async with shop:

        @shop.app.exception_handler(IntegrityError)
        async def conflict(request: Request, error: IntegrityError) -> JSONResponse:
            return JSONResponse({"path": request.url.path}, status_code=409)

        done = await shop.post(around(shop.app, shop.db), "/orders/999")
    assert (done.status, done.body, done.error) == (409, b'{"path":"/orders/999"}', None)
    assert count(shop_url) == 0


async def test_promise_03_a_handler_that_calls_it_a_success_is_not_believed(shop: Shop, around: Around) -> None:
    async with shop:

        @shop.app.exception_handler(IntegrityError)
        def fine(request: Request, error: IntegrityError) -> JSONResponse:
            return JSONResponse({}, status_code=200)

        done = await shop.post(around(shop.app, shop.db), "/orders/999")
    assert done.status == 500


async def test_the_handler_for_all_that_is_unexpected_answers_a_failed_commit(shop: Shop, around: Around) -> None:
    async with shop:

        @shop.app.exception_handler(Exception)
        async def sorry(request: Request, error: Exception) -> JSONResponse:
            return JSONResponse({"sorry": type(error).__name__}, status_code=500)

        done = await shop.post(around(shop.app, shop.db), "/orders/999")
    assert (done.status, done.body) == (500, b'{"sorry":"IntegrityError"}')
    assert isinstance(done.error, IntegrityError)


async def test_what_a_dependency_makes_of_a_failed_commit_is_answered(db: Database) -> None:
    def translate() -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise HTTPException(409, "no such product") from None

    app = FastAPI(dependencies=[Depends(translate)])
    sync_endpoints(app, db)
    done = await post(by_install(app, db), "/orders/999", db)
    assert (done.status, done.body) == (409, b'{"detail":"no such product"}')


@pytest.mark.parametrize("path, status, error", [("/refused", 418, type(None)), ("/broken", 500, LookupError)])
async def test_exceptions_roll_back(
    shop: Shop, around: Around, shop_url: str, path: str, status: int, error: type
) -> None:
    async with shop:
        done = await shop.post(around(shop.app, shop.db), path)
    assert done.status == status
    assert isinstance(done.error, error)
    assert done.at_start in (0, None)
    assert count(shop_url) == 0


async def test_promise_05_streams_and_background_tasks_need_a_scope_of_their_own(db: Database) -> None:
    told: list[Any] = []
    app = by_install(FastAPI(), db)

    async def refused(session: Session) -> None:
        with pytest.raises(ScopeEnded) as error:
            session.get(Product, 1)
        told.append(error.value)

    @app.get("/stream")
    async def stream(tasks: BackgroundTasks) -> StreamingResponse:
        session = db.session
        session.get(Product, 1)

        async def body() -> AsyncIterator[bytes]:
            await refused(session)
            with db.scope("export") as own:
                yield own.get_one(Product, 1).name.encode()

        tasks.add_task(refused, session)
        return StreamingResponse(body(), background=tasks)

    done = await call_asgi(app, "/stream")
    assert done.body == b"tea"
    assert [error.scope for error in told] == ["GET /stream"] * 2
    assert acquired(db) == 0


async def test_objects_can_be_read_after_the_end(db: Database) -> None:
    """Loaded values stay: ``expire_on_commit`` is off, and a closed session lets go of objects as they are."""
    app = by_install(FastAPI(), db)

    @app.get("/product")
    async def product() -> StreamingResponse:
        tea = db.session.get_one(Product, 1)
        tea.stock = 4
        return StreamingResponse(iter([tea.name.encode(), str(tea.stock).encode()]))

    done = await call_asgi(app, "/product")
    assert (done.status, done.body, done.error) == (200, b"tea4", None)


async def test_many_sync_requests_at_once_end_although_they_are_more_than_threads_and_connections(
    shop_url: str,
) -> None:
    """A session ends without the framework's threads, which may all wait for the connection that it holds."""
    from anyio.to_thread import current_default_thread_limiter

    current_default_thread_limiter().total_tokens = 4
    with opened(shop_url, commit="on_success") as db:
        app = by_install(FastAPI(), db)

        @app.post("/order")
        def order() -> Response:
            db.session.add(Order(product_id=1))
            db.session.flush()
            return Response(status_code=204)

        answers = await asyncio.gather(*(call_asgi(app, "/order", "POST") for _ in range(20)))
        assert [answer.status for answer in answers] == [204] * 20
        assert acquired(db) == 0
    assert count(shop_url) == 20


async def test_the_session_as_a_dependency_that_needs_no_thread(db: Database) -> None:
    app = by_install(FastAPI(), db)

    @app.get("/")
    async def same(session: Annotated[Session, Depends(session_of(db))]) -> bool:
        return session is db.session

    assert (await call_asgi(app)).body == b"true"


def test_a_database_is_installed_once(db: Database) -> None:
    app = FastAPI()
    install(app, db)
    with pytest.raises(ConfigError, match="installed in this application already"):
        install(app, db)
    with pytest.raises(ConfigError, match="no database"):
        install(app)


@pytest.mark.parametrize("installed", [False, True])
def test_a_dependency_that_yields_its_own_blocks_session_is_told_what_to_write(db: Database, installed: bool) -> None:
    """FastAPI enters it in a thread, with a copy of the context; an async one it enters where the handler runs."""

    def own() -> Iterator[Any]:
        with db.scope("own") as session:
            yield session

    async def own_async() -> AsyncIterator[Any]:
        with db.scope("own") as session:
            yield session

    app = FastAPI()
    if installed:
        install(app, db)

    @app.get("/")
    def read(session: Annotated[Any, Depends(own)]) -> str:
        return str(session.get_one(Product, 1).name)

    @app.get("/async")
    def read_too(session: Annotated[Any, Depends(own_async)]) -> str:
        return str(session.get_one(Product, 1).name)

    with TestClient(app) as client:
        with pytest.raises(WrongScope, match=re.escape("Depends(session_of(db))")):
            client.get("/")
        assert client.get("/async").json() == "tea"
    assert acquired(db) == 0
