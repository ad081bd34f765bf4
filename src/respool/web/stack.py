"""Starlette's stack of middleware, which FastAPI has too: the scopes around all of it, and the end around the user's.

So what was added before ``install`` or comes after belongs to the request, and the framework's own handling of all that is
unexpected, which is further out than the end, can still ask for a session.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from respool.web.asgi import Beginning, Beside, EndOfRequest, RequestScopeMiddleware
from respool.web.rules.pages import Pages
from respool.web.rules.scopes import KEY, check_databases, check_new, roll_back

__all__ = ["call_handler", "install_around"]


def install_around(
    app: Any,
    databases: tuple[Any, ...],
    lifespan: bool,
    page: tuple[Any, ...],
    middleware: Callable[..., Any],
    in_thread: Callable[..., Any],
) -> None:
    """Put databases around the stack of an application that has not begun to serve.

    Args:
        app: a Starlette, or one of its subclasses.
        databases: what was given.
        lifespan: whether they start and stop with it.
        page: where they are shown, and to whom.
        middleware: the framework's class for an entry of the stack.
        in_thread: runs a function in one of the framework's threads.

    Raises:
        ConfigError: no database was given, or one is installed already.
        RuntimeError: the application has started.
    """
    check_databases(databases, asynchronous=True)
    build = app.build_middleware_stack
    if app.middleware_stack is not None:
        raise RuntimeError("Cannot install a database after an application has started")  # as of middleware
    if not isinstance(build, _Build):
        app.build_middleware_stack = build = _Build(app, middleware, in_thread)
    check_new(databases, build.databases)
    build.show(databases, *page)
    build.databases += databases
    build.living += databases if lifespan else ()


class _Build:
    """What builds the stack of an application, in place of the framework's own method."""

    def __init__(self, app: Any, middleware: Callable[..., Any], in_thread: Callable[..., Any]) -> None:
        self.databases: list[Any] = []
        self.living: list[Any] = []
        self._pages = Pages()
        self._app = app
        self._build = app.build_middleware_stack
        self._middleware = middleware
        self._in_thread = in_thread

    def show(self, databases: tuple[Any, ...], place: str | None, *who: Any) -> None:
        """Have a page that shows databases."""
        self._pages.add(place, databases, *who)

    def __call__(self) -> Any:
        app = self._app
        present = {name: getattr(app, name) for name in ("router", "user_middleware", "exception_handlers")}
        handlers = app.exception_handlers.items()
        try:
            app.router = Beginning(app.router)
            app.user_middleware = [self._middleware(EndOfRequest)]
            for entry in present["user_middleware"]:
                beside = any(kind.__name__ == "BaseHTTPMiddleware" for kind in getattr(entry.cls, "__mro__", ()))
                app.user_middleware += [entry, self._middleware(Beside)] if beside else [entry]
            app.exception_handlers = {error: self._after_rollback(error, handler) for error, handler in handlers}
            stack = self._build()
        finally:
            for name, value in present.items():
                setattr(app, name, value)
        around = RequestScopeMiddleware(stack, *self.databases, lifespan=self.living)
        around.pages = self._pages
        return around

    def _after_rollback(self, error: Any, handler: Any) -> Any:
        """A handler that finds nothing of the request's in its way."""
        if error in (500, Exception):  # called from further out, where that has been done
            return handler

        async def handle(connection: Any, error: Exception) -> Any:
            await roll_back(connection.scope.get(KEY, {}), error)
            return await call_handler(handler, connection, error, self._in_thread)

        return handle


async def call_handler(handler: Any, connection: Any, error: Exception, in_thread: Callable[..., Any]) -> Any:
    """Call a handler of errors: in a thread, if it is no coroutine function."""
    if iscoroutinefunction(handler) or iscoroutinefunction(getattr(handler, "__call__", None)):  # noqa: B004
        return await handler(connection, error)
    return await in_thread(handler, connection, error)
