"""A gauge that is fed by the pool's events is right: whatever becomes of the connections, each out is followed by an in."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import QueuePool

from respool.engine import only_looks
from respool.testing import FaultProxy
from tests.leases.stand import Note, Side, Stand, Ware, names, raised


class Gauge:
    """Connections out of the pool and open, by the events alone.

    Args:
        engine: whose.
        declared: whether its listeners say that they only look. Then reads are leased; else they are held, as with stock.
    """

    def __init__(self, engine: sa.Engine, *, declared: bool = False) -> None:
        self.out = self.open = 0
        self.lowest = self.highest = 0
        counts: dict[str, Any] = {
            "checkout": lambda *args: self._count(1),
            "checkin": lambda *args: self._count(-1),
            "connect": lambda *args: self._opened(1),
            "close": lambda *args: self._opened(-1),
        }
        for name, count in counts.items():
            event.listen(engine, name, only_looks(count) if declared else count)

    def _count(self, change: int) -> None:
        self.out += change
        self.lowest, self.highest = min(self.lowest, self.out), max(self.highest, self.out)

    def _opened(self, change: int) -> None:
        self.open += change


@pytest.mark.on("pysqlite", "aiosqlite", "psycopg", "psycopg2", "asyncpg")
@pytest.mark.parametrize("declared", [True, False])
def test_in_the_everyday_request(stand: Stand, declared: bool) -> None:
    def program(side: Side) -> Any:
        gauge = Gauge(side.engine, declared=declared)
        for _ in range(3):
            with side.request() as session:
                names(session)
                session.add(Note(text="written"))
                session.commit()
                session.get(Ware, 1)
        return gauge.out, gauge.lowest, gauge.highest, gauge.open

    assert stand.same(program, size=2) == (0, 0, 1, 1)


@pytest.mark.on("psycopg", "psycopg2", "psycopg_async", "asyncpg")
@pytest.mark.parametrize("declared", [True, False])
def test_when_an_idle_connection_was_killed(stand: Stand, declared: bool) -> None:
    """It is replaced under the checkout, without the user noticing, and without a trace in the gauge."""

    def program(side: Side) -> Any:
        gauge = Gauge(side.engine, declared=declared)
        found = []
        for _ in range(3):
            with side.request() as session:
                found.append((names(session), session.get_one(Ware, 1).name))
                session.rollback()
            found.append((gauge.out, gauge.lowest, gauge.highest, gauge.open))
            stand.kill()
        return found

    assert stand.run(program, size=2) == [(["tea", "rum"], "tea"), (0, 0, 1, 1)] * 3


@pytest.mark.on("psycopg", "asyncpg")
def test_when_connections_are_killed_within_a_request(stand: Stand) -> None:
    """Between two leases one is replaced; one that a transaction holds is lost with it, and told."""

    def program(side: Side) -> Any:
        gauge = Gauge(side.engine, declared=True)
        with side.request() as session:
            names(session)
            stand.kill()
            found = [raised(lambda: names(session)), gauge.out - side.out]
            session.execute(sa.update(Ware).values(stock=1))
            stand.kill()
            found += [raised(lambda: names(session)) is None]
            session.rollback()
            found += [names(session), gauge.out - side.out]
        return [*found, gauge.out, gauge.lowest, gauge.highest]

    assert stand.run(program, size=2) == [None, 0, False, ["tea", "rum"], 0, 0, 0, 1]


@pytest.mark.on("psycopg", "psycopg2")
@pytest.mark.parametrize("declared", [True, False])
def test_through_a_proxy_that_cuts_the_line(stand: Stand, declared: bool) -> None:
    url = stand.url
    with FaultProxy(url.host or "", url.port or 0) as proxy:
        through = url.set(port=proxy.port).update_query_dict({"sslmode": "disable"})

        def program(side: Side) -> Any:
            gauge = Gauge(side.engine, declared=declared)
            for _ in range(3):
                with side.request() as session:
                    names(session)
                    session.get(Ware, 1)
                proxy.cut()
            with side.request() as session:
                raised(lambda: names(session))
            return gauge.out, gauge.lowest, gauge.highest

        assert stand.run(program, url=through, size=2) == (0, 0, 1)


@pytest.mark.on("psycopg", "psycopg2")
def test_with_a_pool_of_sqlalchemys_and_pings(stand: Stand) -> None:
    def program(side: Side) -> Any:
        gauge = Gauge(side.engine)
        found = []
        for _ in range(2):
            with side.request() as session:
                found.append(names(session))
            found.append((gauge.out, gauge.lowest, gauge.highest))
            stand.kill()
        return found

    right = [["tea", "rum"], (0, 0, 1)] * 2
    assert stand.same(program, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_pre_ping=True) == right


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
@pytest.mark.parametrize("declared", [True, False])
def test_when_reads_fail(stand: Stand, declared: bool) -> None:
    def program(side: Side) -> Any:
        gauge = Gauge(side.engine, declared=declared)
        missing = sa.select(sa.table("missing", sa.column("x")))
        for _ in range(3):
            with side.request() as session:
                raised(lambda session=session: session.execute(missing).all())
                session.rollback()
                names(session)
        return gauge.out, gauge.lowest, gauge.highest, gauge.open

    assert stand.same(program, size=2) == (0, 0, 1, 1)


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_a_listener_that_refuses_a_connection_gets_another(stand: Stand) -> None:
    """``DisconnectionError`` in a ``checkout`` listener: SQLAlchemy's way of a check of one's own."""

    def program(side: Side) -> Any:
        gauge = Gauge(side.engine)
        refused: list[Any] = []

        with side.request() as session:
            names(session)

        @event.listens_for(side.engine, "checkout")
        def check(dbapi_connection: Any, record: Any, proxy: Any) -> None:
            if not refused:
                refused.append(dbapi_connection)
                raise sa.exc.DisconnectionError("not this one")

        with side.request() as session:
            seen = names(session)
        return seen, len(refused), gauge.out

    assert stand.same(program, size=1)[:2] == (["tea", "rum"], 1)


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_resets_are_told_as_by_stock(stand: Stand) -> None:
    """With a listener of ``reset`` each transaction ends in one, and reads are transactions then."""

    def program(side: Side) -> Any:
        resets: list[str] = []
        event.listen(side.engine, "reset", lambda *args: resets.append("reset"))
        found = []
        for end in ("rollback", "commit", "close"):
            with side.request() as session:
                names(session)
                names(session)
                getattr(session, end)()
            found.append(len(resets))
        return found

    assert stand.same(program, size=1) == [1, 2, 3]
