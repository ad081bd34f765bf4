"""Click, Typer, and functions that no library knows: the decorator ``db.job``."""

from __future__ import annotations

import asyncio
from typing import Any

import click
import typer

from tests.jobs.stands.base import NO_FORK, NO_RETRY, Outcome, Stand

MISSING = {
    "forked": NO_FORK,
    "retry_after_exception": NO_RETRY,
    "retry_after_failing_commit": NO_RETRY,
    "plain_call": "each call of the function is a job",
    "two_databases": "a decorator for each database, which end one after the other",
}


class ClickStand(Stand):
    name = "Click"
    missing = MISSING

    def build(self) -> None:
        @click.command()
        @click.argument("what")
        @click.argument("number", type=int)
        @self.db.job("job")
        def job(what: str, number: int) -> None:
            self.work.do(what, number)

        self.app: Any = job

    async def perform(self, what: str, number: int = 1, *, tries: int = 1) -> Outcome:
        # not by its runner, which changes sys.stdout and is for one thread at a time
        command = self.app if isinstance(self.app, click.Command) else typer.main.get_command(self.app)
        try:
            await asyncio.to_thread(command.main, [what, str(number)], standalone_mode=False)
        except Exception as error:
            return Outcome(False, repr(error))
        self.done()
        return Outcome(True)


class TyperStand(ClickStand):
    name = "Typer"

    def build(self) -> None:
        self.app = typer.Typer()

        @self.app.command()
        @self.db.job("job")
        def job(what: str, number: int) -> None:
            self.work.do(what, number)


class FunctionStand(Stand):
    name = "`db.job`"
    missing = MISSING

    def build(self) -> None:
        self.job = self.db.job("job")(self.work.do)

    async def perform(self, what: str, number: int = 1, *, tries: int = 1) -> Outcome:
        try:
            await self.run(what, number)
        except Exception as error:
            return Outcome(False, repr(error))
        self.done()
        return Outcome(True)

    async def run(self, what: str, number: int) -> None:
        await asyncio.to_thread(self.job, what, number)


class CoroutineStand(FunctionStand):
    kind = "async"

    async def run(self, what: str, number: int) -> None:
        await self.job(what, number)


STANDS = [ClickStand, TyperStand, FunctionStand, CoroutineStand]
