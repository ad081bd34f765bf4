"""taskiq: ``install(broker, db)``, a middleware that opens the scope, and ends it inside of the task's function.

The scope is open while taskiq resolves a task's dependencies, so that ``TaskiqDepends(db.current_session)`` works. It
ends with the function: by the time of ``post_execute`` the broker may have been told that all went well.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from respool.config import needs

with needs("taskiq"):
    from taskiq import AsyncBroker, TaskiqMessage, TaskiqMiddleware, TaskiqResult

from respool.database.applications import check_application
from respool.database.job import Job, JobKind, as_job
from respool.jobs.installing import check_databases, check_install

__all__ = ["RespoolMiddleware", "install"]

#: The run that has begun, until its function is called.
_begun: ContextVar[Job | None] = ContextVar("respool taskiq begun", default=None)
#: The run that was begun in this context.
_job: ContextVar[Job | None] = ContextVar("respool taskiq job", default=None)


def install(broker: AsyncBroker, *databases: Any) -> None:
    """Give each task that is executed a session of each database.

    A task that is called like a function is no job: it uses the session in force where it is called.

    Args:
        broker: the broker; its tasks may be declared before or after.
        databases: any number of ``Database`` and ``AsyncDatabase``; they are committed in this order. Only tasks that
            are coroutine functions have a session of the latter.

    Raises:
        ConfigError: no database was given, or the broker has databases already.
    """
    check_application(broker, AsyncBroker, module=__name__, what="the broker")
    check_install(broker, databases, asynchronous=True)
    broker.add_middlewares(RespoolMiddleware(*databases))


class RespoolMiddleware(TaskiqMiddleware):
    """The same for ``broker.with_middlewares(…)``.

    Args:
        databases: as for :func:`install`.
    """

    def __init__(self, *databases: Any) -> None:
        super().__init__()
        check_databases(databases, asynchronous=True)
        self.databases = databases
        self._kinds: dict[str, JobKind] = {}

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        """Open the scopes."""
        job = self._kind(message.task_name).begin(f"{message.task_name} {message.task_id}")
        _begun.set(job)
        _job.set(job)
        job.hold()
        return message

    async def on_error(self, message: TaskiqMessage, result: TaskiqResult[Any], exception: BaseException) -> None:
        """End the scopes of a task whose function was never called."""
        if (job := _job.get()) is not None:
            await job.end(exception)

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        """Put back in force what was before."""
        if (job := _job.get()) is not None:
            _job.set(None)
            job.leave()

    def _kind(self, name: str) -> JobKind:
        if name not in self._kinds:
            task: Any = self.broker.find_task(name)
            self._kinds[name] = JobKind.of(task.original_func, self.databases)
            task.original_func = as_job(task.original_func, _take)
        return self._kinds[name]


def _take(*args: Any, **keywords: Any) -> Job | None:
    job = _begun.get()
    _begun.set(None)  # what the task calls in its turn is no job
    return job
