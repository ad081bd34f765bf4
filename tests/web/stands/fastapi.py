# Annotations are evaluated here: FastAPI cannot see the local names of a postponed one.
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Response, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse
from sqlalchemy.exc import IntegrityError
from starlette.middleware.base import BaseHTTPMiddleware

from respool.errors import PoolQueueFull
from respool.web.fastapi import install, session_of
from tests.web.stands.base import ASGIStand

METHODS = ["GET", "HEAD", "POST", "OPTIONS"]


class FastAPIStand(ASGIStand):
    name = "FastAPI"

    def build(self) -> Any:
        nested = FastAPI(openapi_url=None)
        install(nested, *self.databases)
        self.add_do(nested)
        app = FastAPI(dependencies=[Depends(self.ending)], openapi_url=None)
        if self.handlers:
            app.add_exception_handler(IntegrityError, lambda request, error: PlainTextResponse("no such product", 409))
            app.add_exception_handler(PoolQueueFull, lambda request, error: PlainTextResponse("busy", 429))
        if self.around:
            app.add_middleware(BaseHTTPMiddleware, dispatch=self.pass_on)
        install(app, *self.databases)
        if self.around:
            app.add_middleware(BaseHTTPMiddleware, dispatch=self.pass_on)
        self.add_do(app)
        self.add_others(app)
        app.mount("/nested", nested)

        @app.websocket("/ws")
        async def websocket(websocket: WebSocket) -> None:
            await websocket.accept()
            async for text in websocket.iter_text():
                await websocket.send_text(await self.message(int(text)))

        return app

    @staticmethod
    async def pass_on(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    async def ending(self) -> AsyncIterator[None]:
        yield
        self.work.teardown()

    async def message(self, number: int) -> str:
        return str(await self.work.message(number))

    def add_do(self, app: FastAPI) -> None:
        @app.api_route("/do/{what}/{number}", methods=METHODS, response_class=PlainTextResponse)
        async def do(what: str, number: int, session: Annotated[Any, Depends(session_of(self.db))]) -> str:
            assert session is self.db.session
            return str(await self.work.do(what, number))

    def add_others(self, app: FastAPI) -> None:
        @app.post("/refuse/{what}")
        async def refuse(what: str) -> None:
            await self.work.do(what, 1)
            raise HTTPException(403)

        @app.post("/answer/{what}/{status}")
        async def answer(what: str, status: int, response: Response) -> str:
            response.status_code = status
            return str(await self.work.do(what, 1))

        @app.get("/stream")
        async def stream() -> Any:
            return StreamingResponse(await self.work.stream())

        @app.post("/background")
        async def background(tasks: BackgroundTasks) -> str:
            tasks.add_task(self.work.after, self.db.session)
            return str(await self.work.do("order", 1))


class FastAPISync(FastAPIStand):
    kind = "sync"

    def ending(self) -> Iterator[None]:  # type: ignore[override]
        yield
        self.work.teardown()

    async def message(self, number: int) -> str:
        return str(self.work.message(number))

    def add_do(self, app: FastAPI) -> None:
        @app.api_route("/do/{what}/{number}", methods=METHODS, response_class=PlainTextResponse)
        def do(what: str, number: int, session: Annotated[Any, Depends(self.db.current_session)]) -> str:
            assert session is self.db.session
            return str(self.work.do(what, number))

    def add_others(self, app: FastAPI) -> None:
        @app.post("/refuse/{what}")
        def refuse(what: str) -> None:
            self.work.do(what, 1)
            raise HTTPException(403)

        @app.post("/answer/{what}/{status}")
        def answer(what: str, status: int, response: Response) -> str:
            response.status_code = status
            return str(self.work.do(what, 1))

        @app.get("/stream")
        def stream() -> Any:
            return StreamingResponse(self.work.stream())

        @app.post("/background")
        def background(tasks: BackgroundTasks) -> str:
            tasks.add_task(self.work.after, self.db.session)
            return str(self.work.do("order", 1))


STANDS = [FastAPIStand, FastAPISync]
