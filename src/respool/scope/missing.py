"""``db.session`` where nothing is in force: what to write depends on where that is."""

from __future__ import annotations

from respool.errors import NoScope
from respool.scope.contracts import Owner
from respool.whereabouts import caller, in_module_body, running

__all__ = ["no_scope"]


def no_scope(database: Owner) -> NoScope:
    """The error of a session that was asked for where no request and no block is open."""
    with_ = "async with" if database.asynchronous else "with"
    block = f'{with_} db.scope("job") as session'
    if in_module_body():
        advice = [
            "at the top of a module there is no request yet; as a dependency: Depends(db.current_session)",
            "what wants a session at the import, as extensions of Flask's do: respool.web.flask.Respool(db).session",
            f"in a script open a scope: {block}",
        ]
    elif database.installed:
        advice = [
            "it runs in a thread or task that was started without the request's context: start it by"
            + f" asyncio.to_thread(f) or copy_context().run(f), or open a scope there: {block}",
            f"or this code is outside of the middleware that serves {database.name!r}, which is installed: it wraps the"
            + " application, or a RequestScopeMiddleware that was added by hand. Call install(app, db) after all others"
            + " are added: it is around all middleware of the application",
            f"or it is a hook that comes before or after all requests: {block}",
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
