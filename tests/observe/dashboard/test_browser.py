"""The page in a real browser: each tab in light, dark and on a phone, for the keyboard and for screen readers, and attacks."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
import uvicorn
from sqlalchemy import event, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from respool import Database, PoolConfig
from respool.observe.dashboard import dashboard
from respool.observe.observation import observation
from respool.web.rules.scopes import ENVIRON_KEY, tell_handler
from respool.web.wsgi import RequestScopeMiddleware
from tests.support.browser import BrowserMissing, opened, violations
from tests.web.clients import call_wsgi

TABS = ("overview", "findings", "connections", "waiters", "requests", "routes", "reads", "sessions", "settings")
EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


class _Base(DeclarativeBase):
    pass


class Item(_Base):
    __tablename__ = "item"

    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        with opened("--host-resolver-rules=MAP evil.test 127.0.0.1") as browser:
            yield browser
    except BrowserMissing as missing:
        pytest.skip(str(missing))


@contextlib.contextmanager
def by_asgi(app: Any) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, interface="asgi3", log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        app.close()
        server.should_exit = True
        thread.join()
        listener.close()


class _Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None: ...


@contextlib.contextmanager
def by_wsgi(app: Any) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, server_class=_Threads, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database of two connections: both are held, somebody waits, requests are over; and all names are an attack."""
    db = Database(
        f"sqlite:///{tmp_path_factory.mktemp('db')}/shop.db",
        name=EVIL,
        begin="on_use",
        plans=True,
        pool=PoolConfig(max_size=2, timeout=600),
    )
    dashboard(db)
    done, errors = threading.Event(), []

    def work(name: str, ready: threading.Event) -> None:
        try:
            with db.scope(name) as session:
                session.connection()
                session.execute(text(f"SELECT 1 /* {EVIL} */"))
                ready.set()
                done.wait()
        except Exception as error:
            errors.append(error)
            ready.set()

    def shop(environ: Any, start_response: Any) -> Any:
        tell_handler(environ[ENVIRON_KEY], shop, route=f"/{EVIL}/<number>")
        for _ in range(6):
            db.session.execute(text(f"SELECT 2 /* {EVIL} */"))
        db.session.execute(text("CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY)"))
        db.session.get(Item, 1)
        db.session.scalars(select(Item).where(text(f"'{EVIL}' = ''"))).all()
        db.session.execute(select(Item.id)).all()
        db.session.commit()
        start_response("200 OK", [])
        return [b""]

    threads: list[threading.Thread] = []

    def start(name: str) -> threading.Event:
        ready = threading.Event()
        threads.append(threading.Thread(target=work, args=(name, ready), name=EVIL))
        threads[-1].start()
        return ready

    for number in range(5):
        call_wsgi(RequestScopeMiddleware(shop, db), f"/{EVIL}/{number}", headers={"X-Evil": EVIL, "User-Agent": EVIL})
    for kind in ("held-idle", "n-plus-one"):
        observation.board.found(
            kind, f"{EVIL} does {kind}", database=EVIL, place=f"{EVIL}:7", route=f"GET {EVIL}", facts=[EVIL], worst=2.0
        )
    for name in ("first", f"second {EVIL}"):
        start(name).wait()
    start(f"third {EVIL}")
    while not db.pool.stats().waiting:
        pass
    yield db
    done.set()
    for thread in threads:
        thread.join()
    db.close()
    observation.remove(db)
    assert errors == []


@pytest.fixture(autouse=True)
def _nobody_is_observed_afterwards() -> None:
    """Here it goes on from test to test: see busy."""


@pytest.fixture(scope="module")
def address(busy: Database) -> Iterator[str]:
    with by_asgi(dashboard(busy, title=f"Shop {EVIL}")) as address:
        yield address


