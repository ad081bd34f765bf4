"""Who may see the page, and who is told why not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from respool import Database
from respool.errors import ConfigError
from respool.observe.dashboard import Request, Response, dashboard

HERE = {"host": "localhost:8000"}


def ask(
    page: Any, path: str = "/live", *, method: str = "GET", client: str | None = "127.0.0.1", **headers: str
) -> Response:
    """Ask by both ways of handling, which have to agree."""
    version = headers.pop("version", "1.1")
    named = HERE | {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request(method, path, named, client, "/respool", version)
    now, later = page.handle(request), asyncio.run(page.handle_async(request))
    if (path, now.status) == ("/events", 404):  # there are streams only where something can be awaited
        return later  # type: ignore[no-any-return]
    assert (now.status, now.headers()[:1]) == (later.status, later.headers()[:1])
    return now  # type: ignore[no-any-return]


def status(page: Any, *args: Any, **more: Any) -> int:
    return ask(page, *args, **more).status


@pytest.mark.parametrize("client", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1:80", "[::1]:8000"])
def test_clients_on_this_machine_may(db: Database, client: str, host: str) -> None:
    assert status(dashboard(db), client=client, host=host) == 200


@pytest.mark.parametrize("client", ["10.0.0.1", "::2", "192.168.1.1", "testclient", "", None, "127.0.0.1.evil.test"])
def test_clients_elsewhere_may_not(db: Database, client: str | None) -> None:
    answer = ask(dashboard(db), client=client)
    assert answer.status == 403
    assert b"authorize=" in answer.body


@pytest.mark.parametrize(
    "header", ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "forwarded", "via"]
)
def test_who_comes_through_a_proxy_on_this_machine_may_not(db: Database, header: str) -> None:
    assert status(dashboard(db), **{header: "127.0.0.1"}) == 403
    assert status(dashboard(db, authorize=lambda request: True), **{header: "127.0.0.1"}) == 200


def test_who_speaks_as_proxies_do_may_not(db: Database) -> None:
    assert status(dashboard(db), version="1.0") == 403
    assert status(dashboard(db), version="2") == 200


@pytest.mark.parametrize(
    "host", ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "", "local host", "[::1", "a, localhost"]
)
def test_a_name_of_somebody_elses_is_refused_whoever_asks(db: Database, host: str) -> None:
    assert status(dashboard(db), host=host) == 403
    assert status(dashboard(db, authorize=lambda request: True), host=host) == 403


def test_the_names_that_are_given_are_the_pages_own(db: Database) -> None:
    page = dashboard(db, authorize=lambda request: True, hosts=["Shop.test"])
    assert status(page, host="shop.test:443", client="10.0.0.1") == 200
    assert status(page, host="other.test", client="10.0.0.1") == 403
    assert status(page, host="10.0.0.9", client="10.0.0.1") == 200  # a number is no name that could be turned to here
    assert status(dashboard(db), host="10.0.0.9") == 403
    assert status(dashboard(db, hosts=["shop.test"]), host="shop.test", client="10.0.0.1") == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_it_only_shows(db: Database, method: str) -> None:
    answer = ask(dashboard(db, authorize=lambda request: True), method=method)
    assert answer.status == 405
    assert ("Allow", "GET, HEAD") in answer.headers()


@pytest.mark.parametrize("path", ["/", "/live", "/snapshot", "/main.js", "/page.css"])
def test_pages_of_other_sites_get_nothing(db: Database, path: str) -> None:
    page = dashboard(db)
    assert status(page, path, sec_fetch_site="cross-site", sec_fetch_mode="no-cors", sec_fetch_dest="script") == 403
    assert status(page, path, sec_fetch_site="same-site", sec_fetch_mode="cors", sec_fetch_dest="empty") == 403
    assert status(page, path, origin="http://evil.test") == 403
    assert status(page, path, origin="null") == 403
    assert status(page, path, origin="http://localhost:9000") == 403
    assert status(page, path, origin="http://localhost:8000", sec_fetch_site="same-origin") == 200


def test_a_link_to_it_may_be_followed(db: Database) -> None:
    followed = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert status(dashboard(db), "/", sec_fetch_dest="document", **followed) == 200
    assert status(dashboard(db), "/", sec_fetch_dest="iframe", **followed) == 403


async def _yes(request: Request) -> bool:
    return True


async def _no(request: Request) -> bool:
    return False


async def _fails(request: Request) -> bool:
    raise LookupError("on purpose")


def _fails_at_once(request: Request) -> bool:
    raise LookupError("on purpose")


@pytest.mark.parametrize(
    "authorize, expected",
    [
        (lambda request: True, 200),
        (_yes, 200),
        (lambda request: False, 403),
        (_no, 403),
        (lambda request: None, 403),
        (lambda request: "yes", 403),
        (lambda request: 1, 403),
        (_fails, 403),
        (_fails_at_once, 403),
    ],
)
@pytest.mark.parametrize("path", ["/", "/live", "/snapshot", "/events", "/main.js", ""])
def test_the_application_decides(db: Database, authorize: Any, expected: int, path: str, caplog: Any) -> None:
    caplog.set_level(logging.CRITICAL, "respool.observe")
    answer = ask(dashboard(db, authorize=authorize), path, client="10.0.0.1")
    assert answer.status == (expected if expected == 403 else {"": 308}.get(path, 200))
    if expected == 403:
        assert b"shop" not in answer.body


def test_what_the_application_is_asked_with(db: Database) -> None:
    seen: list[Request] = []
    page = dashboard(db, authorize=lambda request: seen.append(request) is None)
    ask(page, "/live", cookie="a=1")
    request = seen[0]
    assert (request.method, request.path, request.root, request.client) == ("GET", "/live", "/respool", "127.0.0.1")
    assert (request.host, request.headers["cookie"]) == ("localhost", "a=1")


def test_an_authorize_that_fails_is_told(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    page = dashboard(db, authorize=_fails_at_once)
    with caplog.at_level(logging.ERROR, "respool.observe"):
        page.handle(Request("GET", "/", HERE, "127.0.0.1"))
    assert "nobody is let in" in caplog.text


@pytest.mark.parametrize("path", ["/", "/live", "/page.css", "/nowhere", "", "/../secret", "/page/main.js", "//"])
def test_every_answer_is_safe(db: Database, path: str) -> None:
    for answer in (ask(dashboard(db), path), ask(dashboard(db), path, client="10.0.0.1")):
        headers = dict(answer.headers())
        policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
        assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self'", "'self'")
        assert (policy["frame-ancestors"], policy["base-uri"], policy["form-action"]) == ("'none'", "'none'", "'none'")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert answer.status in (200, 403, 404, 308)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda db: dashboard(), "got no database"),
        (lambda db: dashboard("shop"), "observe() got an object of type str"),
        (lambda db: dashboard(db, hosts="shop.test"), "hosts='shop.test' is not accepted"),
        (lambda db: dashboard(db, authorize=True), "authorize=True is not accepted"),
    ],
)
def test_what_is_not_accepted_is_told_at_once(db: Database, make: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(ConfigError) as told:
        make(db)
    assert words in told.value.headline
    assert told.value.advice
