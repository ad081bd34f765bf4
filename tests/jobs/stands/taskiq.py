from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from taskiq import AckableMessage, BrokerMessage, InMemoryBroker, SimpleRetryMiddleware, TaskiqDepends, TaskiqResult
from taskiq.acks import AcknowledgeType

from respool.jobs.taskiq import install
from tests.jobs.stands.base import NO_FORK, Outcome, Stand


class Broker(InMemoryBroker):
    """One that hears of a success as soon as the task has run."""

    def __init__(self, stand: TaskiqStand) -> None:
        super().__init__(sync_tasks_pool_size=2)
        self.stand = stand
        self.receiver.ack_time = AcknowledgeType.WHEN_EXECUTED
        self.tasks: set[asyncio.Task[None]] = set()

    async def kick(self, message: BrokerMessage) -> None:
        task = asyncio.create_task(self.receiver.callback(AckableMessage(data=message.message, ack=self.acknowledged)))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def acknowledged(self) -> None:
        self.stand.acknowledged()


class TaskiqStand(Stand):
    name = "taskiq"
    missing = {"forked": NO_FORK}
    failing = False  #: taskiq acknowledges failures too

    def build(self) -> None:
        self.broker = Broker(self)
        self.broker.add_middlewares(SimpleRetryMiddleware())
        self.job = self.task()
        install(self.broker, *self.databases)

    def acknowledged(self) -> None:
        if not self.failing:
            self.done()

    def task(self) -> Any:
        @self.broker.task(task_name="job")
        def job(what: str, number: int) -> None:
            self.work.do(what, number)

        return job

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.broker.startup()
        try:
            yield
        finally:
            await asyncio.gather(*self.broker.tasks)
            await self.broker.shutdown()

    async def perform(self, what: str, number: int = 1, *, tries: int = 1) -> Outcome:
        self.failing = what == "broken" or number == 999
        task = await self.job.kicker().with_labels(retry_on_error=tries > 1, max_retries=tries).kiq(what, number)
        result: TaskiqResult[Any] = await task.wait_result(check_interval=0.01, timeout=60)
        return Outcome(not result.is_err, repr(result.error), task.task_id)

    def call(self, what: str) -> Any:
        return self.job(what, 1)


class AsyncTaskiqStand(TaskiqStand):
    kind = "async"

    def task(self) -> Any:
        session = TaskiqDepends(self.db.current_session)

        @self.broker.task(task_name="job")
        async def job(what: str, number: int, given: Any = session) -> None:
            assert given in (self.db.session, session)  # who calls it is not given anything
            await self.work.do(what, number)

        return job


STANDS = [TaskiqStand, AsyncTaskiqStand]
