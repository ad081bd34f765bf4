"""Flask: the commit is the last thing of a request, and fails through the application's own error handlers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, abort, stream_with_context
from sqlalchemy.exc import IntegrityError

from respool import Database
from respool.errors import ConfigError, ScopeEnded, UncommittedChanges
from respool.web.flask import install
from tests.session.shop import Order, Product, acquired, count, fill, opened
from tests.web.clients import Answer, call_wsgi


@pytest.fixture
def app(db: Database) -> Flask:
    return shop(db)


def shop(*databases: Database) -> Flask:
    db = databases[0]
    app = Flask("shop")
    install(app, *databases)

    @app.post("/orders/<int:product_id>")
    def order(product_id: int) -> str:
        db.session.add(Order(product_id=product_id))
        return "thanks"

    @app.post("/refused")
    def refused() -> None:
        db.session.add(Order(product_id=1))
        db.session.flush()
        abort(418)

    @app.post("/broken")
    def broken() -> None:
        db.session.add(Order(product_id=1))
        db.session.flush()
        raise LookupError("on purpose")

    return app


def post(app: Flask, path: str, db: Database) -> Answer:
    done = call_wsgi(app, path, "POST", probe=lambda: acquired(db))
    assert done.at_start in (0, None)
    assert (acquired(db), db.scopes()) == (0, ())
    return done


def test_a_success_is_saved_before_it_is_told(app: Flask, db: Database, shop_url: str) -> None:
    seen: list[int] = []
    done = call_wsgi(app, "/orders/1", "POST", probe=lambda: seen.append(count(shop_url)))
    assert (done.status, done.body, seen) == (200, b"thanks", [1])


def test_promise_03_a_failed_commit_goes_through_the_applications_error_handling(
    app: Flask, db: Database, shop_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    done = post(app, "/orders/999", db)
    assert done.status == 500
    assert b"Internal Server Error" in done.body
    assert done.error is None  # Flask has answered and logged it
    assert "FOREIGN KEY" in caplog.text
    assert count(shop_url) == 0


def test_promise_03_a_registered_handler_answers_a_failed_commit(app: Flask, db: Database) -> None:
    @app.errorhandler(IntegrityError)
    def conflict(error: Exception) -> tuple[str, int]:
        return "no such product", 409

    done = post(app, "/orders/999", db)
    assert (done.status, done.body) == (409, b"no such product")


def test_promise_03_a_handler_that_calls_it_a_success_is_not_believed(app: Flask, db: Database) -> None:
    @app.errorhandler(IntegrityError)
    def fine(error: Exception) -> str:
        return "fine"

    assert post(app, "/orders/999", db).status == 500


def test_the_handler_for_500_answers_a_failed_commit(app: Flask, db: Database) -> None:
    @app.errorhandler(500)
    def sorry(error: Any) -> tuple[str, int]:
        return f"sorry: {type(error.original_exception).__name__}", 500

    assert post(app, "/orders/999", db).body == b"sorry: IntegrityError"


def test_where_exceptions_propagate_a_failed_commit_does(app: Flask, db: Database) -> None:
    app.testing = True
    assert isinstance(post(app, "/orders/999", db).error, IntegrityError)


@pytest.mark.parametrize("path, status", [("/refused", 418), ("/broken", 500)])
def test_exceptions_roll_back(app: Flask, db: Database, shop_url: str, path: str, status: int) -> None:
    assert post(app, path, db).status == status
    assert count(shop_url) == 0


def test_the_commit_comes_after_the_applications_own_after_request(app: Flask, db: Database, shop_url: str) -> None:
    @app.after_request
    def audit(response: Any) -> Any:
        db.session.add(Order(product_id=1, note="audit"))
        return response

    assert post(app, "/orders/1", db).status == 200
    assert count(shop_url) == 2


def test_it_comes_last_even_if_it_is_installed_late(db: Database, shop_url: str) -> None:
    app = Flask("shop")

    @app.after_request
    def audit(response: Any) -> Any:
        db.session.add(Order(product_id=1))
        return response

    app.add_url_rule("/", view_func=lambda: "ok")
    install(app, db)
    assert call_wsgi(app).status == 200
    assert count(shop_url) == 1


def test_promise_04_uncommitted_changes_are_reported(shop_url: str) -> None:
    with opened(shop_url) as db, pytest.warns(UncommittedChanges, match="request POST /orders/1: 1 uncommitted change"):
        assert post(shop(db), "/orders/1", db).status == 200
    assert count(shop_url) == 0


def test_promise_05_streams_need_a_scope_of_their_own(app: Flask, db: Database) -> None:
    told: list[ScopeEnded] = []

    @app.get("/stream")
    def stream() -> Any:
        session = db.session
        session.get(Product, 1)

        def body() -> Iterator[bytes]:
            with pytest.raises(ScopeEnded) as refused:
                session.get(Product, 1)
            told.append(refused.value)
            with db.scope("export") as own:
                yield own.get_one(Product, 1).name.encode()

        return app.response_class(stream_with_context(body()))

    assert call_wsgi(app, "/stream").body == b"tea"
    assert told[0].scope == "GET /stream"


def test_several_databases_are_flushed_before_the_first_commit(tmp_path: Any, db: Database, shop_url: str) -> None:
    other_url = f"sqlite:///{tmp_path / 'other.db'}"
    fill(other_url)
    with opened(other_url, name="other", commit="on_success") as other:
        app = shop(db)
        install(app, other)

        @app.post("/both")
        def both() -> str:
            db.session.add(Order(product_id=1))
            other.session.add(Product(id=1, name="there already"))
            return "ok"

        assert post(app, "/both", db).status == 500
        assert count(shop_url) == 0
        assert acquired(other) == 0


def test_a_database_is_installed_once(app: Flask, db: Database) -> None:
    with pytest.raises(ConfigError, match="installed in this application already"):
        install(app, db)
