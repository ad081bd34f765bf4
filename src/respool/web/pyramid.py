"""Pyramid: ``config.include("respool.web.pyramid")``, ``request.db_session``, and ``install(config, db)``.

The scopes end around the application that ``config.make_wsgi_app()`` makes, the last thing before the first byte. A commit
that fails is answered by the exception view for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from inspect import isclass
from typing import Any

from respool.config import needs

with needs("pyramid"):
    from pyramid.config import Configurator
    from pyramid.events import ApplicationCreated, NewResponse
    from pyramid.httpexceptions import HTTPNotFound
    from pyramid.path import DottedNameResolver
    from pyramid.response import Response
    from pyramid.threadlocal import RequestContext
    from pyramid.tweens import EXCVIEW, MAIN

from respool.database.applications import check_application
from respool.errors import ConfigError
from respool.web.rules.exchange import Exchange
from respool.web.rules.overload import OVERLOAD, refusal
from respool.web.rules.pages import Pages
from respool.web.rules.scopes import ENVIRON_KEY, called_by, check_databases, check_new, tell_handler
from respool.web.wsgi import RequestScopeMiddleware

__all__ = ["includeme", "install", "tween_factory"]

_KEY = "respool.databases"
_PAGES = "respool.pages"
#: In the environ: the request is with its views.
_INSIDE = "respool.pyramid.inside"


def includeme(config: Configurator) -> None:
    """Called by ``config.include("respool.web.pyramid")``.

    The setting ``respool.databases`` has the databases, or the dotted names of their places, a name each line.

    Raises:
        ConfigError: the setting is missing, or there is no database where it says.
    """
    given = config.registry.settings.get(_KEY)
    if given is None:
        raise ConfigError(
            f"the setting {_KEY!r} is missing",
            advice=[f"name the places of the databases: {_KEY} = shop.models.db", "or call install(config, db)"],
            setting=_KEY,
        )
    names = given.split() if isinstance(given, str) else given
    resolver = DottedNameResolver(config.package)
    _set_up(config, [resolver.maybe_resolve(each) for each in (names if isinstance(names, Sequence) else [names])])


def install(
    config: Configurator,
    *databases: Any,
    dashboard: str | None = None,
    authorize: Any = None,
    hosts: Sequence[str] = (),
) -> None:
    """Give each request of an application a session of each database; the first one's is ``request.db_session``.

    Args:
        config: the application's configurator.
        databases: any number of ``Database``; they are committed in this order.
        dashboard: where the page that shows the databases is, such as ``"/respool"``; ``None``: nowhere.
        authorize, hosts: who may see it, as for :func:`respool.observe.dashboard.dashboard`; clients on this machine by
            default.

    Raises:
        ConfigError: no database was given, or one is installed already, or needs asyncio.
    """
    check_application(config, Configurator, module=__name__, what="the configurator")
    _set_up(config, databases, dashboard, authorize, hosts)


def tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """The tween next to the views: what comes after it leaves the work of a success alone."""

    def tween(request: Any) -> Any:
        environ, exchange = request.environ, Exchange.of(request.environ)
        if exchange is None or environ.get(_INSIDE):  # a request within the request
            return handler(request)
        exchange.forget()
        environ[_INSIDE], exchange.note = True, request
        try:
            response = handler(request)
            exchange.settle(response.status_code)
        except Exception as error:
            if getattr(error, "status_code", 500) >= 400:
                exchange.take_back(error)
            raise
        finally:
            environ[_INSIDE] = False
        return response

    return tween


def _set_up(config: Configurator, databases: Sequence[Any], place: str | None = None, *who: Any) -> None:
    check_databases(databases, asynchronous=False)
    installed: list[Any] = config.registry.setdefault(_KEY, [])
    check_new(databases, installed)
    config.registry.setdefault(_PAGES, Pages()).add(place, databases, *who)
    if not installed:
        config.include(_add)  # what is included gives way to the application's own
    installed.extend(databases)


def _add(config: Configurator) -> None:
    config.add_tween("respool.web.pyramid.tween_factory", under=EXCVIEW, over=MAIN)
    config.add_view_deriver(_telling, "respool")
    config.add_subscriber(_around, ApplicationCreated)
    config.add_request_method(lambda request: request.registry[_KEY][0].session, "db_session", property=True)
    for kind in OVERLOAD:
        config.add_exception_view(_overloaded, context=kind)


def _telling(view: Callable[[Any, Any], Any], info: Any) -> Callable[[Any, Any], Any]:
    """Called by Pyramid for each view: it is the handler of a request, unless it answers an exception."""
    handler, attribute = info.original_view, info.options.get("attr")
    if isclass(handler) and not attribute:
        attribute = "__call__"
    if attribute:
        handler = getattr(handler, attribute, handler)

    def tell(context: Any, request: Any) -> Any:
        if request.environ.get(_INSIDE):
            tell_handler(
                request.environ.get(ENVIRON_KEY, {}), handler, route=getattr(request.matched_route, "pattern", None)
            )
        return view(context, request)

    return view if info.exception_only or handler is None else tell


def _around(event: Any) -> None:
    app = event.app
    call = partial(type(app).__call__, app)
    around = RequestScopeMiddleware(call, *app.registry[_KEY], answer_failure=_answer)
    around.pages = app.registry[_PAGES]
    called_by(app, around)


def _answer(environ: Any, start_response: Any, error: Exception) -> Iterable[bytes] | None:
    """Answer an exception by the exception view for it, with all that follows a response."""
    exchange = Exchange.of(environ)
    if exchange is None or exchange.note is None:
        return None
    request = exchange.note
    with RequestContext(request):
        try:
            response = request.invoke_exception_view((type(error), error, error.__traceback__))
        except HTTPNotFound:
            return None
        request._process_response_callbacks(response)
        request.registry.notify(NewResponse(request, response))
        request._process_finished_callbacks()
    return response(environ, start_response)  # type: ignore[no-any-return]


def _overloaded(error: Any, request: Any) -> Response:
    answer = refusal(error, request.headers.get("Accept"))
    headers = [("Content-Type", answer.content_type), *answer.headers.items()]
    return Response(answer.body.encode(), status=f"{answer.status} {answer.text}", headerlist=headers)
