"""``db.session`` where nothing is in force: what to write depends on where that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from respool.errors import NoScope
from respool.session.places import caller, in_module_body, running

if TYPE_CHECKING:
    from respool.session.base import DatabaseBase

__all__ = ["no_scope"]


def no_scope(database: DatabaseBase[Any]) -> NoScope:
    """The error of a session that was asked for where no request and no block is open."""
    with_ = "async with" if database.engine.dialect.is_async else "with"
    block = f'{with_} db.scope("job") as session'
    if in_module_body():
        advice = [
            "at the top of a module there is no request yet; as a dependency: Depends(db.current_session)",
            "what wants a session at the import, as extensions of Flask's do: respool.web.flask.Respool(db).session",
            f"in a script open a scope: {block}",
        ]
    elif database.installed:
        advice = [
            f"this code is outside of the middleware that serves {database.name!r}, which is installed: a middleware"
            + " that was added after install(app, db) is around ours. Call install(app, db) after all others are added",
            "or it runs in a thread, task or hook without the request's context, or before or after all requests:"
            + f" open a scope there: {block}",
            "in a websocket open one for each message: there is no request that would end",
        ]
    else:
        advice = [
            "in a web application install it: install(app, db) of respool.web.<framework>; or add the middleware:"
            + " RequestScopeMiddleware(app, db) of respool.web.asgi or wsgi",
            f"anywhere else (a script, a job, a thread, a shell) open a scope: {block}",
            "in a websocket open one for each message: there is no request that would end",
        ]
    return NoScope(
        f"no request and no scope of database {database.name!r} is open here",
        now=[f"a session was asked for at {caller()} in {running()}"],
        advice=advice,
        database=database.name,
        installed=database.installed,
    )
