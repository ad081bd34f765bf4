"""Pyramid: ``config.include("respool.web.pyramid")``, ``request.db_session``, and ``install(config, db)``.

The scopes end in a tween over the exception views, so a commit that fails is answered by the one for its exception.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from respool.config import needs

with needs("pyramid"):
    from pyramid.config import Configurator
    from pyramid.httpexceptions import HTTPNotFound
    from pyramid.path import DottedNameResolver
    from pyramid.response import Response
    from pyramid.tweens import EXCVIEW

from respool.errors import ConfigError
from respool.session.applications import check_application
from respool.session.transaction import drive
from respool.web.overload import OVERLOAD, refusal
from respool.web.requests import ENVIRON_KEY, RequestScopes, check_databases, check_new, request_label

__all__ = ["includeme", "install", "tween_factory"]

_KEY = "respool.databases"


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


def install(config: Configurator, *databases: Any) -> None:
    """Give each request of an application a session of each database; the first one's is ``request.db_session``.

    Args:
        config: the application's configurator.
        databases: any number of ``Database``; they are committed in this order.

    Raises:
        ConfigError: no database was given, or one is installed already, or needs asyncio.
    """
    check_application(config, Configurator, module=__name__, what="the configurator")
    _set_up(config, databases)


def tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """The tween in which requests have their scopes."""
    databases: list[Any] = registry[_KEY]

    def tween(request: Any) -> Any:
        environ = request.environ
        scopes = RequestScopes(databases, environ.setdefault(ENVIRON_KEY, {}), request_label(environ))
        scopes.enter()
        try:
            try:
                response = handler(request)
            except BaseException as error:
                drive(scopes.end(None, error))
                raise
            return _finish(scopes, request, response)
        finally:
            scopes.leave()

    return tween


def _set_up(config: Configurator, databases: Sequence[Any]) -> None:
    check_databases(databases, asynchronous=False)
    installed: list[Any] = config.registry.setdefault(_KEY, [])
    check_new(databases, installed)
    if not installed:
        config.include(_add)  # what is included gives way to the application's own
    installed.extend(databases)


def _add(config: Configurator) -> None:
    config.add_tween("respool.web.pyramid.tween_factory", over=EXCVIEW)
    config.add_request_method(lambda request: request.registry[_KEY][0].session, "db_session", property=True)
    for kind in OVERLOAD:
        config.add_exception_view(_overloaded, context=kind)


def _finish(scopes: RequestScopes, request: Any, response: Any) -> Any:
    try:
        drive(scopes.end(response.status_code))
    except Exception as failure:
        try:
            answer = request.invoke_exception_view(sys.exc_info())
        except HTTPNotFound:
            raise failure from None
        if answer.status_code < 400:
            raise
        return answer
    return response


def _overloaded(error: Any, request: Any) -> Response:
    answer = refusal(error, request.headers.get("Accept"))
    headers = [("Content-Type", answer.content_type), *answer.headers.items()]
    return Response(answer.body.encode(), status=f"{answer.status} {answer.text}", headerlist=headers)
