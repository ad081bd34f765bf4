"""The contract: what holds for every request in every framework. Each case runs on every stand (``stands/``).

``python -m tests.web.contract`` writes the table of what ran where into ``docs/reference/frameworks.md``.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import make_url

from respool import PoolConfig
from respool.errors import NoScope, ScopeEnded, UncommittedChanges
from respool.observe import observe
from tests.session.shop import SMALL, acquired, count, opened, opened_async
from tests.support.tables import ROOT, Table
from tests.web.endings import ENDINGS, is_broken
from tests.web.stands import ALL
from tests.web.stands.base import NOTHING, Stand

__all__ = ["CASES", "TABLE", "Place"]


@dataclass
class Place:
    """Where a case runs.

    Args:
        kind: which stand.
        url, other_url: of two shops (sync driver).
        driver: the one of the database with which coroutines connect.
    """

    kind: type[Stand]
    url: str
    other_url: str
    driver: str = "aiosqlite"

    @asynccontextmanager
    async def open(
        self,
        *,
        commit: Any = "on_success",
        pool: PoolConfig = SMALL,
        handlers: bool = False,
        around: bool = False,
        running: bool = True,
        lifespan: bool = True,
        guest_at: str = "",
        plan: str = "",
        shown: Mapping[str, Any] = NOTHING,
    ) -> AsyncIterator[Any]:
        """A stand on two databases, with a guest at a place of its own; afterwards nothing is left in use."""
        async with self._database(self.url, "default", commit, pool) as db:
            async with self._database(self.other_url, "other", commit, pool) as other:
                stand = self.kind(
                    db,
                    other,
                    handlers=handlers,
                    around=around,
                    lifespan=lifespan,
                    guest_at=guest_at,
                    plan=plan,
                    shown=shown,
                )
                if not running:
                    yield stand
                    return
                async with stand.running():
                    yield stand
                    await stand.settled()
                for database in (db, other):
                    assert (acquired(database), database.scopes()) == (0, ())

    @asynccontextmanager
    async def _database(self, url: str, name: str, commit: Any, pool: PoolConfig) -> AsyncIterator[Any]:
        if self.kind.kind == "sync":
            with opened(url, name=name, commit=commit, pool=pool) as database:
                yield database
        else:
            there = make_url(url)
            there = there.set(drivername=f"{there.get_backend_name()}+{self.driver}")
            url = there.render_as_string(hide_password=False)
            async with opened_async(url, name=name, commit=commit, pool=pool) as database:
                yield database

    def saved(self) -> int:
        """How many orders there are, seen by somebody else."""
        return count(self.url)


Case = Callable[[Place], Awaitable[None]]

#: Whoever comes second is refused at once.
FULL = PoolConfig(max_size=1, max_waiting=0, timeout=60)

#: The cases by name, in the order of the table.
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[getattr(function, "__name__", "")] = function
    return function


# -- who commits, and what is told -----------------------------------------------------------------------------------


@case
async def success(place: Place) -> None:
    """It is saved, and the connection given back, before the first byte leaves."""
    seen: list[Any] = []
    async with place.open() as stand:
        answer = await stand.call("/do/order/1", probe=lambda: seen.append((place.saved(), acquired(stand.db))))
        assert (answer.status, answer.body) == (200, b"thanks"), answer
        assert seen in ([(1, 0)], [])  # a server on loopback has no probe
    assert place.saved() == 1


@case
async def raised_4xx(place: Place) -> None:
    """An error of the framework's own is its answer, and nothing is saved."""
    async with place.open() as stand:
        assert (await stand.call("/refuse/flushed")).status == 403
    assert place.saved() == 0


@case
async def returned_4xx(place: Place) -> None:
    async with place.open() as stand:
        assert (await stand.call("/answer/flushed/422")).status == 422
    assert place.saved() == 0


@case
async def unhandled_error(place: Place) -> None:
    async with place.open() as stand:
        assert is_broken(await stand.call("/do/broken/1"))
        assert (await stand.call("/do/order/1")).status == 200
    assert place.saved() == 1


@case
async def failing_commit(place: Place) -> None:
    """The framework's own 500, once, in place of an answer that would not be true."""
    async with place.open() as stand:
        assert is_broken(await stand.call("/do/order/999"))
    assert place.saved() == 0


@case
async def failing_commit_with_a_handler(place: Place) -> None:
    """The application's own handler for the error answers it."""
    async with place.open(handlers=True) as stand:
        answer = await stand.call("/do/order/999")
        assert (answer.status, b"no such product" in answer.body) == (409, True), answer
    assert place.saved() == 0


@case
async def forgotten_commit(place: Place) -> None:
    """It is rolled back, and told."""
    async with place.open(commit="manual") as stand:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert (await stand.call("/do/order/1")).status == 200
    lost = [each.message for each in told if isinstance(each.message, UncommittedChanges)]
    assert [each.scope for each in lost] == ["request POST /do/order/1"]
    assert place.saved() == 0


