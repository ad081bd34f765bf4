"""The request scope for WSGI: the twin of ``respool.web.asgi``.

A scope for each database is in force while the application runs. When it calls ``start_response`` the scopes are ended:
committed or rolled back, and their connections given back, before the call is passed on. If that fails, the exception
comes out of ``start_response``, so that the application answers by its own means, or its server does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextvars import copy_context
from typing import Any

from respool.session.transaction import drive
from respool.web.overload import OVERLOAD, refusal
from respool.web.requests import ENVIRON_KEY, RequestScopes, check_databases, request_label

__all__ = ["RequestScopeMiddleware"]

Environ = MutableMapping[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]


class RequestScopeMiddleware:
    """One session for each request and database, ended before the answer leaves.

    A request that gets no connection is answered 503 with ``Retry-After``, unless the application does so itself.

    Args:
        app: the WSGI application.
        databases: any number of ``Database``; they are committed in this order.

    Raises:
        ConfigError: no database was given, or one twice, or one that needs asyncio, or something else.
    """

    def __init__(self, app: WSGIApp, *databases: Any) -> None:
        self.app = app
        self.databases = check_databases(databases, asynchronous=False)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        found = environ.setdefault(ENVIRON_KEY, {})
        exchange = _Exchange(
            RequestScopes(self.databases, found, request_label(environ)), start_response, environ.get("HTTP_ACCEPT")
        )
        try:
            with exchange:
                body = self.app(environ, exchange.start)
                exchange.require_answer()
                if exchange.answered and isinstance(body, list | tuple):
                    return body  # nothing of the application's runs any more
                return _Body(exchange, body)
        except OVERLOAD as error:
            return exchange.refuse(error)


class _Exchange:
    """One request, and what came of its end. As a block: the scopes are in force, and an exception ends them."""

    __slots__ = ("accept", "answered", "failure", "scopes", "start_on")

    def __init__(self, scopes: RequestScopes, start_response: StartResponse, accept: str | None) -> None:
        self.accept = accept
        self.scopes = scopes
        self.start_on = start_response
        self.answered = False  #: an answer has begun to leave
        self.failure: BaseException | None = None  #: why the application's own answer did not

    def __enter__(self) -> None:
        self.scopes.enter()

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        try:
            if error is not None:
                self.end(None, error)
        finally:
            self.scopes.leave()

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        """What the application gets as ``start_response``."""
        code = int(status.split(None, 1)[0])
        if self.failure is not None and not self.answered:
            if code < 400:
                raise self.failure  # the answer that its failed end has made untrue, once more
        elif not self.answered:
            try:
                self.end(code, exc_info[1] if exc_info else None)
            except BaseException as failure:
                self.failure = failure
                raise
        self.answered = True
        return self.start_on(status, headers, exc_info) if exc_info else self.start_on(status, headers)

    def refuse(self, error: BaseException) -> list[bytes]:
        """Answer that there is no connection; unless an answer has begun to leave."""
        if self.answered:
            raise error
        self.answered = True
        answer = refusal(error, self.accept)
        headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
        self.start_on(f"{answer.status} {answer.text}", [*headers, *answer.headers.items()])
        return [answer.body.encode()]

    def require_answer(self) -> None:
        """Refuse to go on with a body whose answer never left, though the application swallowed why."""
        if self.failure is not None and not self.answered:
            raise self.failure

    def end(self, status: int | None, error: BaseException | None) -> None:
        if not self.scopes.end_unused():
            drive(self.scopes.end(status, error))


class _Body:
    """The application's iterable. Its parts are made in a context of their own, in which the scopes are in force.

    So what a generator puts in force between two parts, a ``db.scope()`` of its own, stays in force for the next.
    """

    __slots__ = ("_body", "_context", "_exchange", "_parts")

    def __init__(self, exchange: _Exchange, body: Iterable[bytes]) -> None:
        self._exchange = exchange
        self._body = body
        self._parts: Iterator[bytes] | None = None
        self._context = copy_context()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        part = self._context.run(self._next)
        if part is None:
            raise StopIteration
        return part

    def close(self) -> None:
        """Called by the server at the very end, whatever happened."""
        self._context.run(self._close)

    def _next(self) -> bytes | None:
        try:
            if self._parts is None:
                self._parts = iter(self._body)
            part = next(self._parts, None)
            self._exchange.require_answer()
        except BaseException as error:
            self._exchange.end(None, error)
            if not isinstance(error, OVERLOAD):
                raise
            self._parts = iter(self._exchange.refuse(error))
            part = next(self._parts)
        return part

    def _close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self._exchange.end(None, error)
            raise
        self._exchange.end(None, _Closed())


class _Closed(Exception):
    """The server closed the answer before it was started, so there is no success to be committed."""
