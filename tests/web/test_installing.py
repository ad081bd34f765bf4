"""``install`` of one framework, given something else: another's application, a part of one, or nothing at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest

from respool import Database
from respool.database.applications import check_application
from respool.errors import ConfigError


def _django() -> Any:
    from django.core.handlers.wsgi import WSGIHandler

    return WSGIHandler.__new__(WSGIHandler)


def _of(module: str, name: str, *args: Any) -> Callable[[], Any]:
    return lambda: getattr(import_module(module), name)(*args)


APPLICATIONS: dict[str, Callable[[], Any]] = {
    "fastapi": _of("fastapi", "FastAPI"),
    "starlette": _of("starlette.applications", "Starlette"),
    "litestar": _of("litestar", "Litestar"),
    "quart": _of("quart", "Quart", "shop"),
    "sanic": lambda: import_module("sanic").Sanic(f"shop_{uuid4().hex}"),
    "aiohttp": _of("aiohttp.web", "Application"),
    "flask": _of("flask", "Flask", "shop"),
    "django": _django,
    "falcon": _of("falcon", "App"),
    "pyramid": _of("pyramid.config", "Configurator"),
    "bottle": _of("bottle", "Bottle"),
}
JOBS: dict[str, Callable[[], Any]] = {
    "celery": lambda: import_module("celery").Celery("shop", set_as_current=False),
    "taskiq": _of("taskiq", "InMemoryBroker"),
    "apscheduler": _of("apscheduler.schedulers.background", "BackgroundScheduler"),
}


@pytest.fixture(autouse=True)
def _a_loop() -> Any:
    """Some make one, or ask for it, when they are made."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


def refused(module: str, app: Any) -> str:
    db = Database("sqlite://")
    try:
        with pytest.raises(ConfigError) as told:
            import_module(module).install(app, db)
    finally:
        db.close()
    return str(told.value)


@pytest.mark.parametrize("given", [*APPLICATIONS, *JOBS])
@pytest.mark.parametrize("framework", APPLICATIONS)
def test_the_application_of_another_framework(framework: str, given: str) -> None:
    if given == framework or (framework, given) == ("starlette", "fastapi"):  # FastAPI's are Starlette's too
        return
    room = "jobs" if given in JOBS else "web"
    told = refused(f"respool.web.{framework}", {**APPLICATIONS, **JOBS}[given]())
    assert f"install() of respool.web.{framework} got {given}'s " in told
    assert f"from respool.{room}.{given} import install" in told


@pytest.mark.parametrize("library", JOBS)
def test_the_application_given_to_a_library_for_jobs(library: str) -> None:
    told = refused(f"respool.jobs.{library}", APPLICATIONS["flask"]())
    assert "from respool.web.flask import install" in told


@pytest.mark.parametrize("framework", APPLICATIONS)
@pytest.mark.parametrize(
    "app", [None, "shop:app", 5, object(), print], ids=["none", "text", "number", "object", "function"]
)
def test_what_is_no_application(framework: str, app: Any) -> None:
    told = refused(f"respool.web.{framework}", app)
    assert f"install() of respool.web.{framework} got " in told
    assert "give it the " in told


@pytest.mark.parametrize("framework", APPLICATIONS)
def test_the_database_before_the_application(framework: str) -> None:
    db = Database("sqlite://")
    try:
        with pytest.raises(ConfigError, match=r"the application comes first: install\(app, db\)"):
            import_module(f"respool.web.{framework}").install(db, APPLICATIONS[framework]())
    finally:
        db.close()


def test_what_was_made_around_an_application_is_sent_to_the_middleware() -> None:
    class Around:
        def __call__(self) -> None: ...

    assert "RequestScopeMiddleware(app, db)" in refused("respool.web.fastapi", Around())


def test_a_part_of_an_application() -> None:
    from fastapi import APIRouter
    from flask import Blueprint

    assert "got fastapi's APIRouter where the application is expected" in refused("respool.web.fastapi", APIRouter())
    assert "got flask's Blueprint" in refused("respool.web.flask", Blueprint("shop", __name__))


def test_a_subclass_of_an_application_is_one() -> None:
    from flask import Flask, current_app

    class Shop(Flask):
        pass

    app = Shop("shop")
    check_application(app, Flask, module="respool.web.flask")
    with app.app_context():
        check_application(current_app, Flask, module="respool.web.flask")