@case
async def explicit_commit_then_error(place: Place) -> None:
    """What was committed stays; what came after goes."""
    async with place.open() as stand:
        assert is_broken(await stand.call("/do/explicit/1"))
    assert place.saved() == 1


@case
async def two_databases(place: Place) -> None:
    """Both are flushed before the first COMMIT."""
    async with place.open() as stand:
        assert is_broken(await stand.call("/do/both/2"))
        assert place.saved() == 0
        assert (await stand.call("/do/both/1")).status == 200
    assert (place.saved(), count(place.other_url)) == (1, 1)


# -- after the answer --------------------------------------------------------------------------------------------------


@case
async def streaming(place: Place) -> None:
    """The request's session is refused to a body, by name; a scope of its own serves it."""
    async with place.open() as stand:
        answer = await stand.call("/stream", "GET", probe=lambda: acquired(stand.db))
        assert (answer.status, answer.body) == (200, b"teatea"), answer
        assert answer.at_start in (0, None), answer
        assert [(type(error), error.scope) for error in stand.work.told] == [(ScopeEnded, "GET /stream")]


@case
async def background(place: Place) -> None:
    """Work that outlives its request is refused its session, and may have a scope of its own."""
    async with place.open() as stand:
        assert (await stand.call("/background")).status == 200
        await stand.settled()
        assert [(type(error), error.scope) for error in stand.work.told] == [(ScopeEnded, "POST /background")]
    assert place.saved() == 2


@case
async def websocket(place: Place) -> None:
    """No scope for the socket; one for each message."""
    async with place.open() as stand:
        assert await stand.talk("/ws", ["1", "1"]) == ["saved", "saved"]
        assert [type(error) for error in stand.work.told] == [NoScope, NoScope]
        assert acquired(stand.db) == 0
    assert place.saved() == 2


# -- who else is there -------------------------------------------------------------------------------------------------


@case
async def client_gone(place: Place) -> None:
    """A request whose client hangs up while it waits for a connection leaves the line, and what it has begun."""
    async with place.open(pool=PoolConfig(max_size=1, timeout=60)) as stand:
        gone = asyncio.Event()
        async with held(stand.db):
            request = asyncio.create_task(stand.call("/do/flushed/1", gone=gone))
            await until(lambda: stand.db.pool.stats().waiting == 1)
            gone.set()
            await until(lambda: stand.db.pool.stats().waiting == 0)
            assert acquired(stand.db) == 1
            await asyncio.gather(request, return_exceptions=True)
        assert stand.work.ran == []
        assert (await stand.call("/do/order/1")).status == 200
    assert place.saved() == 1


@case
async def left_behind(place: Place) -> None:
    """What a request has left behind waits for a connection of its own accord, whether its client is there or not."""
    async with place.open(pool=PoolConfig(max_size=1, timeout=60)) as stand:
        assert (await stand.call("/do/leave/1")).status == 200
        async with held(stand.db):
            for _, ended in stand.work.jobs:
                ended.set()
            await until(lambda: stand.db.pool.stats().waiting == 1)
            for _ in range(20):
                await asyncio.sleep(0)
            assert stand.db.pool.stats().waiting == 1
        await stand.settled()
    assert place.saved() == 1


@case
async def nested_application(place: Place) -> None:
    """An application within the application shares the request."""
    async with place.open() as stand:
        made, new_scope = [], stand.db.new_scope
        stand.db.new_scope = lambda label, **keywords: made.append(label) or new_scope(label, **keywords)
        assert (await stand.call("/nested/do/order/1")).status == 200
        assert place.saved() == 1
        assert is_broken(await stand.call("/nested/do/order/999"))
        assert len(made) == 2
    assert place.saved() == 1


@case
async def base_http_middleware(place: Place) -> None:
    """Above and below ours, the one that runs what is within it in a task of its own."""
    async with place.open(around=True) as stand:
        assert (await stand.call("/do/order/1")).status == 200
        assert is_broken(await stand.call("/do/order/999"))
        assert (await stand.call("/refuse/flushed")).status == 403
    assert place.saved() == 1


@case
async def inherited_context(place: Place) -> None:
    """A scope that was in force where the request came from is none of its business."""
    async with place.open(running=False, lifespan=False) as stand:
        async with held(stand.db) as outer:
            async with stand.running():
                assert (await stand.call("/do/order/1")).status == 200
                assert is_broken(await stand.call("/do/broken/1"))
            assert stand.db.session is outer
            assert place.saved() == 1


@case
async def somebody_elses_teardown(place: Place) -> None:
    """Another extension whose clean-up fails takes nothing along: no connection, no object of one request's."""
    async with place.open() as stand:
        stand.work.broken_teardown = True
        await asyncio.gather(stand.call("/do/flushed/1"), return_exceptions=True)
        assert (acquired(stand.db), stand.db.scopes()) == (0, ())
        stand.work.broken_teardown = False
        assert (await stand.call("/do/mine/7")).body == b"['7']"


