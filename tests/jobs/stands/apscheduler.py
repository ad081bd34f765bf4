from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.background import BackgroundScheduler

from respool.jobs.apscheduler import install
from tests.jobs.stands.base import NO_FORK, NO_RETRY, Outcome, Stand


class APSchedulerStand(Stand):
    name = "APScheduler"
    missing = {
        "forked": NO_FORK,
        "retry_after_exception": NO_RETRY,
        "retry_after_failing_commit": NO_RETRY,
        "plain_call": "calls the function itself, which is left as it is",
    }

    def build(self) -> None:
        kind: Any = BackgroundScheduler if self.kind == "sync" else AsyncIOScheduler
        self.scheduler = kind(timezone="UTC")
        install(self.scheduler, *self.databases)
        self.outcomes: dict[str, Future[Outcome]] = {}
        self.scheduler.add_listener(self.heard, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)

    def heard(self, event: Any) -> None:
        if event.exception is None:
            self.done()
        self.outcomes[event.job_id].set_result(Outcome(event.exception is None, repr(event.exception), event.job_id))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.scheduler.start()
        try:
            yield
        finally:
            self.scheduler.get_jobs()  # waits until its thread has put the last one away, which a shutdown does not
            self.scheduler.shutdown()

    async def perform(self, what: str, number: int = 1, *, tries: int = 1) -> Outcome:
        name = f"{what}-{number}"
        outcome = self.outcomes[name] = Future()
        self.scheduler.add_job(self.work.do, args=[what, number], id=name, name="job", misfire_grace_time=None)
        return await asyncio.wrap_future(outcome)


class AsyncAPSchedulerStand(APSchedulerStand):
    kind = "async"


STANDS = [APSchedulerStand, AsyncAPSchedulerStand]
