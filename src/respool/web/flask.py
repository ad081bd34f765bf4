"""Flask: ``install(app, db)``, with the commit as the last thing before the first byte.

One that fails is answered by the application's error handlers, in the context of the request, which is pushed once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Generic, cast, overload
from weakref import WeakKeyDictionary

from respool.config import needs

with needs("flask"):
    from flask import Flask, Response, current_app, g, has_app_context, has_request_context, request
    from flask.globals import request_ctx

from sqlalchemy import URL, make_url

from respool.database.applications import check_application
from respool.database.database import Database, S
from respool.database.proxy import SessionInForce
from respool.ending.end import End, drive
from respool.errors import ConfigError, NoScope, ScopeError
from respool.scope.policy import CommitPolicy
from respool.scope.scope import CurrentScope
from respool.session.classes import check_class
from respool.session.session import Session
from respool.web.rules.exchange import Exchange, Within
from respool.web.rules.overload import OVERLOAD, refusal
from respool.web.rules.pages import Pages
from respool.web.rules.scopes import ENVIRON_KEY, called_by, check_databases, check_new, tell_handler
from respool.web.wsgi import RequestScopeMiddleware
from respool.whereabouts import caller, calling, running

__all__ = ["Respool", "install"]

_EXTENSION = "respool"
_PAGES = "respool.pages"


def install(
    app: Flask,
    *databases: Any,
    dashboard: str | None = None,
    authorize: Any = None,
    hosts: Sequence[str] = (),
) -> None:
    """Give each request of an application a session of each database.

    Args:
        app: the application.
        databases: any number of ``Database``; they are committed in this order.
        dashboard: where the page that shows the databases is, such as ``"/respool"``; ``None``: nowhere.
        authorize, hosts: who may see it, as for :func:`respool.observe.dashboard.dashboard`; clients on this machine by
            default.

    Raises:
        ConfigError: no database was given, or one is installed already, or needs asyncio.
    """
    check_application(app, Flask, module=__name__)
    check_databases(databases, asynchronous=False)
    installed: list[Any] = app.extensions.setdefault(_EXTENSION, [])
    check_new(databases, installed)
    pages = app.extensions.setdefault(_PAGES, Pages())
    pages.add(dashboard, databases, authorize, hosts)
    # Around what others have put around wsgi_app, and will; and around that, for whoever serves it by itself.
    around: Any = partial(RequestScopeMiddleware, answer_failure=_answer)
    outer, inner = around(partial(type(app).__call__, app), *databases), around(app.wsgi_app, *databases)
    outer.pages = inner.pages = pages
    called_by(app, outer)
    app.wsgi_app = inner  # type: ignore[method-assign]
    if not installed:
        app.dispatch_request = _telling(app.dispatch_request)  # type: ignore[method-assign]
        app.process_response = _settling(app.process_response)  # type: ignore[method-assign]
        app.finalize_request = _keeping_apart(app.finalize_request)  # type: ignore[method-assign]
        app.handle_user_exception = _taking_back(app.handle_user_exception)  # type: ignore[method-assign]
        app.handle_exception = _taking_back(app.handle_exception)  # type: ignore[method-assign]
        for kind in OVERLOAD:
            app.error_handler_spec[None][None].setdefault(kind, _overloaded)
    installed.extend(databases)


class Respool(Generic[S]):
    """The same in the way of Flask's extensions: ``Respool(app, db)``, or ``Respool(db)`` and ``init_app(app)`` later.

    Without a database it makes one for each application from what Flask-SQLAlchemy reads in its configuration:
    ``SQLALCHEMY_DATABASE_URI``, ``SQLALCHEMY_ENGINE_OPTIONS``, ``SQLALCHEMY_ECHO``. The pool's settings may be given in
    SQLAlchemy's words there (``pool_size``, ``max_overflow``, ``pool_timeout``, ``pool_recycle``).

    Args:
        app: the application, if there is one yet.
        databases: as for :func:`install`.
        commit, session_class, session_options: as for :class:`~respool.Database`, for a database that is made.
        dashboard, authorize, hosts: as for :func:`install`.
    """

    @overload
    def __init__(
        self,
        app: Flask | None,
        first: Database[S],
        /,
        *databases: Any,
        dashboard: str | None = ...,
        authorize: Any = ...,
        hosts: Sequence[str] = ...,
    ) -> None: ...

    @overload
    def __init__(
        self,
        app: Flask | Database[S] | None = ...,
        *databases: Any,
        commit: CommitPolicy = ...,
        session_class: type[S] | None = ...,
        session_options: Mapping[str, Any] | None = ...,
        dashboard: str | None = ...,
        authorize: Any = ...,
        hosts: Sequence[str] = ...,
    ) -> None: ...

    def __init__(
        self,
        app: Any = None,
        *databases: Any,
        commit: CommitPolicy = "manual",
        session_class: Any = None,
        session_options: Mapping[str, Any] | None = None,
        dashboard: str | None = None,
        authorize: Any = None,
        hosts: Sequence[str] = (),
    ) -> None:
        self._page: dict[str, Any] = {"dashboard": dashboard, "authorize": authorize, "hosts": hosts}
        self.databases = databases if app is None or isinstance(app, Flask) else (app, *databases)
        self.commit = commit
        if self.databases and (session_class is not None or session_options is not None):
            raise ConfigError(
                "Respool() was given a database, and how the sessions of another one are to be",
                advice=["tell the database: Database(url, session_class=…, session_options={…})"],
                setting="session_class" if session_class is not None else "session_options",
            )
        if session_class is not None:
            check_class(session_class, Session, "session_class")
        # a class of its own, whose events can be listened to before there is a database
        own = type("Session", (session_class or Session,), {}) if not self.databases else None
        self._in_force = SessionInForce(
            self._session, lambda: own or self.databases[0].session_type, self._session_here
        )
        self._sessions = {"session_class": own, "session_options": session_options}
        self._first: WeakKeyDictionary[Flask, Database[S]] = WeakKeyDictionary()
        if isinstance(app, Flask):
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Install the databases in an application.

        Raises:
            ConfigError: as :func:`install`; or its configuration names no database, or asks for what there is not.
        """
        databases = self.databases or (_configured(app, commit=self.commit, **self._sessions),)
        install(app, *databases, **self._page)
        self._first[app] = databases[0]
        app.teardown_appcontext(_end_context)
        app.after_request(_reread_outside)  # not called at an error that goes on to the server
        app.teardown_request(_reread_outside)  # late, in a client's block

    @property
    def database(self) -> Database[S]:
        """The application's database; the first, if there are several.

        Raises:
            NoScope: no application is at work here.
        """
        if not has_app_context():
            raise NoScope(
                "no application of Flask's is at work here",
                now=[f"a session was asked for at {caller()} in {running()}"],
                advice=["with app.app_context(): …", "or give Respool the database, and ask that: db.session"],
                database=self.databases[0].name if self.databases else "default",
            )
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        if (database := self._first.get(app)) is None:
            raise ConfigError(
                f"init_app() of this Respool was not called for the application {app.name!r}",
                advice=[
                    "call it where the application is made: db.init_app(app)",
                    "with the very object that requests use: from shop.extensions import db, not another Respool()",
                ],
                setting="init_app",
            )
        return database

    @property
    def session(self) -> S:
        """The session of the request; in a command, a shell or any ``app.app_context()`` block that of the block.

        Outside of all of them, as when the application is made, it is an object that stands for whichever session is
        in force when it is used. It can be handed to what asks for a session then: ``event.listen(db.session, …)``,
        Flask-Admin, factory_boy, marshmallow. Used where none is in force it raises ``NoScope``.
        """
        if not has_app_context():
            return cast("S", self._in_force)
        return self._session()

    def _session_here(self) -> S | None:
        scope = self.database.scope_here() if has_app_context() else None
        return scope.face if scope is not None else None

    def _session(self) -> S:
        database = self.database
        if not has_request_context() and database.scope_here() is None:
            g._respool_scope = scope = database.new_scope(f"{current_app.name} outside of requests", place=calling())
            scope.enter()
        return database.session


