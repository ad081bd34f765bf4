"""RQ: ``install(worker, db)``, or a ``ScopedJob`` of your own for the command line.

RQ has no hooks around a job's function; a worker has a class for its jobs, and theirs is this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from respool.config import needs

with needs("rq"):
    from rq.job import Job
    from rq.worker import BaseWorker

from respool.database.applications import check_application
from respool.database.job import JobKind, as_job
from respool.jobs.installing import check_databases, check_install

__all__ = ["ScopedJob", "install"]


class ScopedJob(Job):
    """A job with a session of each database, for ``rq worker --job-class shop.ShopJob``::

        class ShopJob(ScopedJob):
            databases = (db,)

    A worker that forks for each job, as RQ's usual one does, may have used the databases before.
    """

    #: Any number of ``Database`` and ``AsyncDatabase``; they are committed in this order. Only jobs that are coroutine
    #: functions have a session of the latter.
    databases: Sequence[Any] = ()

    @property
    def func(self) -> Any:
        """The job's function, in the scopes."""
        function: Any = super().func
        if function is None:
            return None
        check_databases(self.databases, asynchronous=True)
        kind = JobKind.of(function, self.databases)
        return as_job(function, lambda *args, **keywords: kind.begin(f"{self.func_name} {self.id}"))


def install(worker: BaseWorker, *databases: Any) -> None:
    """Give each job that a worker performs a session of each database.

    Args:
        worker: the worker.
        databases: as in :class:`ScopedJob`.

    Raises:
        ConfigError: no database was given, or the worker has databases already.
    """
    check_application(worker, BaseWorker, module=__name__, what="the worker")
    check_install(worker, databases, asynchronous=True)
    base: Any = worker.job_class
    scoped: Any = type(base.__name__, (ScopedJob, base), {"databases": databases})
    worker.job_class = scoped
