"""A forked child has a pool of its own, and the parent's connections stay the parent's."""

from __future__ import annotations

import os
import warnings

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
