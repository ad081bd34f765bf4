"""The line of the user's code: never one of an installed package, whoever stands between it and us."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import sysconfig
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from respool import Database, whereabouts
from respool.errors import NoScope, PoolTimeout
from respool.whereabouts import Holder, caller, is_library, stack, this_thread, users_line
from tests.session.shop import opened
from tests.support.threads import thread_with_the_number_of

HERE = "test_whereabouts.py:"

LIBRARY = """
def call(function, *args):
    return function(*args)
"""


def library(file: str) -> Any:
    """The module of an installed package."""
    module = ModuleType("some_library")
    exec(compile(LIBRARY, file, "exec"), vars(module))
    return module


FILES = [
    f"{sysconfig.get_path('purelib')}/some_library.py",
    "/opt/app/.venv/lib/python3.11/site-packages/some_library/core.py",
    "/usr/lib/python3/dist-packages/some_library.py",
    r"C:\Python\Lib\site-packages\some_library.py",
    f"{sysconfig.get_path('scripts')}/uvicorn",
    f"{sysconfig.get_path('stdlib')}/asyncio/runners.py",
    "<frozen runpy>",
]


@pytest.mark.parametrize("file", FILES)
def test_a_library_in_between_is_not_the_users_line(file: str) -> None:
    call = library(file).call
    assert is_library(file)
    assert HERE in call(caller)
    assert HERE in call(call, caller)
    assert all(HERE in line or "site-packages" not in line for line in call(stack))


@pytest.mark.parametrize("file", ["/opt/shop/views.py", f"{sysconfig.get_path('scripts')}/nightly.py", __file__])
def test_what_is_the_users(file: str) -> None:
    assert not is_library(file)
    assert os.path.basename(file) in library(file).call(caller)


def test_where_there_are_only_libraries_there_is_no_line(shop_url: str) -> None:
    code = f"""
import sys
from respool import Database
from respool.errors import NoScope

db = Database({shop_url!r})
source = "def use(db):\\n    db.session"
library = {{}}
exec(compile(source, {FILES[0]!r}, "exec"), library)
import threading
told = []


def keep(args):
    told.append(args.exc_value)


