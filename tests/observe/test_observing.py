"""``observe()``: what it accepts, what the application is called, and the socket that comes with it."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from respool import Database
from respool.errors import ConfigError
from respool.observe import observe, observing
from respool.observe.naming import application_name
from respool.observe.observation import observation
from respool.observe.workers import ask, together, workers
from respool.observe.workers.places import AVAILABLE
from respool.pool.drivers.forks import arrive
from tests.engine.test_fork import in_a_child_without_hooks

sockets_only = pytest.mark.skipif(not AVAILABLE, reason="this system has no such sockets")


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rs-") as name:
        monkeypatch.setenv("RESPOOL_OBSERVE_SOCKET", name)
        yield Path(name)


@pytest.fixture
def db(sqlite_file: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setattr(observation, "application", "shop")
    db = Database(f"sqlite:///{sqlite_file}", name="shop")
    yield db
    observation.remove(db)
    db.close()


@sockets_only
def test_a_process_that_is_observed_answers(db: Database, folder: Path) -> None:
    observe(db)
    with db.scope("GET /orders") as session:
        session.execute(text("SELECT 1"))
        (answer,) = ask(workers(folder=folder), within=30)
    assert (answer.worker.application, answer.worker.pid, answer.error) == ("shop", os.getpid(), None)
    assert answer.value["process"]["application"] == "shop"
    assert [scope["label"] for scope in answer.value["databases"][0]["scopes"]] == ["GET /orders"]


@sockets_only
def test_the_last_database_takes_the_socket_along(db: Database, folder: Path) -> None:
    observe(db)
    assert len(workers(folder=folder)) == 1
    observation.remove(db)
    assert list(folder.iterdir()) == []
    observe(db)
    observe(db)
    assert len(workers(folder=folder)) == 1


@sockets_only
def test_another_name_is_taken_over(db: Database, folder: Path) -> None:
    observe(db)
    observe(db, application="shop.admin")
    assert [worker.application for worker in workers(folder=folder)] == ["shop.admin"]


@sockets_only
def test_other_questions_can_be_answered(db: Database, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "_answers", dict(observing._answers))
    observing.answer("health", lambda: {"ready": True})
    observe(db)
    assert [answer.value for answer in ask(workers(folder=folder), "health", within=30)] == [{"ready": True}]


@sockets_only
def test_ones_own_process_need_not_be_asked(db: Database, folder: Path) -> None:
    observe(db)
    from respool.observe import snapshot

    seen = together(own=snapshot(db), folder=folder)
    assert seen is not None
    assert [process["pid"] for process in seen["processes"]] == [os.getpid()]


@pytest.mark.parametrize("word", ["0", "off", "No", "false"])
def test_a_variable_switches_it_off(db: Database, folder: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("RESPOOL_OBSERVE_SOCKET", word)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    observe(db)
    assert list(folder.iterdir()) == []


@sockets_only
def test_the_argument_wins_over_the_variable(db: Database, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observe(db, socket=False)
    assert list(folder.iterdir()) == []
    observe(db)  # what was said holds
    assert list(folder.iterdir()) == []
    monkeypatch.setenv("RESPOOL_OBSERVE_SOCKET", "0")
    observe(db, socket=folder / "inner")
    assert len(list((folder / "inner").iterdir())) == 1
    observe(db, socket=False)
    assert list((folder / "inner").iterdir()) == []


@sockets_only
@pytest.mark.parametrize("word", ["1", " ON "])
def test_without_a_folder_it_is_in_the_usual_place(
    db: Database, folder: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setenv("RESPOOL_OBSERVE_SOCKET", word)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    observe(db)
    assert [path.name for path in folder.iterdir()] == ["respool"]


@sockets_only
def test_where_there_can_be_no_socket_the_log_says_so_once(
    db: Database, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(observing, "_told", False)
    folder.chmod(0o755)
    with caplog.at_level(logging.INFO, "respool.observe"):
        observe(db)
        observe(db)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage() == (
        f"respool top cannot see this process, it has no socket: {folder} is open to others: chmod 700 {folder}"
    )
    assert observation.databases == [db]


def test_where_there_are_no_such_sockets_there_is_none(
    db: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observing, "AVAILABLE", False)
    observe(db)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"socket": "maybe"}, "socket='maybe' is not accepted"),
        ({"socket": 1}, "socket=1 is not accepted"),
        ({"socket": "run/shop"}, "socket='run/shop' is not accepted"),
        ({"application": ""}, "application='' is not accepted"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_observed(
    db: Database, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        observe(db, **arguments)
    assert observation.databases == []


def test_a_bad_variable_is_refused(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESPOOL_OBSERVE_SOCKET", "sockets")
    with pytest.raises(ConfigError, match="RESPOOL_OBSERVE_SOCKET='sockets' is not accepted"):
        observe(db)


def test_something_else_than_a_database_is_refused() -> None:
    with pytest.raises(ConfigError, match="an object of type str"):
        observe("sqlite://")


def test_the_variable_is_no_setting_of_a_database(sqlite_file: str) -> None:
    environ = {"RESPOOL_URL": f"sqlite:///{sqlite_file}", "RESPOOL_OBSERVE_SOCKET": "0"}
    Database.from_env(environ=environ).close()
    with pytest.raises(ConfigError, match="RESPOOL_OBSERVE_SOCKT"):
        Database.from_env(environ={**environ, "RESPOOL_OBSERVE_SOCKT": "0"})


@sockets_only
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_childs_end_leaves_its_parents_socket(db: Database, folder: Path) -> None:
    observe(db)
    (ours,) = workers(folder=folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads run; that is what is tested
        child = os.fork()
    if child == 0:
        try:
            observing._close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert [answer.worker for answer in ask(workers(folder=folder), within=30)] == [ours]


@sockets_only
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_that_python_was_not_told_of_answers_once_it_is_noticed(db: Database, folder: Path) -> None:
    observe(db)
    (ours,) = workers(folder=folder)

    def child() -> str:
        arrive()
        return " ".join(str(answer.worker.pid == os.getpid()) for answer in ask(workers(folder=folder), within=30))

    assert sorted(in_a_child_without_hooks(child).split()) == ["False", "True"]
    assert [answer.worker for answer in ask(workers(folder=folder), within=30)] == [ours]


@pytest.mark.parametrize(
    "argv, name",
    [
        ("/venv/bin/gunicorn shop.main:app -w 4", "shop.main"),
        ("/venv/bin/gunicorn -w 4 shop:create_app('x')", "shop"),
        ("/venv/bin/uvicorn --host 127.0.0.1 --port 8000 shop:app", "shop"),
        ("uvicorn --app=shop:app", "shop"),
        ("celery -A shop.tasks worker", "shop.tasks"),
        ("flask --app shop run --host 127.0.0.1:80", "shop"),
        ("/srv/shop/manage.py runserver 127.0.0.1:8000", "shop"),
        ("/srv/shop/__main__.py", "shop"),
        ("main.py", "main"),
        ("nightly.py --at 12:30", "nightly"),
        ("-c", "python"),
        ("", "python"),
    ],
)
def test_an_application_is_called_by_what_it_was_started_with(argv: str, name: str) -> None:
    assert application_name(argv.split()) == name
