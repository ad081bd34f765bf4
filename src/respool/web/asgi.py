"""The request scope for ASGI: all the rules of a request, for every framework.

A scope for each database is in force while the application runs. On the first ``http.response.start`` it is ended:
committed or rolled back, and its connection given back, before the message is let through. If that fails, the message
never leaves: the exception comes out of ``send()``, so that the framework answers by its own means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import partial
from typing import Any, overload

from respool.database.base import DatabaseBase
from respool.ending.aio import end_async
from respool.ending.end import Stays, end_idle
from respool.ending.shield import DEADLINE
from respool.ending.workers import perform
from respool.errors import ConfigError
from respool.session.changes.losses import logger
from respool.web.rules.client import Inbox, Message, Receive
from respool.web.rules.frameworks import answers_json, failure_answer
from respool.web.rules.lifespan import Lifespan
from respool.web.rules.overload import OVERLOAD, Refusal, refusal
from respool.web.rules.readiness import Readiness
from respool.web.rules.scopes import (
    KEY,
    SAVED,
    Layer,
    RequestScopes,
    check_databases,
    roll_back,
    without_scopes,
)

__all__ = ["SCOPES", "Beginning", "Beside", "EndOfRequest", "RequestScopeMiddleware"]

ASGIScope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[ASGIScope, Receive, Send], Awaitable[None]]

#: Where the scopes of a request are found in the ASGI scope, for what is within; and how long their end may take.
SCOPES = f"{KEY}.request"


class RequestScopeMiddleware:
    """One session for each HTTP request and database, ended before the answer leaves.

    As a wrapper, ``RequestScopeMiddleware(app, db)``, or by the framework's own means,
    ``app.add_middleware(RequestScopeMiddleware, db)``. Websockets and the lifespan get no scope of a request: open
    ``db.scope()`` there.

    A request that gets no connection is answered 503 with ``Retry-After``, unless the application does so itself. One
    whose client hangs up while it waits for a connection leaves the line.

    Args:
        app: the ASGI application.
        databases: any number of ``Database`` and ``AsyncDatabase``; they are committed in this order.
        finish_timeout: seconds that the COMMIT or ROLLBACK at the end of a request may take before its connection is
            discarded.
        lifespan: warm the databases up when the application starts, and close them when it has stopped; or which.

    Raises:
        ConfigError: no database was given, or one twice, or something else; ``finish_timeout`` is not accepted.
    """

    @overload
    def __init__(
        self,
        app: ASGIApp,
        *databases: Any,
        finish_timeout: float = ...,
        lifespan: bool | Sequence[DatabaseBase[Any]] = ...,
    ) -> None: ...

    @overload
    def __init__(
        self,
        *databases: Any,
        app: ASGIApp,
        finish_timeout: float = ...,
        lifespan: bool | Sequence[DatabaseBase[Any]] = ...,
    ) -> None: ...

    def __init__(
        self,
        *databases: Any,
        app: Any = None,
        finish_timeout: float = DEADLINE,
        lifespan: bool | Sequence[DatabaseBase[Any]] = True,
    ) -> None:
        if app is None:  # else by Starlette before 0.41.3, which gives it by its name and the databases by position
            app, *databases = databases or (None,)  # type: ignore[assignment]
        if not finish_timeout > 0:
            raise ConfigError(
                f"finish_timeout={finish_timeout!r} is not accepted",
                advice=["write seconds as a positive number: finish_timeout=10"],
                setting="finish_timeout",
            )
        self.app = app
        self.finish_timeout = finish_timeout
        self.databases: tuple[DatabaseBase[Any], ...] = ()
        self.living: tuple[DatabaseBase[Any], ...] = ()  #: those that start and stop with the application
        self.answer_failure: Any = None  #: how the application answers a failed end, where its ASGI scope does not tell
        self.add(databases, lifespan=lifespan)

    def add(self, databases: Sequence[Any], *, lifespan: bool | Sequence[Any]) -> None:
        """Serve more databases, too; they are committed after the others.

        Raises:
            ConfigError: as for the first.
        """
        self.databases = check_databases((*self.databases, *databases), asynchronous=True)
        self.living += tuple(lifespan) if isinstance(lifespan, Sequence) else tuple(databases) if lifespan else ()
        self._readiness = Readiness(self.databases)

    def require_readiness(self) -> None:
        """Have the threads of the running loop prepared for sync sessions."""
        self._readiness.require()

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._readiness.require()
            inbox = _Client(receive, scope)
            label = f"{scope['method']} {scope['path']}"
            scopes = RequestScopes(self.databases, scope.setdefault(KEY, {}), label, inbox)
            scope[SCOPES] = scopes, self.finish_timeout
            scopes.enter()
            try:
                exchange = _Exchange(scopes, scope, inbox.receive, send, self.finish_timeout)
                exchange.answer_by = self.answer_failure
                await exchange.run(self.app)
            finally:
                scopes.leave()
                inbox.close()
            return
        with without_scopes(self.databases):
            if scope["type"] == "lifespan" and self.living:
                await Lifespan(self.living, self.app, receive, send).run(scope)
            else:
                self._readiness.require()
                await self.app(scope, receive, send)


class EndOfRequest:
    """Ends what a :class:`RequestScopeMiddleware` further out has begun, where a framework answers a failed end best.

    Args:
        app: what is within.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scopes, deadline = scope[SCOPES]
            await _Exchange(scopes, scope, receive, send, deadline, inner=True).run(self.app)
        else:
            await self.app(scope, receive, send)


