"""``session.remove()``, the habit of everyone who comes from ``scoped_session``: an honest ``close()``."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_asyncio

from respool import Database, Session, SessionPhase
from respool.errors import UncommittedChanges, UnitError
from respool.web.wsgi import RequestScopeMiddleware
from tests.session.faces import Shop, entered, got
from tests.session.shop import Order, Product, acquired, count, opened
from tests.web.clients import call_wsgi


def test_promise_04_a_request_that_removes_its_session_is_reported(shop_url: str) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        db.session.add(Order(product_id=1))
        db.session.flush()
        db.session.remove()
        start_response("200 OK", [])
        return [b"ok"]

    with opened(shop_url, commit="on_success") as db:
        with pytest.warns(UncommittedChanges, match=r"request GET /: 1 uncommitted change rolled back at remove\(\)"):
            assert call_wsgi(RequestScopeMiddleware(app, db), "/").status == 200
        assert acquired(db) == 0
    assert count(shop_url) == 0


async def test_promise_04_what_is_lost_is_told_with_its_objects(the_shop: Shop) -> None:
    async with the_shop.open(commit="on_success") as db, entered(db.scope("job")) as session:
        session.on_commit(lambda: pytest.fail("nothing is committed"))
        session.add(Order(product_id=1))
        await got(session.flush())
        with pytest.warns(UncommittedChanges) as told:
            await got(session.remove())
        ((*_, hook),) = [warning.message.changes for warning in told]  # type: ignore[union-attr]
        assert "on_commit hook" in hook
        assert (session.phase, acquired(db)) == (SessionPhase.CLOSED, 0)
    assert the_shop.count() == 0


async def test_it_works_again_in_the_same_scope(the_shop: Shop) -> None:
    options = {"close_resets_only": False}  # with which close() would be the end of it
    for given in (None, options):
        async with the_shop.open(commit="on_success", session_options=given) as db, entered(db.scope("job")) as session:
            tea = await got(session.get_one(Product, 1))
            await got(session.remove())
            assert tea not in session
            assert db.session is session
            assert (await got(session.get_one(Product, 1))) is not tea
            session.add(Order(product_id=1))
    assert the_shop.count() == 2


async def test_after_the_end_there_is_nothing_to_remove(the_shop: Shop) -> None:
    async with the_shop.open() as db:
        async with entered(db.scope("job")) as session:
            await got(session.get(Product, 1))
        await got(session.remove())
        assert session.phase is SessionPhase.REMOVED


async def test_not_inside_a_unit(the_shop: Shop) -> None:
    async with the_shop.open() as db, entered(db.scope("job")) as session, entered(session.unit()):
        with pytest.raises(UnitError, match=r"remove\(\) inside a unit"):
            await got(session.remove())


def test_by_hand(shop_url: str) -> None:
    session = Session(Database(shop_url).engine)
    session.add(Order(product_id=1))
    with pytest.warns(UncommittedChanges, match=r"rolled back at remove\(\)"):
        session.remove()
    session.get_bind().dispose()  # type: ignore[union-attr]


class Counting(orm.Session):
    closed = 0

    def close(self) -> None:
        self.closed += 1
        super().close()


class AsyncCounting(sa_asyncio.AsyncSession):
    sync_session_class = Counting


async def test_it_closes_as_a_users_class_does(the_shop: Shop) -> None:
    kind = (Counting, AsyncCounting)[the_shop.asynchronous]
    async with the_shop.open(session_class=kind) as db, entered(db.scope("job")) as session:
        inner: Any = session.sync_session if the_shop.asynchronous else session
        session.add(Order(product_id=1))
        with pytest.warns(UncommittedChanges, match=r"rolled back at remove\(\)"):
            await got(session.remove())
        assert inner.closed == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await got(session.remove())
        assert inner.closed == 2
