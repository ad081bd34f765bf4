"""A forked child has a pool of its own, and the parent's connections stay the parent's."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from respool.engine import FairPool

PID = sa.text("SELECT pg_backend_pid()")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_promise_07_after_a_fork_nobody_shares_a_connection(pg_url: str) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=1)
    with engine.connect() as connection:
        before = connection.scalar(PID)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads run; that is what is tested
        child = os.fork()
    if child == 0:
        try:
            with engine.connect() as connection:
                os.write(writing, str(connection.scalar(PID)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        in_child = int(pipe.read())
    os.waitpid(child, 0)
    with engine.connect() as connection:
        after = connection.scalar(PID)
    assert before == after != in_child
    engine.dispose()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_connection_held_over_a_fork_is_forgotten_in_the_child(pg_url: str) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=1)
    held = engine.connect()
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            held.close()
            stats = engine.pool.stats()  # type: ignore[attr-defined]
            os.write(writing, f"{stats.acquired} {stats.total}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "0 0"
    os.waitpid(child, 0)
    assert held.scalar(PID) is not None, "the child said nothing on the parent's socket"
    held.close()
    engine.dispose()


def in_a_child_without_hooks(function: Callable[[], object]) -> str:
    """What a function returns in a child that Python knows nothing of, as uWSGI forks its workers.

    Python's own locks are as they were at that moment: a child that has caught a bad one is no case of the pool's.
    """
    return next(filter(None, (_answer_of_a_child(function) for _ in range(5))), "no answer")


def _answer_of_a_child(function: Callable[[], object]) -> str:
    reading, writing = os.pipe()
    child = ctypes.PyDLL(
        None
    ).fork()  # PyDLL keeps the interpreter's lock, which some other thread might have in the child
    if child == 0:
        try:
            os.write(writing, str(function()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    try:
        with os.fdopen(reading) as pipe:
            return pipe.read() if select.select([pipe], [], [], 10)[0] else ""
    finally:
        os.kill(child, signal.SIGKILL)  # rather no answer than a child that stays
        os.waitpid(child, 0)


linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no page of memory tells of a fork")


@linux
def test_promise_07_a_pool_serves_in_a_child_that_python_knows_nothing_of(pg_url: str) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=2)
    with engine.connect() as connection, engine.connect() as other:
        before = {connection.scalar(PID), other.scalar(PID)}

    def use() -> str:
        with engine.connect() as connection, engine.connect() as other:
            return f"{connection.scalar(PID)} {other.scalar(PID)}"

    in_child = {int(number) for number in in_a_child_without_hooks(use).split()}
    with engine.connect() as connection, engine.connect() as other:
        after = {connection.scalar(PID), other.scalar(PID)}
    assert before == after
    assert len(in_child) == 2
    assert not in_child & before
    engine.dispose()


@linux
def test_what_is_held_over_such_a_fork_is_not_closed_in_the_child(pg_url: str) -> None:
    engine = sa.create_engine(pg_url, poolclass=FairPool, max_size=1)
    held = engine.connect()

    def let_go() -> int:
        held.close()
        engine.dispose()
        with engine.connect() as connection:
            return int(connection.scalar(PID) or 0)

    assert int(in_a_child_without_hooks(let_go)) > 0
    assert held.scalar(PID) is not None
    held.close()
    engine.dispose()
