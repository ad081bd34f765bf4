from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

from arq import ArqRedis, Retry, cron
from arq.worker import create_worker, func
from fakeredis import FakeAsyncRedis

from respool.jobs.arq import install
from tests.jobs.stands.base import NO_FORK, Outcome, Stand


class ArqStand(Stand):
    name = "arq"
    kind = "async"
    missing = {
        "forked": NO_FORK,
        "retry_after_failing_commit": "tries again only what raises its `Retry`",
        "plain_call": "has its functions in its settings only, and leaves them as they are elsewhere",
    }

    def build(self) -> None:
        async def job(ctx: Any, what: str, number: int) -> None:
            await self.work.do(what, number)

        async def ended(ctx: Any) -> None:
            if self.worker.jobs_complete:
                self.done()

        class WorkerSettings:
            functions = (func(job, name="job"),)
            cron_jobs = (cron(job, month=1),)

        install(WorkerSettings, *self.databases)
        self.redis = ArqRedis(FakeAsyncRedis().connection_pool)
        self.work.again = lambda: Retry(defer=0)
        self.options = {"burst": True, "handle_signals": False, "poll_delay": 0.01, "on_job_end": ended}
        self.settings = WorkerSettings

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        with patch("arq.worker.log_redis_info"):  # which asks for what only a real server can tell
            yield

    async def perform(self, what: str, number: int = 1, *, tries: int = 1) -> Outcome:
        job = await self.redis.enqueue_job("job", what, number)
        assert job is not None
        if (what, number) != ("meet", 1):  # who comes second does both
            self.worker: Any = create_worker(self.settings, redis_pool=self.redis, **self.options)
            await self.worker.async_run()
        try:
            await job.result(timeout=60, poll_delay=0.01)
        except Exception as error:
            return Outcome(False, repr(error), job.job_id)
        return Outcome(True, id=job.job_id)


STANDS = [ArqStand]
