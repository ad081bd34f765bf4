"""aiohttp: ``install(app, db)``: around all middlewares, with the end when the headers of the response are written.

By then its status is decided, and whatever is told of a response has run. Where the end fails the middlewares are called
once more, around a handler that raises its error, so that those which answer errors do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

from respool.config import needs

with needs("aiohttp"):
    from aiohttp import web

from respool.database.applications import check_application
from respool.ending.end import Stays
from respool.web.rules.client import Watch
from respool.web.rules.lifespan import start, stop
from respool.web.rules.overload import OVERLOAD, refusal
from respool.web.rules.pages import Pages
from respool.web.rules.readiness import Readiness
from respool.web.rules.scopes import (
    KEY,
    SAVED,
    RequestScopes,
    check_databases,
    check_new,
    roll_back,
    tell_handler,
    without_scopes,
)

__all__ = ["DATABASES", "install"]

#: The databases that are installed: ``app[DATABASES]``.
DATABASES: web.AppKey[list[Any]] = web.AppKey("respool.databases", list)

_PAGES: web.AppKey[Pages] = web.AppKey("respool.pages", Pages)

#: Where the scopes of a request are found by name. Older versions have plain strings only.
_SCOPES: Any = web.RequestKey(KEY, dict) if hasattr(web, "RequestKey") else KEY
#: Where the outermost application's part is found, by those within.
_AROUND: Any = web.RequestKey(f"{KEY}.around", RequestScopes) if hasattr(web, "RequestKey") else f"{KEY}.around"


def install(
    app: web.Application,
    *databases: Any,
    lifespan: bool = True,
    dashboard: str | None = None,
    authorize: Any = None,
    hosts: Sequence[str] = (),
) -> None:
    """Give each request of an application, and of those within it, a session of each database.

    Args:
        app: the application.
        databases: any number of ``Database`` and ``AsyncDatabase``; they are committed in this order.
        lifespan: warm the databases up when the application starts, and close them when it has stopped.
        dashboard: where the page that shows the databases is, such as ``"/respool"``; ``None``: nowhere.
        authorize, hosts: who may see it, as for :func:`respool.observe.dashboard.dashboard`; clients on this machine by
            default.

    Raises:
        ConfigError: no database was given, or one is installed already.
    """
    check_application(app, web.Application, module=__name__)
    check_databases(databases, asynchronous=True)
    installed = app.get(DATABASES, [])
    check_new(databases, installed)
    pages = app.get(_PAGES, Pages())
    pages.add(dashboard, databases, authorize, hosts)
    if not installed:
        app[DATABASES], app[_PAGES] = installed, pages
        _add_middlewares(app, _Around(installed, pages))
        app.on_shutdown.append(_stop_showing)
    installed.extend(databases)
    if lifespan:

        async def started(app: web.Application) -> AsyncIterator[None]:
            await start(databases)
            yield
            if not app.on_cleanup.frozen:  # the start has failed, and nothing else will be cleaned up
                await stop(databases)

        async def stopped(app: web.Application) -> None:
            await stop(databases)

        async def come_last(app: web.Application) -> None:
            app.on_cleanup.append(stopped)

        app.cleanup_ctx.insert(0, started)
        app.on_startup.append(come_last)


def _add_middlewares(app: web.Application, around: _Around) -> None:
    """One around all others, and one within; when the application starts no other one can be added any more."""
    ends: list[Any] = [around.request, around.handler]

    async def place(app: web.Application) -> None:
        middlewares: Any = app.middlewares
        if not middlewares.frozen:  # those of an application within another one are frozen early
            for end in ends:
                middlewares.remove(end)
            middlewares.insert(0, ends[0])
            middlewares.append(ends[1])

    app.middlewares.insert(0, ends[0])
    app.middlewares.append(ends[1])
    app.on_startup.append(place)


async def _stop_showing(app: web.Application) -> None:
    app[_PAGES].close()


class _Around:
    """The two middlewares of an application.

    Args:
        databases: those of the application.
        pages: where they are shown.
    """

    def __init__(self, databases: list[Any], pages: Pages) -> None:
        self._databases = databases
        self._pages = pages
        self._readiness = Readiness(databases)
        self.request = _middleware(self._request)
        self.handler = _middleware(self._handler)

    async def _request(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Around all that answers a request."""
        if self._pages and (at := self._pages.place_of(request.path)) is not None:
            return await self._show(request, at)
        self._readiness.require()
        if request.headers.get("Upgrade", "").lower() == "websocket":
            with without_scopes(self._databases):
                messages: web.StreamResponse = await handler(request)
                return messages
        found = request.setdefault(_SCOPES, {})
        label = f"{request.method} {request.path}"
        client = Watch(_gone(request))
        ours = RequestScopes(self._databases, found, label, client)
        around: RequestScopes | None = request.get(_AROUND)
        try:
            if around is not None:  # this is an application within one that has databases
                around.scopes += ours.scopes
                response: web.StreamResponse = await handler(request)
                return response
            request[_AROUND] = ours
            return await _Answer(request, ours).give(handler, self.request)
        finally:
            ours.leave()
            client.answered()

    async def _show(self, request: web.Request, place: str) -> web.StreamResponse:
        """Answer by a page of the application's."""
        asked = (request.method, request.path, place, request.headers.items(), request.remote)
        page, stream = await self._pages.answer(request, *asked)
        if stream is None:
            return web.Response(status=page.status, headers=dict(page.headers()), body=page.body)
        response = web.StreamResponse(headers=dict(page.headers()))
        try:
            await response.prepare(request)
            async for part in stream:
                await response.write(part)
        finally:
            stream.close()
        return response

    async def _handler(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Around the handler alone: what middlewares make an answer of is an error nevertheless."""
        resource = request.match_info.route.resource
        route = None if resource is None else resource.canonical
        tell_handler(request.get(_SCOPES, {}), request.match_info.handler, route=route)
        try:
            response: web.StreamResponse = await handler(request)
        except Exception as error:
            await roll_back(request.get(_SCOPES, {}), error)
            raise
        return response


class _Answer:
    """The answer to one request.

    Args:
        request: the request.
        ours: its scopes.
    """

    def __init__(self, request: web.Request, ours: RequestScopes) -> None:
        self._request = request
        self._ours = ours
        self._writer: Any = request.writer
        self._write_headers = self._writer.write_headers
        self._settings = {name: getattr(self._writer, name, None) for name in ("length", "chunked", "_compress")}
        self._failure: Exception | None = None  #: why the end has failed
        self._left = False  #: the headers are written
        vars(self._writer)["write_headers"] = self._end_and_write

    async def give(self, handler: Any, ours: Any) -> web.StreamResponse:
        """Have the request answered, and the answer sent.

        Args:
            handler: what answers it.
            ours: the middleware that calls this.
        """
        try:
            try:
                return await self._send(handler)
            except OVERLOAD as error:
                if self._left:
                    raise
                return await self._send(partial(self._refuse, error=error))
            except Exception as error:
                if self._left or error is not self._failure:
                    raise
                return await self._send(self._once_more(ours))
        except BaseException as error:
            if self._left and hasattr(self._writer, "send_headers"):
                self._writer.send_headers()  # what has left is not to be taken back
            await self._ours.conclude(None, error)
            raise

    async def _send(self, handler: Any) -> web.StreamResponse:
        raised: web.HTTPException | None = None
        try:
            response: web.StreamResponse = await handler(self._request)
        except web.HTTPException as answer:
            response = raised = answer
        if self._failure is not None and not self._left and (response.status < 400 or response.prepared):
            raise self._failure
        try:
            await response.prepare(self._request)
            await response.write_eof()
        except ConnectionError:
            pass  # the server will meet it again
        except Exception as error:
            if error is not self._failure and not self._left:
                self._forget()
                vars(self._request)["_prepare_hook"] = _done  # what has failed there would fail once more
            raise
        else:
            vars(response).update(prepare=_done, write_eof=_done)
        if raised is not None:
            raise raised
        return response

    async def _end_and_write(self, status_line: str, headers: Any) -> None:
        status = int(status_line.split()[1])
        try:
            await self._ours.conclude(status, stays=Stays.ON_FAILURE)
        except Exception as failure:
            self._failure = failure
            self._forget()
            raise
        if status >= 400 and self._ours.saved:
            self._ours.tell_saved(status)
            headers[SAVED] = "yes"
        self._left = True
        await self._write_headers(status_line, headers)

    async def _refuse(self, request: web.Request, error: BaseException) -> web.StreamResponse:
        """Answer a request that got no connection, unless a middleware of the application's has."""
        answer = refusal(error, request.headers.get("Accept"))
        headers = {"Content-Type": answer.content_type, **answer.headers}
        return web.Response(status=answer.status, reason=answer.text, headers=headers, text=answer.body)

    def _once_more(self, ours: Any) -> Any:
        """The middlewares, those of applications within too, around a handler that raises why the end has failed."""

        async def fail(request: web.Request) -> web.StreamResponse:
            assert self._failure is not None
            raise self._failure

        handler: Any = fail
        for app in reversed(self._request.match_info.apps):
            for middleware in reversed(app.middlewares):
                if middleware is not ours:
                    handler = partial(middleware, handler=handler)
        return handler

    def _forget(self) -> None:
        """The response that was to be sent is not: the next one has settings of its own."""
        for name, value in self._settings.items():
            setattr(self._writer, name, value)


def _middleware(function: Any) -> Any:
    @web.middleware
    async def respool(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await function(request, handler)
        return response

    return respool


async def _done(*args: Any) -> None:
    """What was done already."""


def _gone(request: web.Request) -> Callable[[], bool]:
    return lambda: request.transport is None or request.transport.is_closing()