@pytest.fixture
def look(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page, at a tab, and waits for its first snapshot."""
    contexts: list[Any] = []

    def go(
        tab: str = "overview", *, at: str = address, width: int = 1280, scheme: str = "light", bypass: bool = False
    ) -> Any:
        size = {"width": width, "height": 844}
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme, bypass_csp=bypass))
        page = contexts[-1].new_page()
        page.said = []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.goto(f"{at}/#{tab}")
        page.wait_for_selector('#status[data-state="live"]')
        return page

    yield go
    for context in contexts:
        context.close()


def turn(page: Any, tab: str) -> None:
    """Go to a tab by its link; it is drawn when it is visible, which is not yet when the click is over."""
    page.click(f'nav a[href="#{tab}"]')
    page.wait_for_selector(f"#{tab}:not([hidden])")


@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_every_tab_can_be_used_by_everybody(look: Any, scheme: str, width: int) -> None:
    page = look(width=width, scheme=scheme, bypass=True)
    for tab in TABS:
        turn(page, tab)
        if tab == "requests":
            page.click("#requests-table button >> nth=0")
        if tab == "overview":
            page.click("#chart-connections summary")
            page.click("#chart-time summary")
        assert violations(page) == [], tab
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
        assert page.locator("section:not([hidden])").count() == 1
    assert page.said == []


def test_what_there_is_is_shown(look: Any) -> None:
    page = look()
    assert "2 of 2 connections are held" in page.inner_text("#verdict")
    assert page.get_attribute("#verdict", "data-state") == "bad"
    assert page.inner_text("#in-use") == "2"
    assert page.locator("#strip .unused").count() == 2
    assert [page.inner_text(f"#count-{name}") for name in ("connections", "waiters")] == ["2", "1"]
    assert int(page.inner_text("#count-findings")) >= 2
    turn(page, "connections")
    row = page.inner_text("#connections-table tbody tr >> nth=0")
    assert "held, unused" in row
    assert "test_browser.py" in row
    turn(page, "waiters")
    assert "third" in page.inner_text("#waiters-table tbody")
    turn(page, "settings")
    assert "max_size" in page.inner_text("#settings-table tbody")
    turn(page, "findings")
    assert page.locator("#findings-list article").count() >= 2
    assert "with db.released()" in page.inner_text("#findings-list")


def test_text_stays_text(look: Any) -> None:
    page = look()
    for tab in TABS:
        turn(page, tab)
        if tab == "requests":
            page.click("#requests-table button >> nth=0")
        if tab != "overview":
            assert EVIL in page.inner_text(f"#{tab}"), tab
    assert EVIL in page.inner_text("h1")
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, script:not([type=module]), [onerror]").count() == 0
    assert page.said == []


def test_what_is_written_into_the_page_is_not_run(look: Any) -> None:
    """The policy, should a script of ours ever be fooled."""
    page = look()
    refused = "(() => { try { document.body.innerHTML = '<img src=x onerror=\"window.hacked=1\">'; } catch (error) { return error.name } })()"
    assert page.evaluate(refused) == "TypeError"
    inline = "(() => { const s = document.createElement('script'); try { s.textContent = 'window.hacked=1'; } catch (error) { return error.name } })()"
    assert page.evaluate(inline) == "TypeError"
    assert page.evaluate("window.hacked") is None


def test_the_keyboard_is_enough(look: Any) -> None:
    page = look()
    page.focus("#pause")
    page.keyboard.press("Space")
    assert page.get_attribute("#pause", "aria-pressed") == "true"
    page.keyboard.press("Space")
    for _ in range(5):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.hash") == "#requests"
    page.keyboard.press("Enter")
    page.wait_for_selector("#requests:not([hidden])")
    assert page.get_attribute('nav a[href="#requests"]', "aria-current") == "page"
    page.focus("#requests-table button >> nth=0")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "detail"
    assert "statement" in page.inner_text("#detail")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.is_hidden("#detail")


def test_what_is_selected_is_not_taken_away(look: Any) -> None:
    page = look("findings")
    page.click("#pause")  # else there may be something new meanwhile
    kept = """async () => {
        const tabs = await import("./tabs.js"), now = Date.now() / 1000;
        const found = {code: "F001", what: "w", place: "shop.py:7", title: "t", advice: [], facts: [], count: 2, first: now, last: now};
        tabs.showFindings({findings: [found], now});
        const line = document.querySelector("#findings-list code");
        getSelection().selectAllChildren(line);
        tabs.showFindings({findings: [found], now: now + 30});
        return [getSelection().toString(), line.isConnected, document.querySelector("#findings-list .seen").textContent];
    }"""
    assert page.evaluate(kept) == ["shop.py:7", True, "2 times, 30 s ago; first 30 s ago."]


def test_a_request_that_is_looked_for(look: Any) -> None:
    page = look("requests")
    assert page.locator("#requests-table tbody tr").count() == 5
    page.fill("#only", "/3")
    assert page.locator("#requests-table tbody tr").count() == 1
    page.fill("#only", "nothing of the kind")
    assert page.is_visible("#requests-table .empty")


def test_which_reads_are_planned(look: Any) -> None:
    page = look("reads")
    rows = page.locator("#reads-table tbody tr")
    assert "Of 3 statements that are known, 2 are planned." in page.inner_text("#reads-told")
    assert [row.partition("\t")[0] for row in rows.all_inner_texts()] == ["not planned", "planned", "planned"]
    assert "it does not select one mapped class" in rows.nth(0).inner_text()
    page.fill("#only-reads", "where  ITEM.id =")
    assert rows.count() == 1
    assert "get" in rows.nth(0).inner_text()
    page.fill("#only-reads", "nothing of the kind")
    assert page.is_visible("#reads-table .empty")


def test_what_stands_in_the_way_of_all_reads(look: Any, busy: Database, tmp_path: Path) -> None:
    page = look("reads")
    assert 'begin="on_use"\nPlanned reads take longer. Do: leave it out' in page.inner_text("#obstacles")
    db = Database(f"sqlite:///{tmp_path}/other.db", name="other", plans=True)
    try:
        _Base.metadata.create_all(db.engine)
        with db.scope("read") as session:
            session.get(Item, 1)
        event.listen(db.engine, "before_execute", lambda *_: None)
        with by_asgi(dashboard(db)) as address:
            page = look("reads", at=address)
            assert "listens to before_execute" in page.inner_text("#obstacles")
            assert "No read is planned. Do: listen to before_cursor_execute" in page.inner_text("#obstacles")
            assert "Of 1 statements that are known, 0 are planned" in page.inner_text("#reads-told")
            page.context.close()
    finally:
        observation.remove(db)
        db.close()


def test_where_plans_are_off_it_says_how_they_are_switched_on(look: Any, tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/other.db", name="other", plans=False)
    try:
        with by_asgi(dashboard(db)) as address:
            page = look("reads", at=address)
            assert "Plans are off" in page.inner_text("#reads-told")
            assert "plans=False" in page.inner_text("#reads-told")
            page.context.close()
    finally:
        observation.remove(db)
        db.close()


def test_it_asks_where_nothing_can_be_streamed(look: Any, busy: Database) -> None:
    with by_wsgi(dashboard(busy)) as address:
        page = look(at=address)
        with page.expect_response(f"{address}/live") as answer:
            pass
        assert answer.value.status == 200
        assert page.inner_text("#in-use") == "2"
        assert page.said == []
        page.context.close()


def test_it_asks_where_too_many_look_on(look: Any, busy: Database) -> None:
    shown = dashboard(busy)
    shown._streams._most = 0
    with by_asgi(shown) as address:
        page = look(at=address)
        assert page.inner_text("#in-use") == "2"
        page.context.close()


def test_another_name_of_this_machine_is_refused(browser: Any, address: str) -> None:
    """As a page of somebody else's would do it, whose name points here since a moment ago."""
    page = browser.new_page()
    port = address.rpartition(":")[2]
    answer = page.goto(f"http://evil.test:{port}/live")
    assert answer.status == 403
    assert "Host header" in page.inner_text("body")
    page.close()


def test_another_origin_is_refused(browser: Any, address: str, busy: Database) -> None:
    def other(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"<!doctype html><title>another site</title>"]

    with by_wsgi(other) as elsewhere:
        page = browser.new_page()
        page.goto(elsewhere.replace("127.0.0.1", "localhost"))
        ask = f"fetch('{address}/live', {{mode: 'MODE'}}).then(a => a.type + a.status, e => e.name)"
        assert page.evaluate(ask.replace("MODE", "no-cors")) == "TypeError"  # the resource policy
        assert page.evaluate(ask.replace("MODE", "cors")) == "TypeError"
        page.evaluate(f"document.body.append(Object.assign(document.createElement('iframe'), {{src: '{address}/'}}))")
        page.wait_for_timeout(0)
        assert all(not frame.url.startswith(address) for frame in page.frames)
        page.close()


def test_without_leave_there_is_nothing_to_see(browser: Any, busy: Database) -> None:
    with by_asgi(dashboard(busy, authorize=lambda request: "key=mine" in request.headers.get("cookie", ""))) as address:
        context = browser.new_context()
        page = context.new_page()
        assert page.goto(address).status == 403
        assert EVIL not in page.content()
        context.add_cookies([{"name": "key", "value": "mine", "url": address}])
        assert page.goto(address).status == 200
        page.wait_for_selector('#status[data-state="live"]')
        context.close()
