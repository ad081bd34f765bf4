from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.signals import setup_logging, task_success

from respool.jobs.celery import install
from tests.jobs.stands.base import Outcome, Stand
from tests.support.scripts import run_script


class CeleryStand(Stand):
    name = "Celery"

    def build(self) -> None:
        app = self.app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
        app.conf.update(broker_transport_options={"polling_interval": 0.01})
        install(app, *self.databases)

        @app.task(name="shop.job", shared=False)
        def job(what: str, number: int) -> None:
            self.work.do(what, number)

        again = {"countdown": 0, "max_retries": 1}

        @app.task(name="shop.stubborn", shared=False, autoretry_for=(Exception,), retry_kwargs=again)
        def stubborn(what: str, number: int) -> None:
            self.work.do(what, number)

        @app.task(name="shop.nothing", shared=False)
        def nothing() -> None: ...

        self.job, self.stubborn, self.nothing = job, stubborn, nothing

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        def succeeded(sender: Any, **_: Any) -> None:
            if sender.name != self.nothing.name:
                self.done()

        def own_logging(**_: Any) -> None:
            """Who sets it up himself keeps Celery from changing that of the whole process."""

        setup_logging.connect(own_logging)
        task_success.connect(succeeded)
        worker = start_worker(self.app, pool="threads", concurrency=2, perform_ping_check=False, shutdown_timeout=60)
        await asyncio.to_thread(worker.__enter__)
        try:
            yield
        finally:
            stop = asyncio.create_task(asyncio.to_thread(worker.__exit__, None, None, None))
            while not stop.done():  # with something to do it hears at once that it is to stop
                self.nothing.delay()
                await asyncio.wait({stop}, timeout=0.01)
            stop.result()
            task_success.disconnect(succeeded)
            setup_logging.disconnect(own_logging)
            self.app.close()

    async def perform(self, what: str, number: int = 1, *, tries: int = 1) -> Outcome:
        result = (self.job if tries == 1 else self.stubborn).delay(what, number)
        await asyncio.to_thread(result.get, interval=0.01, timeout=60, propagate=False)
        return Outcome(result.successful(), f"{result.result!r} {result.traceback}", result.id)

    def call(self, what: str) -> Any:
        return self.job(what, 1)

    @staticmethod
    def forked(folder: Path, url: str) -> list[list[int]]:
        return run_script(folder, FORKED, url)  # type: ignore[no-any-return]


#: Tasks by way of a folder, done by a worker with two children. Once it is up, it hands them in by itself.
FORKED = """
import json, os, signal, sys, threading
from celery import Celery
from celery.signals import worker_ready
from kombu.transport.filesystem import Channel
from sqlalchemy import text
from respool import Database
from respool.jobs.celery import install

# A message's file is there before its words are: whoever looked for messages just then would take an empty one.
whole = threading.RLock()

def one_at_a_time(method):
    def call(*args, **keywords):
        with whole:
            return method(*args, **keywords)
    return call

Channel._put, Channel._get = one_at_a_time(Channel._put), one_at_a_time(Channel._get)

db = Database(sys.argv[1])
app = Celery("shop", broker="filesystem://", backend="file://" + os.getcwd())
folders = {name: os.getcwd() for name in ("data_folder_in", "data_folder_out", "control_folder")}
app.conf.update(broker_transport_options={**folders, "polling_interval": 0.05}, worker_redirect_stdouts=False)
install(app, db)

def ask():
    return db.session.scalar(text("SELECT pg_backend_pid()"))

def outside():
    with db.scope("parent"):
        return ask()

@app.task
def job():
    return [os.getpid(), ask()]

def hand_in():
    try:  # the worker's process takes itself for a task
        jobs = [job.delay().get(timeout=60, interval=0.01, disable_sync_subtasks=False) for _ in range(4)]
        print(json.dumps([[os.getpid(), before], *jobs, [os.getpid(), outside()]]), flush=True)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)

@worker_ready.connect
def ready(**_):
    threading.Thread(target=hand_in).start()

before = outside()
worker = ["worker", "--pool=prefork", "--concurrency=2", "--without-gossip", "--without-mingle", "--without-heartbeat"]
app.worker_main([*worker, "--loglevel=error"])
"""

STANDS = [CeleryStand]
