"""A transaction that PostgreSQL has given up: its COMMIT would be a ROLLBACK, and no error."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.session.shop import Order, acquired, count, fill, opened, opened_async

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
@pytest.mark.parametrize("in_a_savepoint", [False, True])
def test_promise_03_what_was_given_up_is_no_success(pg_url: str, driver: str, in_a_savepoint: bool) -> None:
    fill(pg_url)

    def work(session: Any) -> None:
        session.add(Order(product_id=1))
        session.flush()
        try:
            if in_a_savepoint:
                with session.begin_nested():
                    session.execute(text("SELECT nothing"))
            else:
                session.execute(text("SELECT nothing"))
        except DBAPIError:
            pass

    with opened(pg_url.replace("psycopg", driver), commit="on_success") as db:
        if in_a_savepoint:
            with db.scope("job") as session:
                work(session)
        else:
            with pytest.raises(DBAPIError, match="aborted"), db.scope("job") as session:
                work(session)
        assert (count(pg_url), acquired(db)) == (int(in_a_savepoint), 0)


async def test_promise_03_what_was_given_up_is_no_success_with_asyncpg(pg_url: str) -> None:
    fill(pg_url)
    async with opened_async(pg_url.replace("psycopg", "asyncpg"), commit="on_success") as db:

        async def work() -> None:
            async with db.scope("job") as session:
                session.add(Order(product_id=1))
                await session.flush()
                with pytest.raises(DBAPIError):
                    await session.execute(text("SELECT nothing"))

        with pytest.raises(DBAPIError, match="aborted"):
            await work()
        assert (count(pg_url), acquired(db)) == (0, 0)
