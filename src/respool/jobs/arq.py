"""arq: ``install(WorkerSettings, db)``. The scope is inside of each function and cron job.

``on_job_end`` would come too late: an error there leaves the job neither done nor failed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from respool.config import needs

with needs("arq"):
    from arq import Worker, func

from respool.database.applications import check_application
from respool.database.job import JobKind, as_job
from respool.jobs.installing import check_install

__all__ = ["install"]


def install(worker: Any, *databases: Any) -> None:
    """Give each job a session of each database.

    Args:
        worker: the class with the worker's settings, which has its ``functions`` and ``cron_jobs`` already; or a
            ``Worker``.
        databases: any number of ``AsyncDatabase`` and ``Database``; they are committed in this order.

    Raises:
        ConfigError: no database was given, or the worker has databases already.
    """
    check_application(worker, Worker, module=__name__, what="the worker", classes=True)
    check_install(worker, databases, asynchronous=True)
    if isinstance(worker, Worker):
        for function in worker.functions.values():  # its cron jobs are among them
            function.coroutine = _in_scopes(function, databases)
        return
    for name, made in (("functions", func), ("cron_jobs", lambda job: job)):
        given = [made(each) for each in getattr(worker, name, None) or ()]
        if given:
            setattr(worker, name, [replace(each, coroutine=_in_scopes(each, databases)) for each in given])


def _in_scopes(function: Any, databases: tuple[Any, ...]) -> Any:
    kind = JobKind.of(function.coroutine, databases)
    return as_job(function.coroutine, lambda ctx, *args, **keywords: kind.begin(f"{function.name} {ctx['job_id']}"))
