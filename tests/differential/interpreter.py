"""Runs a program on one side.

One description serves both worlds: a step is a coroutine that awaits what has to be awaited.  In a sync world nothing has
to be, so that such a coroutine runs to its end at once.
"""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.exc import SAWarning

from tests.differential import model as m
from tests.differential.listeners import Ears, Planned, silence
from tests.differential.places import Place
from tests.differential.sides import Stock, World, got
from tests.differential.steps import Steps, is_read_of_objects
from tests.differential.traces import Seen, Trace, failed, object_state, plain, sqlstate_of, states_of

__all__ = ["Mistake", "driven", "perform"]


def driven(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise AssertionError("something was to be awaited in a sync world")


async def perform(program: m.Program, place: Place, side: Stock, trace: Trace) -> None:
    """Run a program on one side.

    Args:
        program: what is done.
        place: the side's database.
        side: whose session and pool it is done with.
        trace: gets what is seen.
    """
    world = World(side, place, program.setup, m.kills(program))
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            await _Run(program, world, told, trace)()
    finally:
        await world.close()


class Mistake(BaseException):
    """The machine itself is at fault."""


class _Run(Steps):
    def __init__(self, program: m.Program, world: World, told: list[warnings.WarningMessage], trace: Trace) -> None:
        super().__init__(world, Ears(world.place.database, world.engine))
        self.program = program
        self.told = told
        self.trace = trace

    async def __call__(self) -> None:
        if self.program.warm:
            await self._warm_up()
        for listener in self.program.listeners:
            if listener.target != "session":
                self.ears.listen(listener)
        try:
            for _ in range(self.program.times):
                self.slots.clear()
                if self.world.setup.face == "scope":  # whose results end with it
                    self.partial = None
                await self._live()
            await self._look_afterwards()
        finally:
            silence()

    async def _warm_up(self) -> None:
        for _ in range(2):  # what a loader loads is known later
            with suppress(Exception):  # of an end whose session was refused by a setup
                async with self.world.side.session(self.world) as api:
                    self.api, self.session = api, getattr(api, "sync_session", api)
                    for step in m.flat(self.program.steps):
                        if is_read_of_objects(step):
                            with suppress(Exception):
                                await self.perform(step)
            self.slots.clear()
        self.told.clear()

    async def _live(self) -> None:
        try:
            await self._have_a_session()
        except (Exception, asyncio.CancelledError, KeyboardInterrupt) as error:
            if isinstance(error, asyncio.CancelledError):
                task = asyncio.current_task()
                assert task is not None
                task.uncancel()
            self.trace.end += (failed(error),)
            self.trace.end_states += (states_of(error),)
        else:
            self.trace.end += ("success",)
            self.trace.end_states += ((),)

    async def _have_a_session(self) -> None:
        async with self.world.side.session(self.world) as api:
            self.api, self.session = api, getattr(api, "sync_session", api)
            self.ears.session = self.session
            for listener in self.program.listeners:
                if listener.target == "session":
                    self.ears.listen(listener)
            for step in self.program.steps:
                await self.do(step)
            await self._end()

    async def _end(self) -> None:
        match self.program.end:
            case "commit":
                await got(self.api.commit())
            case "rollback":
                await got(self.api.rollback())
            case "raise":
                raise Planned("at the end")
            case "interrupt":
                if not self.world.asynchronous:
                    raise KeyboardInterrupt
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(0)

    # -- steps

    async def do(self, step: m.Step) -> None:
        """Do one step, and look at what it did."""
        seen = Seen(step, lives=len(self.trace.end))
        try:
            seen.outcome = plain(await self.perform(step))
        except Exception as error:
            if _is_made_here(error):
                raise Mistake(m.text(step)) from error
            seen.outcome, seen.sqlstate, seen.message = failed(error), sqlstate_of(error), str(error)[:200]
            seen.states = states_of(error)
            if seen.sqlstate == "25P02":  # what PostgreSQL then refuses is not looked at: no other error is like that
                seen.outcome += ("the transaction is doomed",)
        gc.collect(0)  # what an error has loaded lives as long as its traceback, which may be in a cycle
        seen.objects = {name: object_state(obj) for name, obj in sorted(self.slots.items())}
        session = self.session
        seen.session = (len(session.new), len(session.dirty), len(session.deleted))
        seen.in_transaction = session.in_transaction()
        pools: list[Any] = [engine.pool for engine in (self.world.engine, *self.world.second_engines)]
        seen.holding = any(
            pool.checkedout() > 0 if hasattr(pool, "checkedout") else seen.in_transaction for pool in pools
        )
        seen.rows = self.world.place.rows()
        seen.heard = tuple(self.ears.since())
        seen.warned = tuple(sorted(w.category.__name__ for w in self.told if _is_sqlalchemys(w)))
        self.told.clear()
        self.trace.steps.append(seen)

    # -- afterwards

    async def _look_afterwards(self) -> None:
        trace, world = self.trace, self.world
        trace.objects = {name: await self._read_all(obj) for name, obj in sorted(self.slots.items())}
        self.slots.clear()
        self.partial = None
        trace.out = sum(_checked_out(engine) for engine in (world.engine, *world.second_engines))
        trace.rows = world.place.rows()
        trace.leftovers = world.place.leftovers()
        trace.heard = tuple(self.ears.since())
        try:
            trace.next = await world.call(_look_at_next, world.engine, world.place.database)
        except Exception as error:
            trace.next = failed(error)

    async def _read_all(self, obj: Any) -> Any:
        def read(attribute: str) -> Any:
            try:
                return plain(getattr(obj, attribute))
            except Exception as error:
                return failed(error)

        names = list(type(obj).__mapper__.column_attrs.keys())
        return (object_state(obj), [await self.world.call(read, name) for name in names])


def _is_made_here(error: BaseException) -> bool:
    """Whether an error is one of Python's, raised by the machine's own code."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return (
        type(error).__module__ == "builtins"
        and traceback is not None
        and Path(traceback.tb_frame.f_code.co_filename).parent == Path(__file__).parent
    )


def _is_sqlalchemys(told: warnings.WarningMessage) -> bool:
    return issubclass(told.category, SAWarning) and "garbage collector" not in str(told.message)


def _checked_out(engine: Engine) -> int:
    pool: Any = engine.pool
    return pool.checkedout() if hasattr(pool, "checkedout") else 0


def _look_at_next(engine: Engine, database: str) -> Any:
    """What the next one who takes a connection of the pool finds on it."""
    with engine.connect() as connection:
        dbapi_connection: Any = connection.connection.dbapi_connection
        found: dict[str, Any] = {"level": connection.get_isolation_level()}
        if database == "sqlite":
            driver = getattr(dbapi_connection, "driver_connection", dbapi_connection)
            found["in transaction"] = driver.in_transaction
        elif database == "postgresql":
            found["settings"] = [tuple(row) for row in connection.execute(text(_SETTINGS))]
            found["temporary"] = connection.scalar(text("SELECT to_regclass('pg_temp.scratch')::text"))
            found["listens"] = list(connection.scalars(text("SELECT pg_listening_channels()")))
            found["prepared"] = list(connection.scalars(text("SELECT statement FROM pg_prepared_statements")))
        else:
            found["settings"] = connection.scalar(text("SELECT @tenant"))
        found["autocommit"] = getattr(dbapi_connection, "autocommit", None) if database == "postgresql" else None
        return found


#: Whether the level was said explicitly is nobody's business; what it is is asked apart.
_SETTINGS = (
    "SELECT name, setting FROM pg_settings WHERE source = 'session' AND name <> 'transaction_isolation' ORDER BY 1"
)