def _reread_outside(passed: Any) -> Any:
    """Tests make requests in a context, and look at objects of its session: they are to find what the requests wrote.

    With Flask-SQLAlchemy it is one session. What is changed and not saved out there stays as it is.
    """
    for database in current_app.extensions[_EXTENSION]:
        variable: CurrentScope = database.scope_variable
        here = variable.get()
        outer = here.outer if here is not None and here.is_request else None
        if outer is not None and outer.session is not None:
            variable.set(outer)
            try:
                changed = outer.session.dirty
                for each in outer.session.identity_map.values():
                    if each not in changed:
                        outer.session.expire(each)
            except ScopeError:
                """Somebody else is inside of it: no test, but a server that runs in a context."""
            finally:
                variable.set(here)
    return passed


def _end_context(error: BaseException | None) -> None:
    scope = g.pop("_respool_scope", None)
    if scope is not None:
        try:
            drive(End([scope], error=error))
        finally:
            scope.leave()


#: What Flask-SQLAlchemy offers beside, and what there is instead.
_ELSEWHERE = {
    "SQLALCHEMY_BINDS": "make a Database for each, Respool(db, users_db); each has a session of its own, users_db.session",
    "SQLALCHEMY_RECORD_QUERIES": "listen to SQLAlchemy's before_cursor_execute, on db.database.engine",
    "SQLALCHEMY_TRACK_MODIFICATIONS": "db.database.observe(SessionObserver): the changes come with each commit",
}


