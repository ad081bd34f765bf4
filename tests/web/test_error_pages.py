"""What an error page finds: the request's work rolled back, and a session that it can use until the answer leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.urls import set_urlconf
from flask import Flask
from quart import Quart
from sqlalchemy.exc import IntegrityError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from respool import Database
from respool.errors import RollbackOnly
from respool.web import flask, quart, starlette
from tests.session.shop import Order, Product, acquired, count, fill, opened, opened_async
from tests.web.clients import call_asgi
from tests.web.contract import CASES, Place
from tests.web.stands import ALL
from tests.web.stands.base import Stand
from tests.web.stands.django import Urls


def shop(*databases: Any, handler: Any, pages: dict[Any, Any]) -> Starlette:
    app = Starlette(routes=[Route("/", handler, methods=["POST"])], exception_handlers=pages)
    starlette.install(app, *databases)
    return app


async def ask(app: Any) -> Any:
    return await call_asgi(app, "/", "POST")


async def test_objects_of_a_sync_session_are_loaded_once_more(db: Database, shop_url: str) -> None:
    held: list[Any] = []

    def handler(request: Any) -> None:
        held.append(db.session.get_one(Product, 1))
        held[0].name = "coffee"
        db.session.flush()
        raise LookupError

    def page(request: Any, error: Exception) -> PlainTextResponse:
        return PlainTextResponse(f"{held[0].name} {len(held[0].orders)}", 400)

    assert (await ask(shop(db, handler=handler, pages={LookupError: page}))).body == b"tea 0"
    assert (acquired(db), db.scopes()) == (0, ())


async def test_objects_of_an_async_session_keep_what_they_have_loaded(async_shop_url: str, shop_url: str) -> None:
    async with opened_async(async_shop_url, commit="on_success") as db:
        held: list[Any] = []

        async def handler(request: Any) -> None:
            held.append(await db.session.get_one(Product, 1))
            db.session.add(Order(product_id=1))
            await db.session.flush()
            raise LookupError

        async def page(request: Any, error: Exception) -> PlainTextResponse:
            return PlainTextResponse(held[0].name, 400)

        assert (await ask(shop(db, handler=handler, pages={LookupError: page}))).body == b"tea"
    assert count(shop_url) == 0


async def test_the_session_is_the_same_and_a_rollback_of_the_pages_own_does_no_harm(
    async_shop_url: str, shop_url: str
) -> None:
    async with opened_async(async_shop_url, commit="on_success") as db:

        async def handler(request: Any) -> None:
            request.state.session = db.session
            db.session.add(Order(product_id=1))
            await db.session.flush()
            db.session.add(Order(id=1, product_id=1))
            await db.session.flush()

        async def page(request: Any, error: Exception) -> PlainTextResponse:
            await request.state.session.rollback()
            assert request.state.session is db.session
            return PlainTextResponse(str((await db.session.get_one(Product, 1)).name), 409)

        answer = await ask(shop(db, handler=handler, pages={IntegrityError: page}))
        assert (answer.status, answer.body, count(shop_url)) == (409, b"tea", 0)


@pytest.mark.parametrize("commits", [False, True])
async def test_what_a_page_writes_is_saved_only_if_it_says_so(db: Database, shop_url: str, commits: bool) -> None:
    def handler(request: Any) -> None:
        db.session.add(Order(product_id=1))
        db.session.flush()
        raise LookupError

    def page(request: Any, error: Exception) -> PlainTextResponse:
        db.session.add(Order(product_id=1, note="a log's row"))
        if commits:
            db.session.commit()
        return PlainTextResponse("sorry", 200)

    assert (await ask(shop(db, handler=handler, pages={LookupError: page}))).status == 200
    assert count(shop_url) == int(commits)


async def test_hooks_hear_of_the_rollback_once(db: Database) -> None:
    heard: list[str] = []

    def handler(request: Any) -> None:
        db.session.add(Order(product_id=1))
        db.session.on_commit(lambda: heard.append("committed"))
        db.session.on_rollback(lambda: heard.append("rolled back"))
        raise LookupError

    def page(request: Any, error: Exception) -> PlainTextResponse:
        heard.append("page")
        return PlainTextResponse("sorry", 500)

    await ask(shop(db, handler=handler, pages={LookupError: page}))
    assert heard == ["rolled back", "page"]


@pytest.mark.parametrize("status, saved", [(303, 1), (400, 0)])
async def test_a_redirect_that_is_raised_is_an_answer(db: Database, shop_url: str, status: int, saved: int) -> None:
    def handler(request: Any) -> None:
        db.session.add(Order(product_id=1))
        raise HTTPException(status, headers={"location": "/elsewhere"})

    def page(request: Any, error: HTTPException) -> PlainTextResponse:
        return PlainTextResponse("see there", error.status_code, error.headers)

    assert (await ask(shop(db, handler=handler, pages={HTTPException: page}))).status == status
    assert count(shop_url) == saved


@pytest.mark.parametrize("product_id", [1, 999])
async def test_a_page_that_fails_leaves_nothing_behind(db: Database, shop_url: str, product_id: int) -> None:
    def handler(request: Any) -> PlainTextResponse:
        db.session.add(Order(product_id=product_id))
        if product_id == 1:
            raise LookupError
        return PlainTextResponse("thanks")

    def page(request: Any, error: Exception) -> PlainTextResponse:
        db.session.add(Order(product_id=1))
        db.session.flush()
        raise ArithmeticError

    answer = await ask(shop(db, handler=handler, pages={LookupError: page, IntegrityError: page}))
    assert (answer.status, type(answer.error)) == (500, ArithmeticError)
    assert (count(shop_url), acquired(db), db.scopes()) == (0, 0, ())


@pytest.mark.parametrize("first_is_used", [False, True])
async def test_after_a_failed_commit_every_database_can_be_read(
    tmp_path: Any, db: Database, shop_url: str, first_is_used: bool
) -> None:
    other_url = f"sqlite:///{tmp_path / 'other.db'}"
    fill(other_url)
    with opened(other_url, name="other", commit="on_success") as other:

        def handler(request: Any) -> PlainTextResponse:
            if first_is_used:
                assert db.session.get_one(Product, 1).name == "tea"
            other.session.add(Order(product_id=999))
            return PlainTextResponse("thanks")

        def page(request: Any, error: Exception) -> PlainTextResponse:
            names = [database.session.get_one(Product, 1).name for database in (db, other)]
            return PlainTextResponse(" ".join(names), 409)

        answer = await ask(shop(db, other, handler=handler, pages={IntegrityError: page}))
        assert (answer.status, answer.body) == (409, b"tea tea")
        assert (acquired(db), acquired(other), db.scopes(), other.scopes()) == (0, 0, (), ())


# -- clean-ups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writes", [False, True])
async def test_a_clean_up_that_has_written_and_rolls_back_makes_an_error_of_the_answer(
    db: Database, shop_url: str, writes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Else the answer would be a success, and the request's work lost."""
    app = Quart("shop")
    quart.install(app, db)

    @app.post("/")
    def order() -> str:
        db.session.add(Order(product_id=1))
        return "thanks"

    @app.teardown_request
    def clean_up(error: Any) -> None:
        if writes:
            db.session.add(Order(product_id=1))
        db.session.rollback()

    answer = await ask(app)
    assert (answer.status, count(shop_url)) == ((500, 0) if writes else (200, 1))
    told = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [type(each) for each in told] == ([RollbackOnly] if writes else [])
    if writes:
        assert "was rolled back after that had been made" in str(told[0])
        assert "test_error_pages.py" in str(told[0])
    assert (acquired(db), db.scopes()) == (0, ())


