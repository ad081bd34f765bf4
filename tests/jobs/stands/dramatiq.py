from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import dramatiq
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AsyncIO, Retries

from respool.jobs.dramatiq import install
from tests.jobs.stands.base import NO_FORK, Outcome, Stand


class Watch(dramatiq.Middleware):
    """Tells what has become of messages."""

    def __init__(self, stand: DramatiqStand) -> None:
        self.stand = stand

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        if exception is None or message.failed:
            outcome = Outcome(exception is None, repr(exception), message.message_id)
            self.stand.outcomes[message.message_id].set_result(outcome)

    def before_ack(self, broker: Any, message: Any) -> None:
        if message._exception is None:
            self.stand.done()


class DramatiqStand(Stand):
    name = "Dramatiq"
    missing = {"forked": NO_FORK}

    def build(self) -> None:
        self.outcomes: dict[str, Future[Outcome]] = {}
        self.broker = StubBroker(middleware=[Watch(self), AsyncIO(), Retries(max_retries=0)])
        if self.kind == "sync":  # declared before, and after
            self.job = self.actor()
        install(self.broker, *self.databases)
        if self.kind == "async":
            self.job = self.actor()

    def actor(self) -> Any:
        @dramatiq.actor(broker=self.broker, actor_name="job", min_backoff=1, max_backoff=1)
        def job(what: str, number: int) -> None:
            self.work.do(what, number)

        return job

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        worker = dramatiq.Worker(self.broker, worker_threads=2, worker_timeout=10)
        await asyncio.to_thread(worker.start)
        try:
            yield
        finally:
            if self.kind == "async":  # what was connected in Dramatiq's own event loop
                await asyncio.to_thread(get_event_loop_thread().run_coroutine, self.close())
            await asyncio.to_thread(worker.stop)
            self.broker.close()

    async def close(self) -> None:
        for database in self.databases:
            await database.close()

    async def perform(self, what: str, number: int = 1, *, tries: int = 1) -> Outcome:
        message = self.job.message_with_options(args=(what, number), max_retries=tries - 1)
        outcome = self.outcomes[message.message_id] = Future()
        self.broker.enqueue(message)
        await asyncio.wrap_future(outcome)
        await asyncio.to_thread(self.broker.join, "default", fail_fast=False, timeout=60_000)
        return outcome.result()

    def call(self, what: str) -> Any:
        return self.job(what, 1)


class AsyncDramatiqStand(DramatiqStand):
    kind = "async"
    missing = {**DramatiqStand.missing, "plain_call": "runs an actor in an event loop of its own, whoever calls it"}

    def actor(self) -> Any:
        @dramatiq.actor(broker=self.broker, actor_name="job", min_backoff=1, max_backoff=1)
        async def job(what: str, number: int) -> None:
            await self.work.do(what, number)

        return job


STANDS = [DramatiqStand, AsyncDramatiqStand]
