"""``Respool()`` in the way of Flask-SQLAlchemy: its configuration, and ``db.session`` wherever an application is at work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, func, orm, select
from sqlalchemy.pool import NullPool

from respool import Database, Session
from respool.errors import ConfigError, NoScope, ScopeEnded, UncommittedChanges
from respool.web.flask import Respool
from tests.session.shop import Order, Product, count, fill
from tests.web.clients import call_wsgi


@pytest.fixture
def url(tmp_path: Path) -> str:
    fill(url := f"sqlite:///{tmp_path}/shop.db")
    return url


@pytest.fixture
def db() -> Iterator[Respool]:
    db = Respool()
    yield db
    for database in list(db._first.values()):
        database.close()


def configured(db: Respool, url: str | None, **config: Any) -> Flask:
    app = Flask("shop")
    app.config.update(SQLALCHEMY_DATABASE_URI=url, **config)
    db.init_app(app)

    @app.post("/orders")
    def order() -> str:
        db.session.add(Order(product_id=1))
        db.session.commit()
        return "thanks"

    return app


def test_the_database_and_the_pool_are_those_of_the_configuration(db: Respool, url: str) -> None:
    options = {"pool_size": 3, "max_overflow": 2, "pool_timeout": 7, "pool_recycle": 280, "pool_pre_ping": True}
    app = configured(
        db, url, SQLALCHEMY_ENGINE_OPTIONS=options, SQLALCHEMY_ECHO=True, SQLALCHEMY_TRACK_MODIFICATIONS=False
    )
    with app.app_context():
        pool = db.database.pool.config
        assert (pool.max_size, pool.timeout, pool.max_lifetime, pool.check_after) == (5, 7, 280, 0)
        assert db.database.engine.echo
    assert call_wsgi(app, "/orders", "POST").status == 200
    assert count(url) == 1


def test_the_session_is_of_the_class_that_was_asked_for(url: str) -> None:
    class ShopSession(orm.Session):
        pass

    db = Respool(session_class=ShopSession, session_options={"autoflush": False})
    app = configured(db, url)
    with app.app_context():
        assert isinstance(db.session, ShopSession)
        assert not db.session.autoflush
        with pytest.raises(ConfigError, match="was given a database, and how the sessions of another one are to be"):
            Respool(app, db.database, session_class=ShopSession)  # type: ignore[call-overload]
        db.database.close()


def test_a_relative_file_is_in_the_folder_of_the_instance(db: Respool, tmp_path: Path) -> None:
    app = Flask("shop", instance_path=str(tmp_path / "instance"))
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///shop.db"
    db.init_app(app)
    with app.app_context():
        assert db.database.engine.url.database == str(tmp_path / "instance" / "shop.db")
        db.session.connection()
    assert (tmp_path / "instance" / "shop.db").exists()


def test_two_applications_have_a_database_each(db: Respool, url: str, tmp_path: Path) -> None:
    fill(other_url := f"sqlite:///{tmp_path}/other.db")
    app, other = configured(db, url), configured(db, other_url)
    assert call_wsgi(other, "/orders", "POST").status == 200
    assert (count(url), count(other_url)) == (0, 1)
    with app.app_context():
        first = db.database
    with other.app_context():
        assert first is not db.database
        assert first.name == db.database.name == "default"


def test_two_extensions_of_one_application_have_databases_of_different_names(db: Respool, url: str) -> None:
    app = configured(db, url)
    (other := Respool()).init_app(app)
    with app.app_context():
        assert (db.database.name, other.database.name) == ("default", "default-2")
        other.database.close()


@pytest.mark.parametrize(
    "config, told",
    [
        ({"SQLALCHEMY_DATABASE_URI": None}, "no SQLALCHEMY_DATABASE_URI"),
        ({"SQLALCHEMY_BINDS": {"users": "sqlite://"}}, "make a Database for each"),
        ({"SQLALCHEMY_RECORD_QUERIES": True}, "before_cursor_execute"),
        ({"SQLALCHEMY_TRACK_MODIFICATIONS": True}, "the changes come with each commit"),
        ({"SQLALCHEMY_ENGINE_OPTIONS": {"poolclass": NullPool}}, "poolclass"),
    ],
)
def test_what_is_not_there_is_refused_with_what_there_is_instead(
    db: Respool, url: str, config: dict[str, Any], told: str
) -> None:
    app = Flask("shop")
    app.config.update({"SQLALCHEMY_DATABASE_URI": url, **config})
    with pytest.raises(ConfigError, match=told):
        db.init_app(app)


def test_an_application_context_outside_of_requests_is_a_scope(db: Respool, url: str) -> None:
    app = configured(db, url)
    with app.app_context():
        session = db.session
        assert db.session is session
        session.add(Order(product_id=1))
        session.commit()
    assert count(url) == 1
    with pytest.raises(ScopeEnded):
        session.add(Order(product_id=1))
    with app.app_context():
        assert db.session is not session
        with pytest.warns(UncommittedChanges, match="shop outside of requests"):
            db.session.add(Order(product_id=1))
            app.do_teardown_appcontext()
    assert count(url) == 1


def test_an_error_rolls_an_application_context_back(db: Respool, url: str) -> None:
    app = configured(db, url)

    def fail() -> None:
        with app.app_context():
            db.session.add(Order(product_id=1))
            db.session.flush()
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert count(url) == 0
    assert [database.scopes() for database in db._first.values()] == [()]


def test_a_command_has_a_session(db: Respool, url: str) -> None:
    app = configured(db, url)

    @app.cli.command("order")
    def order() -> None:
        db.session.add(Order(product_id=1))
        db.session.commit()

    assert app.test_cli_runner().invoke(args=["order"]).exit_code == 0
    assert count(url) == 1


def test_a_scope_within_the_context_comes_first(db: Respool, url: str) -> None:
    app = configured(db, url)
    with app.app_context(), db.database.scope("job") as job:
        assert db.session is job


def test_a_context_around_requests_finds_what_they_have_written(db: Respool, url: str) -> None:
    app = configured(db, url)

    @app.post("/sell/<int:fails>")
    def sell(fails: int) -> str:
        product = db.session.get_one(Product, 1)
        assert product is not tea
        product.stock -= 1
        db.session.commit()
        return str(product.stock // (1 - fails))

    app.testing = True
    client = app.test_client()
    with app.app_context():
        tea = db.session.get_one(Product, 1)
        assert client.post("/sell/0").text == "4"
        assert tea.stock == 4
        with pytest.raises(ZeroDivisionError):
            client.post("/sell/1")
        assert tea.stock == 3
        tea.name = "green"
        with client:
            client.post("/sell/0")
            assert (tea.name, tea.stock) == ("green", 3)  # what is not saved yet is not lost
            db.session.rollback()
            client.post("/sell/0")
            assert (tea.name, tea.stock) == ("tea", 1)


def test_no_request_waits_for_a_context_that_is_in_use(db: Respool, url: str) -> None:
    app = configured(db, url)
    with app.app_context():
        db.session.get_one(Product, 1)
        life = db.session.scope.life  # type: ignore[attr-defined]
        assert life.guard.seize()
        assert app.test_client().post("/orders").text == "thanks"
        life.guard.release()


def test_without_an_application_it_says_so(db: Respool, url: str) -> None:
    configured(db, url)
    with pytest.raises(NoScope, match="no application of Flask's is at work here") as refused:
        db.session.get(Order, 1)
    assert "test_flask_extension.py:" in str(refused.value)


def test_without_init_app_it_says_so(db: Respool, url: str) -> None:
    configured(db, url)
    with Flask("forgotten").app_context():
        for use in (lambda: db.session, lambda: db.database):
            with pytest.raises(ConfigError, match=r"init_app\(\) of this Respool was not called for .*'forgotten'"):
                use()


# -- db.session as an object, before there is a request ---------------------------------------------------------------


@pytest.mark.parametrize("given", [False, True], ids=["of the configuration", "of a database"])
def test_the_session_is_an_object_when_the_application_is_made(url: str, given: bool) -> None:
    database = Database(url) if given else None
    db = Respool(database) if database else Respool()
    session = db.session
    assert not hasattr(session, "no_such_name")  # as Flask-Admin looks what it was given
    heard: list[str] = []
    event.listen(session, "before_flush", lambda *args: heard.append("flush"))
    app = Flask("shop")
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    db.init_app(app)

    @app.post("/orders")
    def order() -> str:
        session.add(Order(product_id=1))
        assert isinstance(db.session, Session)
        assert list(session.new) == list(db.session.new)
        assert session() is db.session
        assert len([each for each in session if each in session]) == 1
        assert session.objects().keys() == db.session.objects().keys()  # ours too, and not SQLAlchemy's only
        with session.begin_nested():
            session.flush()
        session.commit()
        return "thanks"

    assert call_wsgi(app, "/orders", "POST").status == 200
    assert count(url) == 1
    assert heard == ["flush"]
    with pytest.raises(NoScope):
        session.add(Order(product_id=1))
    with app.app_context():
        assert session.scalar(select(func.count()).select_from(Order)) == 1
        session.remove()
        db.database.close()


def test_a_clean_up_makes_no_session(db: Respool, url: str) -> None:
    app = configured(db, url)
    session = db.session
    session.remove()
    app.teardown_appcontext(lambda error: session.remove())  # as Flask-SQLAlchemy's
    with app.app_context():
        session.remove()
        assert db.database.scope_here() is None
        db.session.add(Order(product_id=1))
        db.session.commit()
    assert count(url) == 1
    (database,) = db._first.values()
    assert database.scope_here() is None


def test_who_listens_to_one_extensions_sessions_does_not_hear_of_anothers(db: Respool, url: str) -> None:
    other = Respool()
    heard: list[str] = []
    event.listen(db.session, "before_flush", lambda *args: heard.append("ours"))
    event.listen(other.session, "before_flush", lambda *args: heard.append("other"))
    with configured(db, url).app_context():
        db.session.add(Order(product_id=1))
        db.session.commit()
    with Database(url).scope("elsewhere") as session:
        session.add(Order(product_id=1))
        session.commit()
        assert isinstance(session.scope.owner, Database)
        session.scope.owner.close()
    assert heard == ["ours"]


def test_a_session_class_of_ones_own_is_heard_too(url: str) -> None:
    class ShopSession(orm.Session):
        pass

    db = Respool(session_class=ShopSession)
    heard: list[str] = []
    event.listen(db.session, "before_flush", lambda *args: heard.append("flush"))
    with configured(db, url).app_context():
        assert isinstance(db.session, ShopSession)
        db.session.add(Order(product_id=1))
        db.session.commit()
        db.database.close()
    assert heard == ["flush"]


def test_what_is_no_session_class_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="session_class="):
        Respool(session_class=5)  # type: ignore[call-overload]
