"""What ASGI and WSGI have in common: the databases of an application, and the scopes of one request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from inspect import iscoroutinefunction
from typing import Any, Self

from respool.database import applications
from respool.database.applications import Words, two_of_one_name
from respool.database.base import DatabaseBase
from respool.ending.aio import end_async
from respool.ending.end import End, Stays, drive, end_idle
from respool.ending.shield import DEADLINE
from respool.ending.workers import perform
from respool.errors import ConfigError
from respool.scope.scope import Scope, put_back
from respool.session.changes.losses import logger
from respool.web.rules.holders_first import arrive
from respool.whereabouts import Client

__all__ = [
    "ENVIRON_KEY",
    "KEY",
    "SAVED",
    "Layer",
    "RequestScopes",
    "called_by",
    "check_databases",
    "check_new",
    "end_request",
    "making",
    "request_label",
    "roll_back",
    "seal",
    "tell_handler",
    "what_is_called",
    "without_scopes",
]

#: Where the scopes of a request are found in the ASGI scope: a mapping by database name.
KEY = "respool"
#: The same for WSGI, whose names that are no plain strings have a dot (PEP 3333).
ENVIRON_KEY = "respool.scopes"

#: Where the class of an application has the middleware that is called in its place.
_CALLED = "_respool_called"

#: The header of an error that is answered after a COMMIT: what the request has changed is saved nevertheless.
SAVED = "respool-saved"


_WORDS = Words(
    by="RequestScopeMiddleware",
    none="RequestScopeMiddleware got no database",
    name_them=["name those that requests use: RequestScopeMiddleware(app, db)"],
    sync_only=" of a WSGI application",
    instead="give it a Database with a sync driver, or serve the application by ASGI: respool.web.asgi",
)


def check_databases(databases: Sequence[Any], *, asynchronous: bool) -> tuple[DatabaseBase[Any], ...]:
    """The databases of a middleware, if they can be served by it; they know from then on that they are.

    Raises:
        ConfigError: there is none, one is not a database, is given twice, or needs asyncio where there is none.
    """
    found = applications.check_databases(databases, _WORDS, asynchronous=asynchronous)
    for database in found:
        database.installed = True
    return found


def check_new(databases: Sequence[DatabaseBase[Any]], installed: Sequence[object]) -> None:
    """Refuse to install a database in an application twice, or two of one name.

    Raises:
        ConfigError: one is installed already, or another one has its name.
    """
    names = {getattr(each, "name", None): each for each in installed}
    for database in databases:
        if database.name in names and names[database.name] is not database:
            raise two_of_one_name(f"install() got {database!r} beside {names[database.name]!r}", database.name)
        if database in installed:
            raise ConfigError(
                f"database {database.name!r} is installed in this application already",
                advice=["install each database once"],
                setting="databases",
            )


class RequestScopes:
    """The scopes of one request, one for each database, in force until :meth:`leave`, whatever was before.

    Args:
        databases: those of the middleware.
        found: the mapping in the ASGI scope or WSGI environ where the scopes can be found by name. A database whose
            scope is there and alive already, put by a middleware further out, is left to that one.
        label: what people call the request: ``"POST /orders"``.
        client: for whom it is answered, where the server tells of its departure.
        deadline: seconds after which a COMMIT or ROLLBACK is given up and its connection discarded.
    """

    __slots__ = (
        *("_arrival", "_client", "_deadline", "_found", "_held_back", "_loop"),
        *("ends", "label", "scopes", "status"),
    )

    def __init__(
        self,
        databases: Iterable[DatabaseBase[Any]],
        found: MutableMapping[str, Scope],
        label: str,
        client: Client | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self._found = found
        self._client = client
        self._deadline = deadline
        self._loop = asyncio._get_running_loop()  # None, where there is none
        self._arrival: list[int] = arrive() if self._loop is not None else []
        self.label = label if label.isprintable() else repr(label)[1:-1]  # one line in a log, whatever is sent
        self.ends: list[End] = []  #: so far
        self.status: int | None = None  #: of an answer that somebody holds back
        self._held_back: Callable[[], bool] = lambda: False
        self.scopes: list[Scope] = []
        self.join(databases)

    def join(self, databases: Iterable[DatabaseBase[Any]]) -> None:
        """Have scopes of more databases, which end with the others, and are committed before them."""
        method, _, _ = self.label.partition(" ")
        found, more = self._found, []
        for database in databases:
            outer = found.get(database.name)
            if outer is not None and outer.live:
                if outer.owner is not database:
                    raise two_of_one_name(
                        f"{database!r} is in a middleware inside of that of {outer.owner!r}", database.name
                    )
                continue
            scope = found[database.name] = database.new_scope(self.label)
            scope.client = self._client
            scope.method = method
            more.append(scope)
        for scope in more:
            scope.enter()
        self.scopes[:0] = more

    def leave(self) -> None:
        """Put back what was in force before."""
        self._arrival.clear()
        for scope in self.scopes:
            scope.leave()

    def hide(self) -> None:
        """Have none in force, whatever was before: this is no request."""
        self._arrival.clear()
        for scope in self.scopes:
            scope.variable.set(None)

    @property
    def failure(self) -> BaseException | None:
        """What has failed, so that nothing is committed any more."""
        for scope in self.scopes:
            if scope.failure is not None:
                return scope.failure
        return None

    @property
    def saved(self) -> bool:
        """Whether an end has committed something."""
        return any(end.saved for end in self.ends)

    @property
    def broken(self) -> BaseException | None:
        """Why a commit has failed, which no success can be answered to any more."""
        for end in self.ends:
            if end.error is None and end.failure is not None:
                return end.failure
        return None

    def tell_saved(self, answer: object) -> None:
        """The answer is an error, or there is none, though a COMMIT has succeeded."""
        logger.error(
            "request %s: ended with %s after its COMMIT had succeeded: what it has changed is saved", self.label, answer
        )

    def answers(self, status: int | None) -> None:
        """The status is known with which the request is answered: for whoever takes notes."""
        if status is not None:
            for scope in self.scopes:
                if scope.status != status:
                    scope.answers(status)

    def end(self, status: int | None = None, error: BaseException | None = None, stays: Stays = Stays.NEVER) -> End:
        """The end of all scopes, to be driven."""
        end = End([scope for scope in self.scopes if scope.live], status, error, stays)
        self.ends.append(end)
        return end

    async def conclude(
        self, status: int | None, error: BaseException | None = None, stays: Stays = Stays.NEVER
    ) -> None:
        """Commit or roll back, and give every connection back; a second call does nothing.

        But where a commit has failed, a success is refused again.

        Args:
            status: the answer's, which has not begun to leave.
            error: what escaped from the application.
            stays: whether the session can be used afterwards, by an error page.

        Raises:
            Exception: what the end itself raises. The answer must not be sent then.
        """
        if self.ends and status is not None and status < 400 and (broken := self.broken) is not None:
            raise broken
        self.answers(status)
        if stays is Stays.ALWAYS or not end_idle(self.scopes):
            await end_async(self.end(status, error or self.failure, stays), perform, deadline=self._deadline)
        if stays is not Stays.ALWAYS:
            self._arrival.clear()  # the parts of a long answer would go before all who came meanwhile

    def hold_back(self, status: int | None, held_back: Callable[[], bool] = lambda: True) -> None:
        """The application has begun an answer, which has not left: who opens a scope now makes the body of it.

        Before that what the request has done is committed.

        Args:
            status: the answer's, if it is known.
            held_back: whether it is so, asked when a scope is opened.
        """
        self.status = status
        self._held_back = held_back
        for scope in self.scopes:
            if scope.live:
                scope.due = self

    def let_through(self) -> None:
        """The answer is on its way."""
        for scope in self.scopes:
            scope.due = None

    async def make_way_async(self) -> None:
        """Commit, or roll back, what was done so far; the session can be used until the answer leaves."""
        if self._is_awaited():
            for layer in reversed(_layers.get()):
                barrier, layer.barrier = layer.barrier, None
                if barrier is not None:
                    await barrier()
            self.let_through()
            await end_async(self.end(self.status, stays=Stays.ALWAYS), perform, deadline=self._deadline)

    def make_way(self) -> None:
        """The same where nothing can be awaited; in the event loop's own thread sync sessions only can be seen to."""
        if not self._is_awaited():
            return
        if self._loop is not None and asyncio._get_running_loop() is None:
            asyncio.run_coroutine_threadsafe(self.make_way_async(), self._loop).result()
            return
        self.let_through()
        end = self.end(self.status, stays=Stays.ALWAYS)
        end.scopes = [scope for scope in end.scopes if scope.life is None or not scope.life.asynchronous]
        drive(end)

    def _is_awaited(self) -> bool:
        """Whether who is here makes the body of an answer that is held back."""
        return making.get() is self and self._held_back()


