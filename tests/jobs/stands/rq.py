from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

from fakeredis import FakeServer, FakeStrictRedis
from rq import Callback, Queue, Retry, SimpleWorker
from rq.timeouts import TimerDeathPenalty

from respool.jobs.rq import install
from tests.jobs.stands.base import Outcome, Stand
from tests.support.redis import redis_server
from tests.support.scripts import run_script


class Worker(SimpleWorker):
    """One that may run in a thread, where there are no signals."""

    death_penalty_class = TimerDeathPenalty

    def _install_signal_handlers(self) -> None:
        pass


class RQStand(Stand):
    name = "RQ"
    missing = {"plain_call": "calls the function itself, which is left as it is"}
    at_work: ClassVar[Any] = None  #: the stand whose work is done

    def build(self) -> None:
        self.server = FakeServer()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        RQStand.at_work = self
        try:
            yield
        finally:
            RQStand.at_work = None

    async def perform(self, what: str, number: int = 1, *, tries: int = 1) -> Outcome:
        return await asyncio.to_thread(self.work_off, what, number, Retry(max=tries - 1) if tries > 1 else None)

    def work_off(self, what: str, number: int, retry: Retry | None) -> Outcome:
        """Hand in a job, and be the worker that does it."""
        redis = FakeStrictRedis(server=self.server)
        queue = Queue(f"jobs-{number}", connection=redis)
        function = f"{__name__}.{self.kind}_job"
        job = queue.enqueue(function, what, number, retry=retry, on_success=Callback(done))
        worker = Worker([queue], connection=redis)
        install(worker, *self.databases)
        worker.work(burst=True)
        result = job.latest_result()
        assert result is not None
        return Outcome(job.is_finished, result.exc_string or "", job.id)

    @staticmethod
    def forked(folder: Path, url: str) -> list[list[int]]:
        with redis_server() as socket:
            return run_script(folder, FORKED, url, socket)  # type: ignore[no-any-return]


def done(job: Any, connection: Any, result: Any) -> None:
    RQStand.at_work.done()


def sync_job(what: str, number: int) -> None:
    RQStand.at_work.work.do(what, number)


async def async_job(what: str, number: int) -> None:
    await RQStand.at_work.work.do(what, number)


class AsyncRQStand(RQStand):
    kind = "async"
    missing = {**RQStand.missing, "forked": "the same fork, whatever the function"}


#: Jobs that are done by RQ's own worker, which forks for each.
FORKED = """
import json, os, sys
from redis import Redis
from rq import Queue, Worker
from sqlalchemy import text
from respool import Database
from respool.jobs.rq import ScopedJob

db = Database(sys.argv[1])

class ShopJob(ScopedJob):
    databases = (db,)

def ask():
    return db.session.scalar(text("SELECT pg_backend_pid()"))

def outside():
    with db.scope("parent"):
        return ask()

def job():
    return [os.getpid(), ask()]

if __name__ == "__main__":
    db.close()
    import shop  # the same under the name by which jobs are found

    redis = Redis(unix_socket_path=sys.argv[2])
    queue = Queue("jobs", connection=redis)
    before = shop.outside()
    jobs = [queue.enqueue("shop.job") for _ in range(2)]
    Worker([queue], connection=redis, job_class=shop.ShopJob).work(burst=True, logging_level="ERROR")
    results = [job.latest_result().return_value for job in jobs]
    print(json.dumps([[os.getpid(), before], *results, [os.getpid(), shop.outside()]]))
"""

STANDS = [RQStand, AsyncRQStand]
