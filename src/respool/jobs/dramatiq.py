"""Dramatiq: ``install(broker, db)``, a middleware that puts the scope inside of each actor's function.

What a middleware does after a message has been processed cannot make it fail: the broker logs its errors and goes on.
"""

from __future__ import annotations

from contextvars import ContextVar
from inspect import iscoroutinefunction
from typing import Any

from respool.config import needs

with needs("dramatiq"):
    from dramatiq import Actor, Broker, Middleware
    from dramatiq.asyncio import async_to_sync
    from dramatiq.broker import MessageProxy

from respool.database.applications import check_application
from respool.database.job import Job, JobKind, as_job
from respool.jobs.installing import check_databases, check_install

__all__ = ["RespoolMiddleware", "install"]

#: The message that is being processed, until its actor is called.
_message: ContextVar[MessageProxy | None] = ContextVar("respool dramatiq message", default=None)


def install(broker: Broker, *databases: Any) -> None:
    """Give each message that is processed a session of each database.

    An actor that is called like a function is no job: it uses the session in force where it is called.

    Args:
        broker: the broker; its actors may be declared before or after.
        databases: any number of ``Database`` and ``AsyncDatabase``; they are committed in this order. Only actors that
            are coroutine functions have a session of the latter.

    Raises:
        ConfigError: no database was given, or the broker has databases already.
    """
    check_application(broker, Broker, module=__name__, what="the broker")
    check_install(broker, databases, asynchronous=True)
    middleware = RespoolMiddleware(*databases)
    broker.add_middleware(middleware)
    for actor in broker.actors.values():
        middleware.before_declare_actor(broker, actor)


class RespoolMiddleware(Middleware):
    """The same as a member of the list that a broker is made with; its actors are declared afterwards.

    Args:
        databases: as for :func:`install`.
    """

    def __init__(self, *databases: Any) -> None:
        check_databases(databases, asynchronous=True)
        self.databases = databases

    def before_declare_actor(self, broker: Broker, actor: Actor[Any, Any]) -> None:
        """Put the scopes inside of the actor's function."""
        function, awaited = _function(actor)
        kind = JobKind.of(function, self.databases)

        def run_of(*args: Any, **keywords: Any) -> Job | None:
            message = _message.get()
            if message is None or message.actor_name != actor.actor_name:
                return None
            _message.set(None)  # what the actor calls in its turn is no job
            return kind.begin(f"{actor.actor_name} {message.message_id}")

        job = as_job(function, run_of)
        actor.fn = async_to_sync(job) if awaited else job

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Remember for whom the actor is called next in this thread."""
        _message.set(message)


def _function(actor: Actor[Any, Any]) -> tuple[Any, bool]:
    """An actor's function; and whether it was a coroutine function, of which Dramatiq has made a sync one."""
    function: Any = actor.fn
    inner = getattr(function, "__wrapped__", None)
    if iscoroutinefunction(inner) and function.__code__ is async_to_sync(inner).__code__:
        return inner, True
    return function, False