class Beginning:
    """Where the application begins its answer; what is further out may hold that back, and wait for the body.

    And where its exceptions come out; what is further out may make an answer of them.

    Args:
        app: the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scopes, _ = scope[SCOPES]

        async def begin(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start" and message["status"] < 400:
                scopes.hold_back(message["status"])

        try:
            with scopes.making():
                await self.app(scope, receive, begin)
        except Exception as error:  # whatever somebody further out makes of it
            await roll_back(scope.get(KEY, {}), error)
            raise


class Beside:
    """Within a middleware that works beside the application from the start of its answer on, as Starlette's base class.

    It takes the parts of the body one after the other, when it asks for them or when its own answer has left; so who has
    got rid of a part knows that nobody works on the answer before it any more.

    Args:
        app: what is within.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with Layer() as layer:

            async def begin(message: Message) -> None:
                if message["type"] == "http.response.start":
                    layer.barrier = partial(send, {"type": "http.response.body", "body": b"", "more_body": True})
                await send(message)

            await self.app(scope, receive, begin)


class _Client(Inbox):
    """For whom a request is answered."""

    __slots__ = ("_scope",)

    def __init__(self, receive: Receive, scope: ASGIScope) -> None:
        super().__init__(receive)
        self._scope = scope

    def handler(self) -> Any:
        """The function that answers the request, where the framework has noted it."""
        handler = self._scope.get("endpoint") or self._scope.get("route_handler")  # Starlette and FastAPI; Litestar
        return getattr(handler, "fn", handler)

    def route(self) -> str | None:
        """The template that its path fits, where the framework has noted it."""
        scope = self._scope
        if template := scope.get("path_template"):  # Litestar
            return str(template)
        whole = scope.get("fastapi", {}).get("effective_route_context")  # with the prefixes of FastAPI's routers
        template = getattr(whole or scope.get("route"), "path", None)
        return None if template is None else str(template)