def _configured(app: Flask, **keywords: Any) -> Database[Any]:
    """A database by an application's configuration, as Flask-SQLAlchemy reads it."""
    for key, instead in _ELSEWHERE.items():
        if app.config.get(key):
            raise ConfigError(f"{key} is set, which is not there", advice=[f"leave it out, and {instead}"], setting=key)
    url = app.config.get("SQLALCHEMY_DATABASE_URI")
    if not url:
        raise ConfigError(
            f"Respool() was given no database, and the configuration of {app.name!r} has no SQLALCHEMY_DATABASE_URI",
            advice=["Respool(db) with db = Database(url)", "or set it before init_app(app)"],
            setting="SQLALCHEMY_DATABASE_URI",
        )
    options = dict(app.config.get("SQLALCHEMY_ENGINE_OPTIONS") or {})
    options.setdefault("echo", app.config.get("SQLALCHEMY_ECHO", False))
    taken = {database.name for database in app.extensions.get(_EXTENSION, ())}
    names = ("default", *(f"default-{number}" for number in range(2, len(taken) + 3)))
    name = next(name for name in names if name not in taken)
    return Database(_in_instance(app, make_url(url)), name=name, engine_options=options, **keywords)


def _in_instance(app: Flask, url: URL) -> URL:
    """A relative file of SQLite's is in the folder of the instance."""
    file = url.database
    if url.get_backend_name() != "sqlite" or not file or file == ":memory:" or file.startswith(("/", "file:")):
        return url
    Path(app.instance_path).mkdir(parents=True, exist_ok=True)
    return url.set(database=str(Path(app.instance_path) / file))


def _telling(dispatch: Any) -> Any:
    """What calls the handler, which is known by then."""

    def dispatch_request(*context: Any) -> Any:
        view = current_app.view_functions.get(request.endpoint or "")
        if view is not None:
            route = None if request.url_rule is None else request.url_rule.rule
            tell_handler(request.environ.get(ENVIRON_KEY, {}), view, request.method, route=route)
        return dispatch(*context)

    return dispatch_request


def _settling(process: Any) -> Any:
    """What is called with the handler's response, before all that may still change it."""

    def process_response(response: Response) -> Response:
        exchange = Exchange.of(request.environ)
        if exchange is not None:
            exchange.note = (request_ctx._get_current_object(), g._get_current_object())  # type: ignore[attr-defined]
            with suppress(Exception):  # it will be answered when all that follows a response has run
                exchange.settle(response.status_code)
        return process(response)  # type: ignore[no-any-return]

    return process_response


def _keeping_apart(finalize: Any) -> Any:
    """What is called with the handler's value, and returns a response; others may read its stream before it leaves."""

    def finalize_request(*args: Any, **keywords: Any) -> Response:
        response: Response = finalize(*args, **keywords)
        if response.is_streamed and not response.direct_passthrough and Exchange.of(request.environ) is not None:
            response.response = Within(request.environ, response.response, [response.status_code])  # type: ignore[arg-type]
        return response

    return finalize_request


def _taking_back(handle: Any) -> Any:
    """What is called with an exception, before the handlers for it."""

    def handle_exception(error: Exception) -> Any:
        exchange = Exchange.of(request.environ)
        if exchange is not None and _status_of(error) >= 400:
            exchange.take_back(error)
        return handle(error)

    return handle_exception


def _status_of(error: Any) -> int:
    """A redirection, or any other answer, may be raised, too."""
    if not hasattr(error, "get_response"):  # of Werkzeug's HTTPException
        return 500
    return int(error.code or getattr(error.response, "status_code", 500))


def _answer(environ: Any, start_response: Any, error: Exception) -> Iterable[bytes] | None:
    """Answer an exception as if it had been raised by the handler."""
    exchange = Exchange.of(environ)
    if exchange is None or exchange.note is None:  # it was not the application that has answered
        return None
    context, globals_ = exchange.note
    app: Flask = context.app
    outer = app.app_context()
    outer.g = globals_
    with outer, context.copy():
        try:
            response = app.finalize_request(app.handle_user_exception(error))
        except Exception as failure:
            response = app.handle_exception(failure)
        return response(environ, start_response)


def _overloaded(error: Exception) -> Any:
    answer = refusal(error, request.headers.get("Accept"))
    kind: Any = current_app.aborter.mapping.get(answer.status)
    if kind is not None:
        unavailable = kind(retry_after=int(answer.headers["Retry-After"]))
        own: Any = current_app.handle_http_exception(unavailable)  # by the application's handler, if it has one
        if own is not unavailable and (own := current_app.make_response(own)).status_code == answer.status:
            own.headers.setdefault("Retry-After", answer.headers["Retry-After"])
            return own
    return answer.body, answer.status, {"Content-Type": answer.content_type, **answer.headers}