#: The request whose answer is made here, with all that is started; what is around that is not.
making: ContextVar[RequestScopes | None] = ContextVar("respool_making", default=None)


class Layer:
    """A middleware that works beside what is within it. As a block: what runs in it is within.

    Attributes:
        barrier: what is over when the middleware does not work any more, but waits for the body.
    """

    __slots__ = ("_token", "barrier")

    def __init__(self) -> None:
        self.barrier: Callable[[], Awaitable[object]] | None = None

    def __enter__(self) -> Self:
        self._token = _layers.set((*_layers.get(), self))
        return self

    def __exit__(self, *error: object) -> None:
        put_back(_layers, self._token)


_layers: ContextVar[tuple[Layer, ...]] = ContextVar("respool_layers", default=())


@contextmanager
def without_scopes(databases: Iterable[DatabaseBase[Any]]) -> Iterator[None]:
    """Have no scope of these databases in force for the length of a block: it is not about one request."""
    with ExitStack() as hidden:
        for database in databases:
            hidden.enter_context(database.without_scope())
        yield


def called_by(app: Any, middleware: Callable[..., Any]) -> None:
    """Have a middleware called wherever an application is, which stays the object that it was, only of a new class.

    Args:
        app: the application.
        middleware: what is called in its place. It has to call ``type(app).__call__`` of before.
    """

    # servers look whether it is a coroutine function, and whether it can be called without arguments, as a factory is
    def call(self: Any, environ: Any, start_response: Any) -> Any:
        return middleware(environ, start_response)

    async def call_async(self: Any, scope: Any, receive: Any, send: Any) -> Any:
        return await middleware(scope, receive, send)

    kind: Any = type(app)
    asynchronous = iscoroutinefunction(kind.__call__)
    body = {"__slots__": (), "__module__": kind.__module__, "__call__": call_async if asynchronous else call}
    body[_CALLED] = middleware
    app.__class__ = type(kind)(kind.__name__, (kind,), body)


