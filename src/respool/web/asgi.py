"""The request scope for ASGI: all the rules of a request, for every framework.

A scope for each database is in force while the application runs. On the first ``http.response.start`` it is ended:
committed or rolled back, and its connection given back, before the message is let through. If that fails, the message
never leaves: the exception comes out of ``send()``, so that the framework answers by its own means.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from respool.errors import ConfigError
from respool.session.ending import end_async
from respool.session.losses import logger
from respool.session.shield import DEADLINE
from respool.session.workers import perform
from respool.web.departures import Inbox, Message, Receive
from respool.web.frameworks import answers_json, failure_answer
from respool.web.lifespan import Lifespan
from respool.web.limits import Readiness
from respool.web.overload import OVERLOAD, refusal
from respool.web.requests import KEY, RequestScopes, check_databases, handler_of, without_scopes

__all__ = ["RequestScopeMiddleware"]

ASGIScope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[ASGIScope, Receive, Send], Awaitable[None]]


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
        lifespan: warm the databases up when the application starts, and close them when it has stopped.

    Raises:
        ConfigError: no database was given, or one twice, or something else; ``finish_timeout`` is not accepted.
    """

    def __init__(self, app: ASGIApp, *databases: Any, finish_timeout: float = DEADLINE, lifespan: bool = True) -> None:
        if not finish_timeout > 0:
            raise ConfigError(
                f"finish_timeout={finish_timeout!r} is not accepted",
                advice=["write seconds as a positive number: finish_timeout=10"],
                setting="finish_timeout",
            )
        self.app = app
        self.finish_timeout = finish_timeout
        self.databases = check_databases(databases, asynchronous=True)
        self._lifespan = lifespan
        self._readiness = Readiness(self.databases)

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._readiness.require()
            exchange = _Exchange(self, scope, receive, send)
            exchange.scopes.enter()
            try:
                await exchange.run()
            finally:
                exchange.scopes.leave()
                exchange.close()
            return
        with without_scopes(self.databases):
            if scope["type"] == "lifespan" and self._lifespan:
                await Lifespan(self.databases, self.app, receive, send).run(scope)
            else:
                self._readiness.require()
                await self.app(scope, receive, send)


class _Exchange(Inbox):
    """One request, and what came of its end."""

    __slots__ = ("answered", "failure", "middleware", "outermost", "scope", "scopes", "send_on", "started")

    def __init__(self, middleware: RequestScopeMiddleware, scope: ASGIScope, receive: Receive, send: Send) -> None:
        super().__init__(receive)
        self.middleware = middleware
        self.scope = scope
        self.send_on = send
        found = scope.setdefault(KEY, {})
        self.scopes = RequestScopes(middleware.databases, found, f"{scope['method']} {scope['path']}", self)
        self.outermost = "app" not in scope  # frameworks note themselves there: ours is not inside of one
        self.started = False  #: the application has begun an answer
        self.answered = False  #: an answer has begun to leave
        self.failure: BaseException | None = None  #: why the application's own answer did not

    def handler(self) -> str | None:
        """The function that answers the request, where the framework tells."""
        return handler_of(self.scope)

    async def run(self) -> None:
        try:
            await self.middleware.app(self.scope, self.receive, self.send)
        except BaseException as error:
            await self._end(None, error)
            if self.answered or not isinstance(error, Exception):
                raise
            await self._answer_failure(error)
        else:
            if self.answered:
                return
            await self._end(None, _NoAnswer())
            if self.failure is not None:  # somebody swallowed it
                await self._answer_failure(self.failure)

    async def send(self, message: Message) -> None:
        if not self.answered:
            starts = message["type"] == "http.response.start"
            if self.failure is not None:
                # What is left of the answer that its failed end has made untrue is dropped; an error page may leave.
                if not starts or message["status"] < 400:
                    return
                self.answered = True
            elif starts:
                await self._start(message["status"])
        await self.send_on(message)

    async def _start(self, status: int) -> None:
        if self.started:
            raise RuntimeError("a second http.response.start, while the first one waits for its COMMIT")
        self.started = True
        try:
            await self._end(status, None)
        except BaseException as failure:
            self.failure = failure
            raise
        self.answered = True

    async def _end(self, status: int | None, error: BaseException | None) -> None:
        if not self.scopes.end_unused():
            end = self.scopes.end(status, error)
            await end_async(end, perform, deadline=self.middleware.finish_timeout)

    async def _answer_failure(self, error: BaseException) -> None:
        """The application has no answer that is true: let its framework answer the error, or leave it to the outside."""
        if self.failure is not None:
            answer = failure_answer(self.scope)
            if answer is not None and isinstance(error, Exception):
                handled = await answer(self.scope, self.receive, self.send, error, self.outermost)
                if handled and self.answered:
                    logger.info("%s: its end failed; answered by a handler for %r", self.scopes.label, error)
                    return
        reason = self.failure or error
        if isinstance(reason, OVERLOAD) and not self.answered:
            await self._refuse(reason)
        else:
            raise error

    async def _refuse(self, reason: BaseException) -> None:
        accept = b",".join(value for name, value in self.scope["headers"] if name == b"accept").decode("latin-1")
        answer = refusal(reason, accept, json=answers_json(self.scope))
        headers = [(b"content-type", answer.content_type.encode()), (b"content-length", b"%d" % len(answer.body))]
        headers += [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
        await self.send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": answer.body.encode()})


class _NoAnswer(Exception):
    """The application returned without an answer, so there is no success to be committed."""
