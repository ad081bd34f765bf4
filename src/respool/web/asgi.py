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
from respool.ending.end import Stays
from respool.ending.shield import DEADLINE
from respool.errors import ConfigError
from respool.scope.scope import put_back
from respool.session.changes.losses import logger
from respool.web.rules.client import Inbox, Message, Receive
from respool.web.rules.frameworks import answers_json, failure_answer
from respool.web.rules.lifespan import Lifespan
from respool.web.rules.overload import OVERLOAD, Refusal, refusal
from respool.web.rules.pages import Pages
from respool.web.rules.readiness import Readiness
from respool.web.rules.scopes import (
    KEY,
    SAVED,
    Layer,
    RequestScopes,
    check_databases,
    making,
    roll_back,
    without_scopes,
)

__all__ = ["EXCHANGE", "Beginning", "Beside", "EndOfRequest", "RequestScopeMiddleware"]

ASGIScope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[ASGIScope, Receive, Send], Awaitable[None]]

#: Where the exchange is found in the ASGI scope, for what is within.
EXCHANGE = f"{KEY}.exchange"


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
        dashboard: where the page that shows the databases is, such as ``"/respool"``; ``None``: nowhere.
        authorize, hosts: who may see it, as for :func:`respool.observe.dashboard.dashboard`; clients on this machine by
            default.

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
        dashboard: str | None = ...,
        authorize: Any = ...,
        hosts: Sequence[str] = ...,
    ) -> None: ...

    @overload
    def __init__(
        self,
        *databases: Any,
        app: ASGIApp,
        finish_timeout: float = ...,
        lifespan: bool | Sequence[DatabaseBase[Any]] = ...,
        dashboard: str | None = ...,
        authorize: Any = ...,
        hosts: Sequence[str] = ...,
    ) -> None: ...

    def __init__(
        self,
        *databases: Any,
        app: Any = None,
        finish_timeout: float = DEADLINE,
        lifespan: bool | Sequence[DatabaseBase[Any]] = True,
        dashboard: str | None = None,
        authorize: Any = None,
        hosts: Sequence[str] = (),
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
        self.pages = Pages()
        self.add(databases, lifespan=lifespan)
        self.pages.add(dashboard, self.databases, authorize, hosts)

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
            if self.pages and (page := self.pages.of_asgi(scope)) is not None:
                await page(scope, receive, send)
                return
            self._readiness.require()
            inbox = Inbox(receive, scope)
            label = f"{scope['method']} {scope['path']}"
            outermost = "app" not in scope  # frameworks note themselves there: ours is not inside of one
            scopes = RequestScopes(self.databases, scope.setdefault(KEY, {}), label, inbox, self.finish_timeout)
            exchange = scope[EXCHANGE] = _Exchange(scopes, inbox, self.answer_failure, outermost)
            try:
                await exchange.run(self.app, scope, inbox.receive, send)
            except BaseException as error:
                await exchange.fail(error)
                raise
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
            await scope[EXCHANGE].run(self.app, scope, receive, send)
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
        exchange: _Exchange = scope[EXCHANGE]

        async def begin(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start" and not exchange.answered and message["status"] < 400:
                exchange.scopes.hold_back(message["status"])

        try:
            token = making.set(exchange.scopes)
            try:
                await self.app(scope, receive, begin)
            finally:
                put_back(making, token)
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


#: Of a body: what the application sends itself, and files that the server is told to send, by its extensions.
_PARTS = ("http.response.body", "http.response.pathsend", "http.response.zerocopysend")


class _Exchange:
    """One request, and what came of its end.

    Args:
        scopes: those of the request.
        client: whom it answers.
        answer_by: how the application answers a failed end, where its ASGI scope does not tell.
        outermost: whether it is around the whole application.
    """

    __slots__ = (
        *("answer_by", "answered", "client", "complete", "failure", "interrupted", "outermost"),
        *("scopes", "waiting"),
    )

    def __init__(self, scopes: RequestScopes, client: Inbox, answer_by: Any, outermost: bool) -> None:
        self.scopes = scopes
        self.client = client
        self.answer_by = answer_by
        self.outermost = outermost
        self.waiting = False  #: an answer waits for the end
        self.interrupted = False  #: it did not wait until the end had come
        self.answered = False  #: an answer has begun to leave
        self.complete = False  #: all of it has left
        self.failure: BaseException | None = None  #: why the application's own answer did not

    async def run(self, app: ASGIApp, scope: ASGIScope, receive: Receive, send_on: Send) -> None:
        """Have an application answer the request: all of it, and once more that part within which the end is to be.

        Args:
            app: the application.
            scope, receive: as ASGI gives them.
            send_on: where an answer goes that may leave.
        """
        send = partial(self._send, send_on)
        try:
            await app(scope, receive, send)
        except Exception as error:
            await self.scopes.conclude(None, error, Stays.ALWAYS)  # a page of the error may ask for the session
            if self.answered:
                raise
            await self._answer_failure(error, scope, receive, send)
        else:
            if self.answered:
                return
            await self.scopes.conclude(None, _NoAnswer())
            if self.failure is not None:  # somebody swallowed it
                await self._answer_failure(self.failure, scope, receive, send)
            elif self.interrupted:
                await _answer(Refusal(504, {}, "Gateway Timeout"), send)

    async def fail(self, error: BaseException) -> None:
        """An exception leaves the application."""
        await self.scopes.conclude(None, error)
        if not self.answered and self.scopes.saved:
            self.scopes.tell_saved(type(error).__name__)

    async def _send(self, send_on: Send, message: Message) -> None:
        """What an application gets as ``send``, with where it goes."""
        if not self.answered:
            if message["type"] == "http.response.start":
                if self.failure is not None and message["status"] < 400:
                    return  # it is not true any more; an error page may leave
                message = await self._start(message)
                self.answered = True
            elif self.failure is not None or self.interrupted:  # the rest of an answer that has not left
                return
        await send_on(message)
        if not self.complete and message["type"] in _PARTS and not message.get("more_body"):
            self.complete = True
            self.client.answered()

    async def _start(self, message: Message) -> Message:
        if self.waiting:
            raise RuntimeError("a second http.response.start, while the first one waits for its COMMIT")
        self.waiting = True
        try:
            await self.scopes.conclude(message["status"], self.failure, Stays.ON_FAILURE)
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

    async def _answer_failure(self, error: BaseException, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """The application has no answer that is true: let its framework answer the error, or leave it to the outside."""
        if self.failure is not None:
            answer = self.answer_by or failure_answer(scope)
            if answer is not None and isinstance(error, Exception):
                handled = await answer(scope, receive, send, error, self.outermost)
                if handled and self.answered:
                    logger.info("%s: its end failed; answered by a handler for %r", self.scopes.label, error)
                    return
        reason = self.failure or error
        if isinstance(reason, OVERLOAD) and not self.answered:
            accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
            await _answer(refusal(reason, accept, json=answers_json(scope)), send)
        else:
            raise error


async def _answer(answer: Refusal, send: Send) -> None:
    headers = [(b"content-type", answer.content_type.encode()), (b"content-length", b"%d" % len(answer.body))]
    headers += [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body.encode()})


class _NoAnswer(Exception):
    """The application returned without an answer, so there is no success to be committed."""