def what_is_called(app: Any) -> Any:
    """The middleware that is called in an application's place, if there is one."""
    return vars(type(app)).get(_CALLED)


def request_label(environ: Mapping[str, Any]) -> str:
    """What people call the request of a WSGI environ."""
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "") or "/"
    return f"{environ.get('REQUEST_METHOD', 'GET')} {path}"


def tell_handler(
    found: Mapping[str, Scope], handler: Any, method: str | None = None, *, route: str | None = None
) -> None:
    """A function is about to answer the request: a commit that fails says so.

    Args:
        found: the scopes by name.
        handler: the function.
        route: the template that the request's path fits: ``/orders/{number}``.
        method: the request's, where the function may be a view class's: then one of its methods is it.
    """
    kind = getattr(handler, "view_class", None)  # as as_view() calls it: Flask's and Quart's, Django's, Sanic's
    if kind is not None and method is not None:
        handler = vars(kind).get(method.lower(), kind)
    for scope in found.values():
        scope.handler, scope.route = handler, route


async def roll_back(
    found: Mapping[str, Scope], error: BaseException, status: int | None = None, deadline: float = DEADLINE
) -> None:
    """An error is about to be answered by the application: roll back, so that its page finds nothing in its way.

    The session can be used until the answer leaves; nothing of it is committed any more. An exception with a status below
    400 is an answer like any other.

    Args:
        found: the scopes by name.
        error: the error.
        status: its own, where it is an answer; by default what it says.
        deadline: as for :func:`end_request`.
    """
    status = getattr(error, "status_code", 500) if status is None else status
    if isinstance(status, int) and status < 400:
        return
    end = End([scope for scope in found.values() if scope.live], None, error, Stays.ALWAYS)
    await end_async(end, perform, deadline=deadline)


def seal(found: Mapping[str, Scope], status: int) -> None:
    """The answer is made: what cleans up from here on, by ``rollback()`` or ``close()``, takes nothing of it away.

    Args:
        found: the scopes by name.
        status: the answer's.
    """
    for scope in found.values():
        scope.seal(status)


async def end_request(
    found: Mapping[str, Scope], databases: Iterable[DatabaseBase[Any]], status: int, deadline: float = DEADLINE
) -> None:
    """End a request's scopes, for a framework that answers a failed end better from within than from around.

    Args:
        found: the scopes by name, as they were put where the framework keeps what belongs to a request.
        databases: whose.
        status: the answer's.
        deadline: seconds after which a COMMIT or ROLLBACK is given up and its connection discarded.

    Raises:
        Exception: what the end itself raises.
    """
    end = End([found[d.name] for d in databases if d.name in found and found[d.name].live], status)
    await end_async(end, perform, deadline=deadline)
