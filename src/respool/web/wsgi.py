"""The request scope for WSGI: the twin of ``respool.web.asgi``.

A scope for each database is in force while the application runs. What it hands to ``start_response`` is held back until
the first part of its body is there. Then the scopes are ended, committed or rolled back, and their connections given
back, and the answer begins to leave. So whatever runs before the first byte belongs to the request, and whatever goes
wrong there saves nothing: the client gets an error, the application's own page where its framework makes one.

The body itself is refused the request's session. It may open a scope of its own, before which the request is ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from respool.database.base import DatabaseBase
from respool.web.rules.exchange import Environ, Exchange, FailureApp, StartResponse, WSGIApp
from respool.web.rules.pages import Pages
from respool.web.rules.scopes import check_databases

__all__ = ["RequestScopeMiddleware"]


class RequestScopeMiddleware:
    """One session for each request and database, ended before the first byte of the answer leaves.

    A request that gets no connection is answered 503 with ``Retry-After``, unless the application does so itself.

    Args:
        app: the WSGI application.
        databases: any number of ``Database``; they are committed in this order. Those of such a middleware around an
            application within this one are ended together with them.
        answer_failure: answers what goes wrong when the application has done its part: its COMMIT, or the first part
            of its body. Called with ``environ``, ``start_response`` and the exception, a fresh session in force; it
            returns a body, or ``None`` where it has no answer, and then the exception goes on to the server.
        dashboard: where the page that shows the databases is, such as ``"/respool"``; ``None``: nowhere.
        authorize, hosts: who may see it, as for :func:`respool.observe.dashboard.dashboard`; clients on this machine by
            default.

    Raises:
        ConfigError: no database was given, or one twice, or one that needs asyncio, or something else.
    """

    def __init__(
        self,
        app: WSGIApp,
        *databases: Any,
        answer_failure: FailureApp | None = None,
        dashboard: str | None = None,
        authorize: Any = None,
        hosts: Sequence[str] = (),
    ) -> None:
        self.app = app
        self.databases: tuple[DatabaseBase[Any], ...] = ()
        self.answer_failure = answer_failure
        self.pages = Pages()
        self.add(databases)
        self.pages.add(dashboard, self.databases, authorize, hosts)

    def add(self, databases: Sequence[Any]) -> None:
        """Serve more databases, too; they are committed after the others.

        Raises:
            ConfigError: as for the first.
        """
        self.databases = check_databases((*self.databases, *databases), asynchronous=False)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if self.pages and (page := self.pages.of_wsgi(environ)) is not None:
            body: Iterable[bytes] = page(environ, start_response)
            return body
        around = Exchange.of(environ)
        if around is not None:
            return around.within(self.app, self.databases, environ, start_response)
        return Exchange(self.databases, environ, start_response, self.answer_failure).run(self.app)
