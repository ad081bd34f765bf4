"""Celery: ``install(app, db)``. The scope is inside of the task's own ``run``.

Celery's signals come too late: ``task_postrun`` is sent when the result is stored, and its receivers cannot make a task
fail. ``autoretry_for`` works around ``run``, so that a commit that fails is tried again like any other error.
"""

from __future__ import annotations

from typing import Any

from respool.config import needs

with needs("celery"):
    from celery import Celery

from respool.database.applications import check_application
from respool.database.database import Database
from respool.database.job import JobKind, as_job
from respool.jobs.installing import check_install

__all__ = ["install"]


def install(app: Celery, *databases: Database) -> None:
    """Give each task a session of each database, whether it is registered already or later.

    A task that is called like a function is no job: it uses the session in force where it is called.

    Args:
        app: the application.
        databases: any number of ``Database``; they are committed in this order.

    Raises:
        ConfigError: no database was given, or one needs asyncio, or the application has databases already.
    """
    check_application(app, Celery, module=__name__, what="the application")
    check_install(app, databases, asynchronous=False)
    registry: Any = app._tasks  # app.tasks would finish the application, before it has its settings
    kind = type(registry)

    def register(self: Any, name: str, task: Any) -> None:
        kind.__setitem__(self, name, task)
        _in_scopes(task, databases)

    registry.__class__ = type(kind.__name__, (kind,), {"__module__": kind.__module__, "__setitem__": register})
    for task in list(registry.values()):
        _in_scopes(task, databases)


def _in_scopes(task: Any, databases: tuple[Database, ...]) -> None:
    if hasattr(task, "respool_kind"):
        return
    run = "_orig_run" if hasattr(task, "_orig_run") else "run"  # as autoretry_for puts it aside
    kind = task.respool_kind = JobKind.of(getattr(task, run), databases)

    def run_of(*args: Any, **keywords: Any) -> Any:
        request = task.request
        return None if request.called_directly else kind.begin(f"{task.name} {request.id}")

    setattr(task, run, as_job(getattr(task, run), run_of))
