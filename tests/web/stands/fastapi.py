# Annotations are evaluated here: FastAPI cannot see the local names of a postponed one.
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, ClassVar

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Response, WebSocket
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse

from respool.web.fastapi import install, session_of
from tests.web.stands.base import NO_CLEANUP, ASGIStand, Late
from tests.web.stands.middleware import run
from tests.web.stands.starlettes import AFTER, LATE, add_around, add_pages

METHODS = ["GET", "HEAD", "POST", "OPTIONS"]


class FastAPIStand(ASGIStand):
    name = "FastAPI"
    late: ClassVar = (*LATE, Late("a dependency's end, scope=function"))
    after: ClassVar = (*AFTER, "a dependency's end, scope=request")
    unsendable: ClassVar = {"json": 500, "what the response model refuses": 500, "a range that is not there": 416}
    stopping: ClassVar = ("lifespan", "on_shutdown")
    missing: ClassVar = {"late_cleanup": NO_CLEANUP}

    def build(self) -> Any:
        nested = FastAPI(openapi_url=None)
        install(nested, *self.databases)
        self.add_do(nested)
        dependencies = [Depends(self.ending)]
        if self.guest_at.startswith("a dependency's end"):
            scope: Any = self.guest_at.partition("=")[2]
            dependencies.append(Depends(self.guest_at_the_end, scope=scope))
        life: Any = {"lifespan": self.live}
        if self.guest_at == "on_shutdown":
            life = {"on_shutdown": [self.work.guest]}
        app = FastAPI(dependencies=dependencies, openapi_url=None, **life)
        add_around(self, app, "before")
        install(app, *self.databases, **self.shown)
        add_around(self, app, "after")
        add_pages(self, app)
        self.add_do(app)
        self.add_others(app)
        app.mount("/nested", nested)

        @app.websocket("/ws")
        async def websocket(websocket: WebSocket) -> None:
            await websocket.accept()
            async for text in websocket.iter_text():
                await websocket.send_text(await self.message(int(text)))

        return app

    @asynccontextmanager
    async def live(self, app: Any) -> AsyncIterator[None]:
        yield
        if self.guest_at == "lifespan":
            await run(self.work.guest)

    async def guest_at_the_end(self) -> AsyncIterator[None]:
        yield
        await self.work.guest()

    def add_task(self, tasks: BackgroundTasks) -> None:
        if self.guest_at == "background task":
            tasks.add_task(self.work.guest)

    async def ending(self) -> AsyncIterator[None]:
        yield
        self.work.teardown()

    async def message(self, number: int) -> str:
        return str(await self.work.message(number))

    def add_do(self, app: FastAPI) -> None:
        @app.api_route("/do/{what}/{number}", methods=METHODS, response_class=PlainTextResponse)
        async def do(
            what: str, number: int, tasks: BackgroundTasks, session: Annotated[Any, Depends(session_of(self.db))]
        ) -> str:
            assert session is self.db.session
            self.add_task(tasks)
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

        @app.get("/unsendable/json")
        async def unsendable() -> Any:
            await self.work.do("flushed", 1)
            return JSONResponse({"a set": {1}})

        @app.get("/unsendable/what the response model refuses")
        async def refused() -> int:
            await self.work.do("flushed", 1)
            return "no number"  # type: ignore[return-value]

        @app.get("/unsendable/a range that is not there")
        async def no_range() -> Any:
            await self.work.do("flushed", 1)
            return FileResponse(__file__)

        @app.post("/failing")
        async def failing() -> Any:
            return StreamingResponse(await self.work.failing())

        @app.post("/streamed")
        async def streamed() -> Any:
            return StreamingResponse(await self.work.streamed())

        @app.post("/background")
        async def background(tasks: BackgroundTasks) -> str:
            tasks.add_task(self.work.after, self.db.session)
            return str(await self.work.do("order", 1))


class FastAPISync(FastAPIStand):
    kind = "sync"

    def guest_at_the_end(self) -> Iterator[None]:  # type: ignore[override]
        yield
        self.work.guest()

    def ending(self) -> Iterator[None]:  # type: ignore[override]
        yield
        self.work.teardown()

    async def message(self, number: int) -> str:
        return str(self.work.message(number))

    def add_do(self, app: FastAPI) -> None:
        @app.api_route("/do/{what}/{number}", methods=METHODS, response_class=PlainTextResponse)
        def do(
            what: str, number: int, tasks: BackgroundTasks, session: Annotated[Any, Depends(self.db.current_session)]
        ) -> str:
            assert session is self.db.session
            self.add_task(tasks)
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

        @app.get("/unsendable/json")
        def unsendable() -> Any:
            self.work.do("flushed", 1)
            return JSONResponse({"a set": {1}})

        @app.get("/unsendable/what the response model refuses")
        def refused() -> int:
            self.work.do("flushed", 1)
            return "no number"  # type: ignore[return-value]

        @app.get("/unsendable/a range that is not there")
        def no_range() -> Any:
            self.work.do("flushed", 1)
            return FileResponse(__file__)

        @app.post("/failing")
        def failing() -> Any:
            return StreamingResponse(self.work.failing())

        @app.post("/streamed")
        def streamed() -> Any:
            return StreamingResponse(self.work.streamed())

        @app.post("/background")
        def background(tasks: BackgroundTasks) -> str:
            tasks.add_task(self.work.after, self.db.session)
            return str(self.work.do("order", 1))


STANDS = [FastAPIStand, FastAPISync]