@case
async def head_and_options(place: Place) -> None:
    async with place.open() as stand:
        head = await stand.call("/do/read/1", "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert (await stand.call("/do/read/1", "OPTIONS")).status in (200, 204, 405)
        assert (await stand.call("/do/read/1", "GET")).body == b"tea"


@case
async def a_thousand_interleaved(place: Place) -> None:
    """No row of one request's in another's session."""
    async with place.open(pool=PoolConfig(max_size=4, timeout=60)) as stand:
        turns = iter(range(1000))

        async def client() -> None:
            for number in turns:
                answer = await stand.call(f"/do/mine/{number}")
                assert answer.body == f"['{number}']".encode(), answer

        await asyncio.gather(*(client() for _ in range(20)))
        assert len(stand.work.ran) == 1000
    assert place.saved() == 0


# -- load, and the application's life ----------------------------------------------------------------------------------


@case
async def overload(place: Place) -> None:
    """503, and when to come again."""
    async with place.open(pool=FULL) as stand:
        async with held(stand.db):
            answer = await stand.call("/do/flushed/1")
            assert (answer.status, answer.headers["retry-after"]) == (503, "1"), answer
        assert (await stand.call("/do/order/1")).status == 200


@case
async def overload_with_a_handler(place: Place) -> None:
    """The application's own handler answers it."""
    async with place.open(pool=FULL, handlers=True) as stand:
        async with held(stand.db):
            answer = await stand.call("/do/flushed/1")
            assert (answer.status, b"busy" in answer.body) == (429, True), answer


@case
async def lifespan(place: Place) -> None:
    """Warmed up when it starts, drained when it stops; and it may start again."""
    pool = PoolConfig(min_size=1, max_size=2)
    async with place.open(pool=pool, running=False) as stand:
        for _ in range(2 if stand.starts_again else 1):
            async with stand.living() as said:
                assert stand.db.pool.stats().idle == 1
                assert (await stand.call("/do/order/1")).status == 200
            assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
            assert stand.db.closed


# -- what is seen -------------------------------------------------------------------------------------------------------


@case
async def route_template(place: Place) -> None:
    """What is noted of a request goes by the template that its path fits, and by its status."""
    async with place.open() as stand:
        with observed(stand.db) as recorder:
            assert (await stand.call("/do/flushed/1")).status == 200
            assert (await stand.call("/answer/flushed/422")).status == 422
            await stand.settled()
            noted = [(account.method, account.route, account.status) for account in recorder.recent()]
    assert noted[-1] == ("POST", stand.template, 200)
    assert noted[0][2] == 422
    assert len(noted) == 2


#: A page for whoever has the key, by the name that the stands are asked by.
PAGE = {"dashboard": "/seen", "authorize": lambda asked: asked.headers.get("key") == "mine", "hosts": ["test"]}


@case
async def dashboard(place: Place) -> None:
    """The page is answered before any routing, without a session, and while there is no connection to be had."""
    async with place.open(pool=FULL, shown=PAGE) as stand:
        try:
            async with held(stand.db):
                made, new_scope = [], stand.db.new_scope
                stand.db.new_scope = lambda label, **keywords: made.append(label) or new_scope(label, **keywords)
                answer = await stand.call("/seen/live", "GET", headers={"Key": "mine"})
                assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), answer
                assert [each["name"] for each in json.loads(answer.body)["databases"]] == ["default", "other"]
                assert b"page.css" in (await stand.call("/seen/", "GET", headers={"Key": "mine"})).body
                slash = await stand.call("/seen", "GET", headers={"Key": "mine"})
                assert (slash.status, slash.headers["location"]) == (308, "./seen/")
                assert (await stand.call("/seen/live", "GET")).status == 403
                assert made == []
            assert (await stand.call("/do/order/1")).status == 200
            assert (await stand.call("/seenelsewhere", "GET", headers={"Key": "mine"})).status in (404, 500)
        finally:
            for database in stand.databases:
                observe(database).remove(database)


@contextmanager
def observed(db: Any) -> Iterator[Any]:
    """Have notes taken of a database for the length of a block."""
    observation = observe(db)
    try:
        yield next(each for each in observation.recorders if each.database is db)
    finally:
        observation.remove(db)


@asynccontextmanager
async def held(db: Any) -> AsyncIterator[Any]:
    """Hold a connection for the length of a block."""
    scope = db.scope("holder")
    if hasattr(scope, "__aenter__"):
        async with scope as session:
            await session.connection()
            yield session
    else:
        with scope as session:
            session.connection()
            yield session


async def until(happens: Callable[[], bool]) -> None:
    while not happens():
        await asyncio.sleep(0)


CASES |= ENDINGS
TABLE = Table(CASES, ALL, ROOT / "docs" / "reference" / "frameworks.md", "tests/web/contract.py")

if __name__ == "__main__":
    TABLE.write()
