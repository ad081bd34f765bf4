"""What is each WSGI framework's own about the end of a request: redirections that are raised, contexts, second attempts."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import bottle
import falcon
import pytest
from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from flask import Flask, abort, g, redirect, request, session
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound, HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import HTTPException

from respool import Database
from respool.web import bottle as ours_for_bottle
from respool.web import falcon as ours_for_falcon
from respool.web import flask as ours_for_flask
from respool.web import pyramid as ours_for_pyramid
from respool.web.django import RequestScopeMiddleware
from tests.session.shop import Order, Product, acquired, count, fill, opened
from tests.web.clients import call_wsgi
from tests.web.stands import django as django_stand


def order(db: Database, product_id: int = 1) -> None:
    db.session.add(Order(product_id=product_id))
    db.session.flush()


# -- a redirection that is raised is a success ---------------------------------------------------------------------------


def flask_app(db: Database) -> Any:
    app = Flask("shop")
    ours_for_flask.install(app, db)

    @app.post("/")
    def go() -> Any:
        order(db)
        abort(redirect("/there"))

    return app


def pyramid_app(db: Database) -> Any:
    def go(request: Any) -> Any:
        order(db)
        raise HTTPFound("/there")

    config = Configurator()
    ours_for_pyramid.install(config, db)
    config.add_route("go", "/")
    config.add_view(go, route_name="go")
    return config.make_wsgi_app()


def bottle_app(db: Database) -> Any:
    app = bottle.Bottle()
    ours_for_bottle.install(app, db)

    @app.post("/")
    def go() -> Any:
        order(db)
        bottle.redirect("/there", 302)

    return app


def falcon_app(db: Database) -> Any:
    class Resource:
        def on_post(self, req: Any, resp: Any) -> None:
            order(db)
            raise falcon.HTTPFound("/there")

    app = falcon.App()
    ours_for_falcon.install(app, db)
    app.add_route("/", Resource())
    return app


@pytest.mark.parametrize("make", [flask_app, pyramid_app, bottle_app, falcon_app])
def test_a_redirection_that_is_raised_commits(db: Database, shop_url: str, make: Any) -> None:
    assert (call_wsgi(make(db), "/", "POST").status, count(shop_url)) == (302, 1)


# -- Flask ---------------------------------------------------------------------------------------------------------------


def test_the_page_of_a_failed_commit_has_the_contexts_of_its_request(db: Database, shop_url: str) -> None:
    app = Flask("shop")
    app.secret_key = "for tests only"
    torn: list[Any] = []
    ours_for_flask.install(app, db)
    app.before_request(lambda: setattr(g, "user", db.session.get_one(Product, 1)))
    app.teardown_appcontext(torn.append)

    @app.post("/orders/<int:product_id>")
    def place(product_id: int) -> str:
        session["seen"] = request.form.get("note", "nothing")
        order(db, product_id)
        return "thanks"

    @app.errorhandler(IntegrityError)
    def page(error: Any) -> Any:
        seen = f"{request.endpoint} {request.form['note']} {session['seen']} {g.user.name} {len(g.user.orders)}"
        return seen, 409

    answer = app.test_client().post("/orders/999", data={"note": "a note"})
    assert (answer.status_code, answer.text) == (409, "place a note a note tea 0")
    assert torn == [None, None]
    assert count(shop_url) == 0


def test_a_failed_commit_is_propagated_where_flask_is_told_to(db: Database) -> None:
    app = Flask("shop")
    app.testing = True
    ours_for_flask.install(app, db)
    app.add_url_rule("/", view_func=lambda: order(db, 999) or "thanks", methods=["POST"])
    with pytest.raises(IntegrityError):
        app.test_client().post("/")
    assert (acquired(db), db.scopes()) == (0, ())


def test_whoever_serves_the_inner_application_has_sessions_too(db: Database, shop_url: str) -> None:
    app = Flask("shop")
    ours_for_flask.install(app, db)
    app.add_url_rule("/", view_func=lambda: order(db) or "thanks", methods=["POST"])
    assert call_wsgi(app.wsgi_app, "/", "POST").status == 200
    assert count(shop_url) == 1


@pytest.mark.parametrize("function", ["after_request", "teardown_request"])
def test_what_is_late_and_fails_is_answered_as_flask_does(db: Database, shop_url: str, function: str) -> None:
    app = Flask("shop")
    ours_for_flask.install(app, db)
    app.add_url_rule("/", view_func=lambda: order(db) or "thanks", methods=["POST"])
    getattr(app, function)(lambda *args: 1 / 0)
    app.register_error_handler(500, lambda error: (db.session.get_one(Product, 1).name, 500))
    answer = call_wsgi(app, "/", "POST")
    assert (answer.status, answer.body) == (500, b"tea" if function == "after_request" else b"")
    assert (count(shop_url), acquired(db)) == (0, 0)


def test_an_http_error_without_a_status_is_no_error(db: Database, shop_url: str) -> None:
    app = Flask("shop")
    ours_for_flask.install(app, db)

    @app.post("/")
    def go() -> Any:
        order(db)
        raise HTTPException(response=app.make_response("fine"))

    assert (call_wsgi(app, "/", "POST").status, count(shop_url)) == (200, 1)


# -- Pyramid -------------------------------------------------------------------------------------------------------------


def test_a_second_attempt_is_judged_by_itself(db: Database, shop_url: str) -> None:
    """As ``pyramid_retry`` makes one: with a new request, in the same environ."""
    attempts: list[Any] = []

    def policy(environ: Any, router: Any) -> Any:
        for _ in range(2):
            with router.request_context(environ) as request:
                try:
                    return router.invoke_request(request)
                except LookupError as error:
                    attempts.append(error)
        raise AssertionError

    def place(request: Any) -> Response:
        order(db)
        if not attempts:
            raise LookupError
        return Response("thanks")

    config = Configurator()
    ours_for_pyramid.install(config, db)
    config.set_execution_policy(policy)
    config.add_route("place", "/")
    config.add_view(place, route_name="place")
    assert call_wsgi(config.make_wsgi_app(), "/", "POST").status == 200
    assert (len(attempts), count(shop_url)) == (1, 1)


@pytest.mark.parametrize("use_tweens", [False, True])
def test_a_request_within_the_request_shares_its_session(db: Database, shop_url: str, use_tweens: bool) -> None:
    def inner(request: Any) -> Response:
        order(db)
        return Response("inner")

    def outer(request: Any) -> Response:
        mine = db.session
        for _ in range(2):
            request.invoke_subrequest(Request.blank("/inner", method="POST"), use_tweens=use_tweens)
        assert db.session is mine
        with pytest.raises(HTTPNotFound):
            request.invoke_subrequest(Request.blank("/nowhere"))
        db.session.rollback()
        order(db)
        return Response("outer")

    config = Configurator()
    ours_for_pyramid.install(config, db)
    for view in (inner, outer):
        config.add_route(view.__name__, f"/{view.__name__}")
        config.add_view(view, route_name=view.__name__)
    assert call_wsgi(config.make_wsgi_app(), "/outer", "POST").status == 200
    assert count(shop_url) == 1


# -- Bottle --------------------------------------------------------------------------------------------------------------


def test_a_failed_commit_goes_to_the_server_where_bottle_catches_nothing(db: Database) -> None:
    app = bottle.Bottle()
    app.config["catchall"] = False
    ours_for_bottle.install(app, db)
    app.post("/", callback=lambda: order(db, 999) or "thanks")
    done = call_wsgi(app, "/", "POST")
    assert (done.status, type(done.error)) == (500, IntegrityError)


# -- Django by the settings ----------------------------------------------------------------------------------------------


@pytest.fixture
def django_request() -> HttpRequest:
    request = HttpRequest()
    request.method, request.path = "POST", "/"
    settings.ROOT_URLCONF = django_stand.Urls()
    return request


@pytest.mark.parametrize("fails", [False, True])
def test_a_stream_ends_the_request_with_its_first_part(
    db: Database, shop_url: str, django_request: HttpRequest, fails: bool
) -> None:
    def body() -> Iterator[bytes]:
        if fails:
            raise LookupError
        yield b"one"
        yield str(count(shop_url)).encode()

    def view(request: Any) -> Any:
        order(db)
        return StreamingHttpResponse(body())

    response = RequestScopeMiddleware(view, db)(django_request)
    assert count(shop_url) == 0
    if fails:
        with pytest.raises(LookupError):
            list(response)
    else:
        assert list(response) == [b"one", b"1"]
    response.close()
    assert (count(shop_url), acquired(db), db.scopes()) == (0 if fails else 1, 0, ())


def test_the_page_of_a_failed_commit_reads(db: Database, shop_url: str, django_request: HttpRequest) -> None:
    def page(request: Any) -> HttpResponse:
        with db.scope("log"):
            order(db)
            db.session.commit()
        return HttpResponse(db.session.get_one(Product, 1).name, status=500)

    settings.ROOT_URLCONF.handler500 = page

    def view(request: Any) -> Any:
        order(db, 999)
        return HttpResponse("thanks")

    response = RequestScopeMiddleware(view, db)(django_request)
    assert (response.status_code, response.content) == (500, b"tea")
    response.close()
    assert (count(shop_url), acquired(db), db.scopes(), db._current.get()) == (1, 0, (), None)


def test_several_databases_of_an_application_are_flushed_before_the_first_commit(
    db: Database, shop_url: str, tmp_path: Any
) -> None:
    fill(url := f"sqlite:///{tmp_path / 'other.db'}")
    with opened(url, name="other", commit="on_success") as other:
        for make, module in ((bottle.Bottle, ours_for_bottle), (falcon.App, ours_for_falcon)):
            app = make()
            module.install(app, db)
            module.install(app, other)

            def both(*args: Any) -> str:
                order(db)
                other.session.add(Product(id=1, name="there already"))
                return "ok"

            if make is bottle.Bottle:
                app.post("/both", callback=both)
            else:
                app.add_route("/both", SimpleNamespace(on_post=both))
            assert call_wsgi(app, "/both", "POST").status == 500
            assert (count(shop_url), count(url), acquired(db), acquired(other)) == (0, 0, 0, 0)
