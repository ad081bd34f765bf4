"""A connection that the server closes in the middle of a transaction, under every driver of a server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.util import await_only

from respool import Session
from respool.engine.dialects.signs import has_something_to_say
from respool.errors import CommitNotSent
from tests.drivers.driver import Shop, pool_of

pytestmark = pytest.mark.drivers(server=True)

INSERT = sa.text("INSERT INTO t VALUES (2)")


def closed(shop: Shop) -> Iterator[Any]:
    """Sessions in a transaction whose connection is closed; the event loop has read more and more of the last word."""
    engine = shop.engine(max_size=1)
    shop.make_table(engine)
    for steps in range(6 if shop.driver.asynchronous else 1):
        session: Any = Session(engine)
        session.execute(INSERT)
        shop.server.terminate_backends(shop.database)  # blocks the loop, if there is one
        for _ in range(steps):
            await_only(asyncio.sleep(0))
        yield session
        session.rollback()
        assert pool_of(engine).stats().acquired == 0
    session = Session(engine)
    session.execute(INSERT)
    dbapi_connection = session.connection().connection.dbapi_connection
    shop.terminate()
    shop.until(lambda: has_something_to_say(dbapi_connection))
    yield session
    session.rollback()
    assert session.scalars(sa.text("SELECT x FROM t")).all() == [1]
    session.execute(INSERT)
    session.commit()
    session.close()


def test_promise_04_a_commit_on_a_closed_connection_is_not_sent(shop: Shop) -> None:
    for session in closed(shop):
        with pytest.raises(CommitNotSent, match="nothing is saved"):
            session.commit()


def test_a_lost_connection_is_named(shop: Shop) -> None:
    for session in closed(shop):
        with pytest.raises(DBAPIError, match=r"(?i)lost|closed|gone away|terminating") as lost:
            session.execute(INSERT)
        assert lost.value.connection_invalidated
        with pytest.raises(PendingRollbackError):
            session.commit()


def test_a_commit_on_a_connection_that_the_driver_knows_to_be_closed_is_not_sent(shop: Shop) -> None:
    """Somebody has used the driver's own cursor, and has caught its error: SQLAlchemy knows of nothing."""
    engine = shop.engine(max_size=1)
    shop.make_table(engine)
    session: Any = Session(engine)
    session.execute(INSERT)
    checkout: Any = session.connection().connection
    shop.terminate()
    with pytest.raises(Exception, match=r"(?i)lost|closed|gone away|terminating|switch|reset|broken"):
        checkout.dbapi_connection.cursor().execute("INSERT INTO t VALUES (3)")
    with pytest.raises(CommitNotSent, match="nothing is saved"):
        session.commit()
    session.rollback()
    assert pool_of(engine).stats().acquired == 0
