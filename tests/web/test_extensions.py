"""Other people's extensions, run for real: what they do late in a request belongs to it."""

from __future__ import annotations

import logging.config
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flask
import flask_login
import flask_migrate
import pytest
import sqlalchemy as sa
import transaction
from flask import Flask
from flask_admin import Admin
from flask_admin.contrib.sqla import ModelView
from flask_session.sqlalchemy import SqlAlchemySessionInterface
from flask_sqlalchemy import SQLAlchemy
from pyramid.config import Configurator
from pyramid.response import Response

from respool import Database
from respool.web.flask import Respool
from respool.web.pyramid import install
from tests.session.shop import Base, Order, Product, acquired, count, enforce_foreign_keys, fill, opened
from tests.web.clients import call_wsgi


@pytest.fixture
def db() -> Respool:
    return Respool(commit="on_success")


@pytest.fixture
def app(db: Respool, sqlite_file: str) -> Iterator[Flask]:
    fill(url := f"sqlite:///{sqlite_file}")
    app = Flask("shop")
    app.config.update(SQLALCHEMY_DATABASE_URI=url, SECRET_KEY="for tests only", url=url, WTF_CSRF_ENABLED=False)
    db.init_app(app)
    with app.app_context():
        database = db.database
    enforce_foreign_keys(database.engine)

    @app.post("/orders/<int:product_id>")
    def order(product_id: int) -> str:
        db.session.add(Order(product_id=product_id))
        flask.session["orders"] = flask.session.get("orders", 0) + 1
        return str(flask.session["orders"])

    yield app
    assert (acquired(database), database.scopes()) == (0, ())
    database.close()


class Client(SQLAlchemy):
    """Flask-SQLAlchemy, by the name of which Flask-Session asks for its store, with the sessions of respool."""

    def __init__(self, app: Flask, db: Respool) -> None:
        self.ours = db
        super().__init__(app)

    def _make_scoped_session(self, options: Any) -> Any:
        return self.ours.session


@pytest.fixture
def stored(app: Flask, db: Respool) -> Any:
    """Browsers' sessions are kept in the database, by the session of the request."""
    client = Client(app, db)
    app.session_interface = interface = SqlAlchemySessionInterface(app, client)
    yield interface.sql_session_model
    with app.app_context():
        client.engine.dispose()


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_flask_session_saves_by_the_session_of_the_request(app: Flask, stored: Any) -> None:
    browser = app.test_client()
    assert [browser.post("/orders/1").text for _ in range(3)] == ["1", "2", "3"]
    assert count(app.config["url"]) == 3
    assert count(app.config["url"], stored) == 1


def test_flask_session_and_a_commit_that_fails(app: Flask, stored: Any) -> None:
    """It rolls back and tries once more, without what the request was about: that is no success any more."""
    browser = app.test_client()
    assert browser.post("/orders/999").status_code == 500
    assert count(app.config["url"]) == 0
    assert browser.post("/orders/1").status_code == 200
    assert count(app.config["url"]) == 1


class User(flask_login.UserMixin):
    def __init__(self, product: Product) -> None:
        self.product = product

    def get_id(self) -> str:
        return str(self.product.id)


def test_flask_login_has_its_user_in_views_and_error_pages(app: Flask, db: Respool) -> None:
    manager = flask_login.LoginManager(app)

    @manager.user_loader
    def load(key: str) -> User | None:
        product = db.session.get(Product, int(key))
        return User(product) if product is not None else None

    @app.post("/login")
    def login() -> str:
        flask_login.login_user(User(db.session.get_one(Product, 1)))
        return "welcome"

    @app.post("/refused")
    @flask_login.login_required
    def refused() -> Any:
        db.session.add(Order(product_id=1))
        db.session.flush()
        flask.abort(403)

    @app.errorhandler(403)
    @app.errorhandler(500)
    def page(error: Any) -> Any:
        product = flask_login.current_user.product
        return f"sorry, {product.name}: {len(product.orders)}", error.code

    browser = app.test_client()
    assert browser.post("/refused").status_code == 401
    assert browser.post("/login").text == "welcome"
    answer = browser.post("/refused")
    assert (answer.status_code, answer.text) == (403, "sorry, tea: 0")
    answer = browser.post("/orders/999")  # its COMMIT fails
    assert (answer.status_code, answer.text) == (500, "sorry, tea: 0")
    assert count(app.config["url"]) == 0


@pytest.mark.filterwarnings("ignore:Passing a session object directly is deprecated:DeprecationWarning")
def test_flask_admin_writes_by_the_session_that_it_was_given_at_the_start(app: Flask, db: Respool) -> None:
    admin = Admin(app)
    admin.add_view(ModelView(Product, db.session))
    browser = app.test_client()
    assert browser.post("/admin/product/new/", data={"name": "coffee", "stock": "3"}).status_code == 302
    assert b"coffee" in browser.get("/admin/product/").data
    assert browser.post("/admin/product/delete/", data={"id": "2"}).status_code == 302
    assert count(app.config["url"], Product) == 1


def test_flask_migrate_has_the_engine(app: Flask, db: Respool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.config, "fileConfig", lambda *args, **keywords: None)
    folder = str(tmp_path / "migrations")
    with app.app_context():
        engine = db.database.engine
        flask_migrate.Migrate(app, SimpleNamespace(engine=engine, metadata=Base.metadata))
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE orders"))
        flask_migrate.init(folder)
        flask_migrate.migrate(folder)
        flask_migrate.upgrade(folder)
    assert app.test_client().post("/orders/1").status_code == 200
    assert count(app.config["url"]) == 1


# -- pyramid_tm ----------------------------------------------------------------------------------------------------------


class Manager:
    """What takes part in the other transaction."""

    def __init__(self, fails: bool) -> None:
        self.fails = fails
        self.did: list[str] = []
        self.transaction_manager = transaction.manager

    def tpc_vote(self, tx: Any) -> None:
        if self.fails:
            raise LookupError("somebody else's")

    def tpc_finish(self, tx: Any) -> None:
        self.did.append("finish")

    def abort(self, tx: Any) -> None:
        self.did.append("abort")

    tpc_abort = abort

    def tpc_begin(self, tx: Any) -> None: ...

    commit = tpc_begin

    def sortKey(self) -> str:
        return "manager"


@pytest.fixture
def shop(shop_url: str) -> Iterator[Database]:
    with opened(shop_url, commit="on_success") as database:
        yield database


@pytest.mark.parametrize("first", ["pyramid_tm", "respool"])
@pytest.mark.parametrize(
    "product_id, fails, status, saved, did",
    [(1, False, 200, 1, {"finish"}), (1, True, 500, 0, {"abort"}), (999, False, 500, 0, {"finish"})],
)
def test_pyramid_tm_beside_us(
    shop: Database, shop_url: str, first: str, product_id: int, fails: bool, status: int, saved: int, did: set[str]
) -> None:
    manager = Manager(fails)

    def order(request: Any) -> Response:
        request.db_session.add(Order(product_id=product_id))
        request.tm.get().join(manager)
        return Response("thanks")

    config = Configurator()
    if first == "pyramid_tm":
        config.include("pyramid_tm")
    install(config, shop)
    if first == "respool":
        config.include("pyramid_tm")
    config.add_route("order", "/order")
    config.add_view(order, route_name="order")
    answer = call_wsgi(config.make_wsgi_app(), "/order", "POST")
    assert (answer.status, count(shop_url), set(manager.did)) == (status, saved, did)