class _Exchange:
    """One request, and what came of its end.

    Args:
        scopes: those of the request.
        scope, receive, send: as ASGI gives them.
        deadline: seconds that the end may take.
        inner: somebody further out will end what is open still.
    """

    __slots__ = (
        *("answer_by", "answered", "deadline", "failure", "inner", "interrupted"),
        *("outermost", "receive", "scope", "scopes", "send_on", "waiting"),
    )

    def __init__(
        self,
        scopes: RequestScopes,
        scope: ASGIScope,
        receive: Receive,
        send: Send,
        deadline: float,
        *,
        inner: bool = False,
    ) -> None:
        self.scopes = scopes
        self.scope = scope
        self.receive = receive
        self.send_on = send
        self.deadline = deadline
        self.inner = inner
        self.answer_by: Any = None
        self.outermost = "app" not in scope  # frameworks note themselves there: ours is not inside of one
        self.waiting = False  #: an answer waits for the end
        self.interrupted = False  #: it did not wait until the end had come
        self.answered = False  #: an answer has begun to leave
        self.failure: BaseException | None = None  #: why the application's own answer did not

    async def run(self, app: ASGIApp) -> None:
        """Have an application answer the request, and end it."""
        try:
            await self._run(app)
        except BaseException as error:
            if not self.inner:
                await self._end(None, error)
                if not self.answered and self.scopes.saved:
                    self.scopes.tell_saved(type(error).__name__)
            raise

    async def _run(self, app: ASGIApp) -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as error:
            await self._end(None, error, Stays.ALWAYS)  # a page of the error may ask for the session
            if self.answered:
                raise
            await self._answer_failure(error)
        except BaseException as error:
            await self._end(None, error)
            raise
        else:
            if self.answered:
                return
            await self._end(None, _NoAnswer())
            if self.failure is not None:  # somebody swallowed it
                await self._answer_failure(self.failure)
            elif self.interrupted and not self.inner:
                await self._answer(Refusal(504, {}, "Gateway Timeout"))

    async def send(self, message: Message) -> None:
        """What the application gets as ``send``."""
        if not self.answered:
            starts = message["type"] == "http.response.start"
            if self.failure is not None:
                # What is left of the answer that its failed end has made untrue is dropped; an error page may leave.
                if not starts or message["status"] < 400:
                    return
                await self._end(message["status"], self.failure)
                self.answered = True
            elif starts:
                message = await self._start(message)
                self.answered = True
            elif self.interrupted:  # the rest of an answer that nobody waits for
                return
        await self.send_on(message)

    async def _start(self, message: Message) -> Message:
        if self.waiting:
            raise RuntimeError("a second http.response.start, while the first one waits for its COMMIT")
        self.waiting = True
        try:
            if message["status"] < 400 and self.scopes.broken is not None:
                raise self.scopes.broken
            await self._end(message["status"], None, Stays.ON_FAILURE)
        except BaseException as failure:
            if not isinstance(failure, asyncio.CancelledError):
                self.failure = failure
            else:
                self.failure = self.scopes.broken
                self.interrupted = self.failure is None
            raise
        finally:
            self.waiting = False
        if message["status"] >= 400 and self.scopes.saved:
            self.scopes.tell_saved(message["status"])
            return {**message, "headers": [*message.get("headers", ()), (SAVED.encode(), b"yes")]}
        return message

    async def _end(self, status: int | None, error: BaseException | None, stays: Stays = Stays.NEVER) -> None:
        if stays is not Stays.ALWAYS and end_idle(self.scopes.scopes):
            return
        end = self.scopes.end(status, error or self.scopes.failure, stays)
        await end_async(end, perform, deadline=self.deadline)

    async def _answer_failure(self, error: BaseException) -> None:
        """The application has no answer that is true: let its framework answer the error, or leave it to the outside."""
        if self.failure is not None:
            answer = self.answer_by or failure_answer(self.scope)
            if answer is not None and isinstance(error, Exception):
                handled = await answer(self.scope, self.receive, self.send, error, self.outermost)
                if handled and self.answered:
                    logger.info("%s: its end failed; answered by a handler for %r", self.scopes.label, error)
                    return
        reason = self.failure or error
        if isinstance(reason, OVERLOAD) and not self.answered:
            accept = b",".join(value for name, value in self.scope["headers"] if name == b"accept").decode("latin-1")
            await self._answer(refusal(reason, accept, json=answers_json(self.scope)))
        else:
            raise error

    async def _answer(self, answer: Refusal) -> None:
        headers = [(b"content-type", answer.content_type.encode()), (b"content-length", b"%d" % len(answer.body))]
        headers += [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
        await self.send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": answer.body.encode()})


class _NoAnswer(Exception):
    """The application returned without an answer, so there is no success to be committed."""
