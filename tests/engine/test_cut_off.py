"""Exceptions out of nowhere where connections are thrown away: each is one's alone afterwards, and no place is lost."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from respool.engine import FairPool
from respool.engine.pools.checkout import Checkout
from respool.engine.pools.leases import Loan
from respool.pool import ConnectionPool
from respool.pool.threads import Lease
from tests.pool.test_interrupts import IGNORED, Counted, apart
from tests.support.interrupts import Interrupt, every_instruction, interrupted_at

pytestmark = [IGNORED, pytest.mark.usefixtures("nobody_is_told")]


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[Callable[[], sa.Engine]]:
    made = []

    def make() -> sa.Engine:
        made.append(sa.create_engine(f"sqlite:///{tmp_path}/file.db", poolclass=FairPool, max_size=3, pool_timeout=3))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


def take_all(engine: sa.Engine) -> list[Any]:
    pool: Any = engine.pool
    return [engine.raw_connection() for _ in range(pool.config.max_size)]


def throw_away(held: list[Any], close: bool) -> None:
    held[0].invalidate()
    if close:
        held[0].close()
    held.clear()


@pytest.mark.parametrize("close", [True, False], ids=["closed", "dropped"])
@apart
def test_a_connection_that_is_thrown_away_becomes_nobody_elses_twice(
    engines: Callable[[], sa.Engine], close: bool
) -> None:
    for instruction in every_instruction():
        engine = engines()
        held: list[Any] = [engine.raw_connection()]

        where = interrupted_at(instruction, partial(throw_away, held, close))
        held.clear()
        gc.collect(1)
        all_of_them = take_all(engine)
        assert len({id(each.dbapi_connection) for each in all_of_them}) == len(all_of_them), where
        for each in all_of_them:
            each.close()
        engine.dispose()
        if where is None:
            break


def close_a_lost_one(held: list[Any]) -> None:
    held[0].lost = ConnectionError("gone")
    held[0].close()
    held.clear()


def close_one_whose_reset_fails(held: list[Any]) -> None:
    def fail(_: object) -> None:
        raise ValueError("this reset")

    held[0]._pool._dialect.do_rollback = fail
    held[0].close()
    held.clear()


@pytest.mark.parametrize("close", [close_a_lost_one, close_one_whose_reset_fails])
@apart
def test_the_place_of_a_connection_that_is_no_good_is_given_back(
    engines: Callable[[], sa.Engine], close: Callable[[list[Any]], None]
) -> None:
    for instruction in every_instruction():
        engine = engines()
        pool: Any = engine.pool
        held: list[Any] = [engine.raw_connection()]
        found: list[str | None] = []
        # each in a thread of its own: Python may go on handling, to its end, what was being handled there
        thread = threading.Thread(target=lambda: found.append(interrupted_at(instruction, partial(close, held))))  # noqa: B023
        thread.start()
        thread.join()
        where = found[0]
        held.clear()
        gc.collect(1)
        assert pool.stats().acquired == 0, where
        vars(engine.dialect).pop("do_rollback", None)
        engine.dispose()
        if where is None:
            break


def noting(failed: list[BaseException], function: Callable[[], object]) -> None:
    """What is cut off may raise what cut it off, and nothing else."""
    try:
        function()
    except Interrupt:
        raise
    except BaseException as error:
        failed.append(error)


def leases() -> tuple[list[Any], Any]:
    pool = ConnectionPool(Counted().connect, max_size=1)
    return [pool.acquire()], pool


def checkouts() -> tuple[list[Any], Any]:
    engine: Any = sa.create_engine("sqlite://", poolclass=FairPool, max_size=1)
    return [engine.raw_connection()], engine.pool


def loans() -> tuple[list[Any], Any]:
    engine: Any = sa.create_engine("sqlite://", poolclass=FairPool, max_size=1)
    loan = Loan(engine.pool)
    loan.take("SELECT 1")
    return [loan], engine.pool


@pytest.mark.parametrize(
    "make, kind", [(leases, Lease), (checkouts, Checkout), (loans, Loan)], ids=["lease", "checkout", "loan"]
)
@pytest.mark.parametrize("inside", [False, True], ids=["anywhere", "in the midst of a step"])
@apart
def test_a_finalizer_that_is_cut_off_gives_the_place_back(
    make: Callable[[], tuple[list[Any], Any]], kind: Any, inside: bool
) -> None:
    before_it_begins = [
        f"in {kind.__name__}.__del__(), line {kind.__del__.__code__.co_firstlineno + n}" for n in (0, 1, 2)
    ]
    for instruction in every_instruction():
        held, pool = make()
        monitor = pool._monitor
        failed: list[BaseException] = []
        forget = partial(monitor.step, held.clear) if inside else held.clear
        where = interrupted_at(instruction, partial(noting, failed, forget))
        assert failed == [], where
        held.clear()
        if where not in before_it_begins:  # Python calls it once, and has no place earlier
            assert pool.stats().acquired == 0, where
            monitor.step(monitor.state.check)
        pool.close(timeout=0) if isinstance(pool, ConnectionPool) else pool.dispose()
        if where is None:
            break