async def test_quarts_asgi_app_by_itself_is_a_request_too(db: Database, shop_url: str) -> None:
    """As dispatchers call it."""
    app = Quart("shop")
    quart.install(app, db)
    app.register_error_handler(IntegrityError, lambda error: (db.session.get_one(Product, 1).name, 409))

    @app.post("/<int:number>")
    def order(number: int) -> str:
        db.session.add(Order(product_id=number))
        return "thanks"

    wrapped: Any = app.asgi_app
    assert (await call_asgi(wrapped, "/1", "POST")).status == 200
    refused = await call_asgi(wrapped, "/999", "POST")
    assert (refused.status, refused.body, count(shop_url)) == (409, b"tea", 1)


async def test_a_clean_up_after_an_error_takes_away_what_it_will(db: Database, shop_url: str) -> None:
    app = Quart("shop")
    quart.install(app, db)

    @app.post("/")
    def order() -> tuple[str, int]:
        db.session.add(Order(product_id=1))
        return "no", 422

    app.teardown_request(lambda error: db.session.close())
    with pytest.warns(Warning, match="1 uncommitted change rolled back at close"):
        assert (await ask(app)).status == 422
    assert (count(shop_url), acquired(db), db.scopes()) == (0, 0, ())


@pytest.mark.parametrize(
    "stand", [stand for stand in ALL if "Django" in stand.title()], ids=lambda stand: stand.title()
)
async def test_django_asks_the_handlers_of_the_application_at_hand(
    stand: type[Stand], shop_url: str, tmp_path: Path
) -> None:
    """Whatever a request before it has left in the context."""
    fill(other_url := f"sqlite:///{tmp_path / 'other.db'}")
    set_urlconf(Urls())
    try:
        await CASES["failing_commit_with_a_handler"](Place(stand, shop_url, other_url))
    finally:
        set_urlconf(None)


def refusing(*what: Any) -> bool:
    raise LookupError("a policy's own")


def taken_back(db: Database) -> None:
    scope: Any = db.session.scope
    scope.seal(200)
    db.session.add(Order(product_id=1, note="late"))
    db.session.rollback()


@pytest.mark.parametrize("way", ["a policy", "a clean-up"])
@pytest.mark.parametrize("framework", ["flask", "starlette"])
async def test_an_end_that_failed_before_its_commit_leaves_a_session_to_the_page(
    shop_url: str, way: str, framework: str
) -> None:
    with opened(shop_url, commit=refusing if way == "a policy" else "on_success") as db:

        def sell(*request: Any) -> Any:
            db.session.add(Order(product_id=1))
            db.session.flush()
            if way == "a clean-up":
                taken_back(db)
            return "sold" if framework == "flask" else PlainTextResponse("sold")

        def page(*what: Any) -> Any:
            text = db.session.get_one(Product, 1).name
            return (text, 500) if framework == "flask" else PlainTextResponse(text, 500)

        if framework == "flask":
            flasks = Flask(__name__)
            flask.install(flasks, db)
            flasks.add_url_rule("/", view_func=sell, methods=["POST"])
            flasks.register_error_handler(Exception, page)
            answer: Any = flasks.test_client().post("/")
            assert (answer.status_code, answer.text) == (500, "tea")
        else:
            found = await ask(shop(db, handler=sell, pages={Exception: page}))
            assert (found.status, found.body) == (500, b"tea")
        assert (acquired(db), db.scopes(), count(shop_url)) == (0, (), 0)
