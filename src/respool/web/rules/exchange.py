"""One request under WSGI, from its application's call to the first part of its answer: held back, ended, let go.

A WSGI server sends nothing before the first part that is not empty. So what the application hands to ``start_response`` is
kept until that is there, and only then is the request ended; until then everything can be taken back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from itertools import chain
from threading import get_ident
from typing import Any

from respool.database.base import DatabaseBase
from respool.ending.end import Stays, drive, end_idle
from respool.session.changes.losses import logger
from respool.web.rules.overload import OVERLOAD, refusal
from respool.web.rules.scopes import ENVIRON_KEY, RequestScopes, request_label

__all__ = ["Environ", "Exchange", "FailureApp", "StartResponse", "WSGIApp", "Within"]

Environ = MutableMapping[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]
#: Answers an exception as the application would have done, had it been raised within; ``None`` if it has no answer.
FailureApp = Callable[[Environ, StartResponse, Exception], Iterable[bytes] | None]

#: Where the exchange is found in the environ.
_KEY = "respool.exchange"
#: What an application may have changed in the environ on its way to a handler.
_PLACE = ("SCRIPT_NAME", "PATH_INFO")
#: What servers refuse in a head.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_END = object()


class Exchange:
    """One request, and what came of its end. Whoever runs within it finds it by :meth:`of`.

    Args:
        databases: those with sessions.
        environ, start_response: as WSGI gives them.
        answer_failure: as for the middleware.
    """

    __slots__ = (
        *("answer_failure", "answered", "code", "environ", "error", "failure", "head", "note", "returned", "scopes"),
        *("_place", "_start_on", "_thread", "_write_on"),
    )

    def __init__(
        self,
        databases: Sequence[DatabaseBase[Any]],
        environ: Environ,
        start_response: StartResponse,
        answer_failure: FailureApp | None = None,
    ) -> None:
        self.answer_failure = answer_failure
        self.environ = environ
        environ[_KEY] = self
        self.scopes = RequestScopes(databases, environ.setdefault(ENVIRON_KEY, {}), request_label(environ))
        self.head: tuple[Any, ...] | None = None  #: what the application has handed to start_response
        self.code = 0  #: the status in it
        self.note: Any = None  #: what the framework needs to answer a failure
        self.returned = False  #: the application has handed over its body
        self.answered = False  #: the answer has begun to leave
        self.error: BaseException | None = None  #: what the application's own answer is about
        self.failure: BaseException | None = None  #: why no success must leave any more
        self._place = [environ.get(name, "") for name in _PLACE]
        self._start_on = start_response
        self._thread = 0  #: the one that makes a part of the body
        self._write_on: Callable[[bytes], object] | None = None

    @staticmethod
    def of(environ: Environ) -> Exchange | None:
        """The exchange that an application's code is within; none for what makes a part of the body, and comes later."""
        exchange: Exchange | None = environ.get(_KEY)
        return None if exchange is None or exchange.answered or exchange._thread else exchange

    def join(self, databases: Sequence[DatabaseBase[Any]]) -> None:
        """Have sessions of more databases, which end with the others, and are committed before them."""
        self.forget()
        self.scopes.join(databases)

    def within(
        self,
        app: WSGIApp,
        databases: Sequence[DatabaseBase[Any]],
        environ: Environ,
        start_response: StartResponse,
    ) -> Iterable[bytes]:
        """Have an application answer that is within this one, and whose body somebody in between may read."""
        codes: list[int] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            codes.append(int(status.split(None, 1)[0]))
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        self.join(databases)
        body = app(environ, start)
        return body if isinstance(body, list | tuple) else Within(environ, body, codes)

    def run(self, app: WSGIApp) -> Iterable[bytes]:
        """Have the application answer, up to the first part of its body."""
        try:
            return self._begin(app(self.environ, self.start))
        except BaseException as error:
            if not self.answered and (error is self.failure or isinstance(error, OVERLOAD)):
                return self.replace(error)
            self.finish(None, error)
            raise
        finally:
            self.scopes.leave()

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        """What the application gets as ``start_response``."""
        given = (status, headers, exc_info) if exc_info else (status, headers)
        if self.answered:
            return self._start_on(*given)
        code = int(status.split(None, 1)[0])
        _check_head(status, headers)
        if code < 400 and self.failure is not None:
            raise self.failure  # the answer that it has made untrue, once more
        self.error = self.error or (exc_info[1] if exc_info else None)
        if code < 400 and self.error is None:
            (self.suspend if self.returned else self.settle)(code)
        self.head, self.code = given, code
        return self._write

    def stream(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """A body that is sent by others, and ends the request with its first part."""
        self.returned = True
        self.suspend(self.code)
        return _Body(self, body)

    def forget(self) -> None:
        """An application is asked from its start, maybe once more: what has failed before is made good by that."""
        self.error = self.failure
        for scope in self.scopes.scopes:
            scope.failure = scope.taken = scope.sealed = None

    # -- the end --------------------------------------------------------------------------------------------------

    def settle(self, code: int) -> None:
        """The handler has returned an answer. If it is a success, its work is to be saved, whoever cleans up after it.

        Args:
            code: the answer's status.

        Raises:
            Exception: it could not be flushed, and was rolled back. No success leaves any more.
        """
        if code >= 400 or self.error is not None:
            return
        try:
            for scope in self.scopes.scopes:
                if scope.session is not None and scope.live and scope.policy != "manual":
                    if not scope.session._is_clean():
                        scope.session.flush()
                    scope.seal(code)
        except Exception as failure:
            self.failure = failure
            self.take_back(failure)
            raise

    def suspend(self, code: int) -> None:
        """What runs from here on makes a part of the body: the request's session is refused to it.

        If it opens a scope of its own, the request is ended before.

        Args:
            code: the answer's status.

        Raises:
            Exception: as :meth:`settle`.
        """
        if self.failure is not None or self._thread:
            return
        self.settle(code)
        self.code, self._thread = code, get_ident()
        for scope in self.scopes.scopes:
            scope.waits, scope.face = self._give_way, None

    def resume(self) -> None:
        """The part is there."""
        self._thread = 0
        for scope in self.scopes.scopes:
            scope.waits, scope.face = None, scope.session

    def conclude(self) -> None:
        """Commit or roll back, and let the answer leave.

        Raises:
            Exception: what the end raises. Nothing has left then.
        """
        if self.head is None or (self.failure is not None and self.code < 400):
            raise self.failure or TypeError("the application has begun its body, and has not called start_response()")
        self.resume()
        self.scopes.answers(self.code)
        try:
            if not end_idle(self.scopes.scopes):
                drive(self.scopes.end(self.code, self.error, Stays.ON_FAILURE))
        except BaseException as failure:
            self.failure = failure
            raise
        self._answers()
        self._write_on = self._start_on(*self.head)

    def take_back(self, error: BaseException) -> None:
        """Something has failed: all is rolled back before the application answers that, whatever it answers.

        The session can be used until then; nothing of it is committed any more.

        Args:
            error: what.
        """
        self.error = self.error or error
        self.resume()
        for scope in self.scopes.scopes:
            scope.sealed = None
        drive(self.scopes.end(None, error, Stays.ALWAYS))

    def replace(self, error: BaseException) -> Iterable[bytes]:
        """Have the application answer by its own means what went wrong before anything has left.

        Raises:
            BaseException: the error, if it has none.
        """
        app, self.answer_failure = self.answer_failure, None
        try:
            self.take_back(error)
            if app is not None and isinstance(error, Exception):
                self.failure = error
                self.head, self.returned = None, False
                self.environ.update(zip(_PLACE, self._place, strict=True))
                body = app(self.environ, self.start, error)
                if body is not None:
                    return self._begin(body)
            if isinstance(error, OVERLOAD):
                self.finish(None, error)
                return self._refuse(error)
            raise error
        except BaseException as last:
            self.finish(None, last)
            raise

    def finish(self, code: int | None, error: BaseException | None) -> None:
        """End the scopes, unless they are over: before the answer leaves they are.

        Args:
            code: the answer's status.
            error: what it is about, or why there is none.
        """
        if self.answered:
            return
        self.resume()
        self.scopes.answers(code)
        if not end_idle(self.scopes.scopes):
            drive(self.scopes.end(code, error))

    def _begin(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """A body is handed over: look at its first part."""
        self.returned = True
        ready = isinstance(body, list | tuple)  # nothing of the application's runs any more
        if self.head is not None and not ready:
            with suppress(Exception):  # no success leaves any more
                self.suspend(self.code)
        parts = _Body(self, body)
        parts.begin()  # and answers what may have failed by then
        return body if ready and self.answered and not parts.replaced else parts

    def _give_way(self) -> None:
        """The body opens a scope of its own, which is to see what was saved, and must not wait for it."""
        holds = any(scope.session is not None and scope.session.in_transaction() for scope in self.scopes.scopes)
        if holds and get_ident() == self._thread:
            if self.head is None:
                self.finish(self.code, self.error)
            else:
                self._write(b"")

    def _write(self, data: bytes) -> object:
        if not self.answered:
            self.conclude()
        assert self._write_on is not None
        return self._write_on(data)

    def _refuse(self, error: BaseException) -> list[bytes]:
        answer = refusal(error, self.environ.get("HTTP_ACCEPT"))
        headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
        self._answers()
        self._start_on(f"{answer.status} {answer.text}", [*headers, *answer.headers.items()])
        return [answer.body.encode()]

    def _answers(self) -> None:
        self.answered, self.note = True, None
        if self.environ.get(_KEY) is self:  # neither keeps the other
            del self.environ[_KEY]


class Within:
    """A body that is read by something within the exchange: while it makes a part, it is refused the request's session.

    Args:
        environ: where the exchange is found.
        body: the body.
        codes: the status is the last of them, once the answer is started.
    """

    __slots__ = ("_body", "_codes", "_environ", "_parts")

    def __init__(self, environ: Environ, body: Iterable[bytes], codes: Sequence[int]) -> None:
        self._environ = environ
        self._body = body
        self._codes = codes
        self._parts: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        exchange = Exchange.of(self._environ)
        if exchange is None or not self._codes:
            return self._next()
        exchange.suspend(self._codes[-1])
        try:
            return self._next()
        finally:
            exchange.resume()

    def close(self) -> None:
        """Close the body."""
        _close(self._body)

    def _next(self) -> bytes:
        if self._parts is None:
            self._parts = iter(self._body)
        return next(self._parts)


class _Body:
    """The application's iterable. Its parts are made in a context of their own, in which the scopes are in force.

    So what a generator puts in force between two parts, a ``db.scope()`` of its own, stays in force for the next.
    """

    __slots__ = ("_body", "_context", "_exchange", "_first", "_parts", "replaced")

    def __init__(self, exchange: Exchange, body: Iterable[bytes]) -> None:
        self._exchange = exchange
        self._body = body
        self._parts: Iterator[bytes] | None = None
        self._first: Any = None
        self._context = copy_context()
        self.replaced = False  #: by the application's answer to what went wrong

    def begin(self) -> None:
        """Make the first part."""
        self._first = self._context.run(self._next)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        part, self._first = self._first, None
        if part is None:
            part = self._context.run(self._next)
        if part is _END:
            raise StopIteration
        return part  # type: ignore[no-any-return]

    def close(self) -> None:
        """Called by the server at the very end, whatever happened."""
        self._context.run(self._close)

    def _next(self) -> Any:
        exchange = self._exchange
        try:
            if self._parts is None:
                self._parts = iter(self._body)
            while True:
                part = next(self._parts, _END)
                if exchange.answered:
                    return part
                if part is _END or part:
                    if part is not _END and not isinstance(part, bytes):
                        raise TypeError(f"a part of the body is {type(part).__name__}, and not bytes")
                    exchange.conclude()
                    return part
                if exchange.head is None:
                    return part  # as applications say that they are not ready
        except BaseException as error:
            if exchange.answered:
                raise
            return self._replace(error)

    def _replace(self, error: BaseException) -> Any:
        before = self._body
        self.replaced, self._body, self._parts = True, (), None
        try:
            _close(before)
        except Exception:
            logger.exception("%s: closing what had failed already failed, too", self._exchange.scopes.label)
        self._body = self._exchange.replace(self._exchange.failure or error)
        self._parts = iter(self._body)
        return next(self._parts, _END)

    def _close(self) -> None:
        try:
            _close(self._body)
        except BaseException as error:
            self._exchange.finish(None, error)
            raise
        self._exchange.finish(None, _Closed())


class _Closed(Exception):
    """The server closed the answer before it was started, so there is no success to be committed."""


def _close(body: Any) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _check_head(status: str, headers: Any) -> None:
    """Refuse what a server would, while nothing is saved."""
    for text in (status, *chain.from_iterable(headers)):
        if not isinstance(text, str) or _CONTROL.search(text):
            raise ValueError(f"not a text that can stand in the head of an answer: {text!r}")
