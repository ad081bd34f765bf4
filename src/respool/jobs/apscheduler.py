"""APScheduler: ``install(scheduler, db)``. Its executors get each job with its function in the scopes.

Only there: a job store keeps where a function can be imported from, and would not take another one in its place.
"""

from __future__ import annotations

from typing import Any

from respool.config import needs

with needs("apscheduler"):
    from apscheduler.events import EVENT_EXECUTOR_ADDED
    from apscheduler.executors.pool import ProcessPoolExecutor
    from apscheduler.schedulers.base import BaseScheduler

from respool.database.applications import check_application
from respool.database.job import JobKind, as_job
from respool.jobs.installing import check_install

__all__ = ["install"]


def install(scheduler: BaseScheduler, *databases: Any) -> None:
    """Give each run of a job a session of each database.

    Not of those that run in processes of a pool, which know nothing of the scheduler: their functions need ``db.job``.

    Args:
        scheduler: the scheduler, started or not; jobs and executors may be added before or after.
        databases: any number of ``Database`` and ``AsyncDatabase``; they are committed in this order. Only jobs that
            are coroutine functions have a session of the latter.

    Raises:
        ConfigError: no database was given, or the scheduler has databases already.
    """
    check_application(scheduler, BaseScheduler, module=__name__, what="the scheduler")
    check_install(scheduler, databases, asynchronous=True)
    for executor in scheduler._executors.values():
        _in_scopes(executor, databases)
    scheduler.add_listener(lambda event: _in_scopes(scheduler._executors[event.alias], databases), EVENT_EXECUTOR_ADDED)


def _in_scopes(executor: Any, databases: tuple[Any, ...]) -> None:
    if not isinstance(executor, ProcessPoolExecutor):
        submit = executor.submit_job
        executor.submit_job = lambda job, run_times: submit(_Scoped(job, databases), run_times)


class _Scoped:
    """A job as its executor sees it: the same, with another function."""

    def __init__(self, job: Any, databases: tuple[Any, ...]) -> None:
        kind = JobKind.of(job.func, databases)
        self.func = as_job(job.func, lambda *args, **keywords: kind.begin(f"{job.name} {job.id}"))
        self._job = job

    def __getattr__(self, name: str) -> Any:
        return getattr(self._job, name)

    def __str__(self) -> str:
        return str(self._job)