threading.excepthook = keep
thread = threading.Thread(target=library["use"], args=(db,))
thread.start()
thread.join()
assert isinstance(told[0], NoScope)
print(told[0])
db.close()
"""
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "a session was asked for at unknown place" in done.stdout
    assert "site-packages" not in done.stdout


def test_promise_11_the_holders_line_is_the_users(shop_url: str) -> None:
    from respool import PoolConfig

    call = library(FILES[1]).call
    with opened(shop_url, pool=PoolConfig(max_size=1, timeout=0, leak_after=60)) as db:
        with call(db.engine.connect), pytest.raises(PoolTimeout) as timeout:
            call(db.engine.connect)
    assert "site-packages" not in str(timeout.value)
    assert HERE in str(timeout.value)


# -- NoScope says what is wrong where it was asked --------------------------------------------------------------------


def refused(db: Database) -> str:
    with pytest.raises(NoScope) as told:
        _ = db.session
    return str(told.value)


def test_no_scope_of_a_database_that_nobody_has_installed() -> None:
    db = Database("sqlite://")
    told = refused(db)
    assert "install(app, db) of respool.web.<framework>" in told
    assert 'with db.scope("job") as session' in told
    db.close()


def test_no_scope_outside_of_the_middleware_that_there_is() -> None:
    from respool.web.wsgi import RequestScopeMiddleware

    db = Database("sqlite://")
    RequestScopeMiddleware(lambda environ, start: [], db)
    told = refused(db)
    assert "outside of the middleware that serves 'default', which is installed" in told
    assert "Call install(app, db) after all others are added" in told
    assert "RequestScopeMiddleware(app, db)" not in told
    db.close()


async def test_no_scope_inside_of_a_request_says_what_is_wrong_there(shop_url: str) -> None:
    from respool.web.asgi import RequestScopeMiddleware
    from tests.web.clients import call_asgi

    with opened(shop_url) as db:
        told: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.get_running_loop().run_in_executor(None, lambda: told.append(refused(db)))
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        async def around(scope: Any, receive: Any, send: Any) -> None:
            told.append(refused(db))
            await RequestScopeMiddleware(app, db)(scope, receive, send)

        wrapped = RequestScopeMiddleware(app, db)
        assert (await call_asgi(wrapped)).status == 204
        assert (await call_asgi(around)).status == 204
    for each in told:
        assert "started without the request's context" in each
        assert "outside of the middleware that serves 'default'" in each
        assert "add the middleware" not in each


def test_no_scope_while_a_module_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "views_of_the_shop.py").write_text(
        "from respool import Database\ndb = Database('sqlite://')\nsession = db.session\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NoScope) as told:
        __import__("views_of_the_shop")
    assert "views_of_the_shop.py:3" in str(told.value)
    assert "Depends(db.current_session)" in str(told.value)
    assert "Respool(db).session" in str(told.value)


def test_a_thread_that_has_ended_is_not_the_one_that_got_its_number() -> None:
    holders: list[Holder] = []
    thread = threading.Thread(target=lambda: holders.append(Holder("nightly", this_thread.thread)), name="first")
    thread.start()
    thread.join()
    mine = Holder(None, this_thread.thread)
    with thread_with_the_number_of(thread):
        assert (holders[0].name(), holders[0].place(), holders[0].ended) == ("nightly (an ended thread)", None, True)
    assert (mine.name(), mine.ended) == (f"thread {threading.current_thread().name}", False)


def test_a_way_that_was_gone_before_is_not_looked_through_again(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "def way(length, end):\n    return way(length - 1, end) if length else end()\n"
    library: dict[str, Any] = {"__name__": "far"}
    exec(compile(source, os.path.join(sysconfig.get_path("stdlib"), "far.py"), "exec"), library)
    way = library["way"]

    def first() -> Any:
        return way(9, users_line)

    def second() -> Any:
        return way(9, users_line)

    def between() -> Any:
        return way(9, lambda: way(2, users_line))

    monkeypatch.setattr(whereabouts, "_ways", [])
    assert first().function.endswith("first")
    with monkeypatch.context() as patch:
        patch.setattr(whereabouts, "_nearest_line", lambda: pytest.fail("all frames were looked at"))
        assert second().function.endswith("second")
        assert first().function.endswith("first")
    assert between().function.endswith("<lambda>")
    assert way(4, users_line).function == test_a_way_that_was_gone_before_is_not_looked_through_again.__name__


def test_places_are_named_in_a_process_whose_working_directory_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert whereabouts.shorten(__file__) == __file__
    with Database("sqlite://").scope("sale") as session:
        assert session.scope is not None
        assert __file__ in session.scope.title


@pytest.mark.parametrize("collects", [True, False])
def test_no_garbage_is_collected_while_frames_are_asked_for(monkeypatch: pytest.MonkeyPatch, collects: bool) -> None:
    """CPython 3.11 locked the whole process up there."""
    seen: list[bool] = []
    asks = sys._current_frames
    monkeypatch.setattr(whereabouts, "_LOCKS_UP", True)
    monkeypatch.setattr(sys, "_current_frames", lambda: (seen.append(gc.isenabled()), asks())[1])
    was = gc.isenabled()
    (gc.enable if collects else gc.disable)()
    try:
        frames = whereabouts.current_frames()
        assert (threading.get_ident() in frames, seen, gc.isenabled()) == (True, [False], collects)
    finally:
        (gc.enable if was else gc.disable)()


def test_whoever_asks_for_frames_leaves_the_collector_on_for_all_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that found it off would take it for the user's wish, and ask while it is turned on again."""
    monkeypatch.setattr(whereabouts, "_LOCKS_UP", True)
    seen: list[bool] = []

    def traced(frame: Any, event: str, arg: object) -> Any:
        if frame.f_code is not whereabouts.current_frames.__code__:
            return None
        frame.f_trace_opcodes = True
        seen.append(gc.isenabled())
        return traced

    before = sys.gettrace()
    sys.settrace(traced)
    try:
        whereabouts.current_frames()
    finally:
        sys.settrace(before)
    assert len(seen) > 10
    assert all(seen)
