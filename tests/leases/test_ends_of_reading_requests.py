"""Listeners of the commit hear of one at the end of a request that has only read, where successes commit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import event, orm

from respool.web.asgi import RequestScopeMiddleware
from tests.leases.stand import Note, Side, Stand, Ware, names


@pytest.mark.on("pysqlite", "aiosqlite", "psycopg", "asyncpg")
def test_before_and_after_the_commit(stand: Stand) -> None:
    def program(side: Side) -> Any:
        heard: list[str] = []
        with side.request(commit="on_success") as session:
            for name in ("before_commit", "after_commit", "after_rollback"):
                event.listen(session, name, lambda session, name=name: heard.append(name))
            names(session)
        return heard

    assert stand.same(program) == ["before_commit", "after_commit"]


@pytest.mark.on("pysqlite", "aiosqlite", "psycopg", "asyncpg")
def test_what_is_added_before_the_commit_is_saved(stand: Stand) -> None:
    """An outbox, or an access log: the listener writes at the end, and the commit is for it."""

    def program(side: Side) -> Any:
        with side.request(commit="on_success") as session:
            event.listen(session, "before_commit", lambda session: session.add(Note(text="accessed")))
            session.get_one(Ware, 1)
        return stand.notes(), stand.is_writable()

    assert stand.same(program, size=1) == (["accessed"], True)


@pytest.mark.on("pysqlite", "psycopg")
def test_a_listener_that_refuses_the_commit_fails_the_request(stand: Stand) -> None:
    def program(side: Side) -> Any:
        def refuse(session: orm.Session) -> None:
            raise LookupError("not at this hour")

        try:
            with side.request(commit="on_success") as session:
                event.listen(session, "before_commit", refuse)
                names(session)
        except LookupError:
            return "refused"
        return "answered"

    assert stand.same(program, size=1) == "refused"


@pytest.mark.on("pysqlite", "psycopg")
@pytest.mark.parametrize("target", ["class", "base"])
def test_listeners_of_the_class_hear_of_it(stand: Stand, target: str) -> None:
    def program(side: Side) -> Any:
        heard: list[str] = []

        def hear(session: orm.Session) -> None:
            heard.append("commit")

        with side.request() as session:
            listened = type(session) if target == "class" else orm.Session
        event.listen(listened, "after_commit", hear)
        try:
            with side.request(commit="on_success") as session:
                names(session)
        finally:
            event.remove(listened, "after_commit", hear)
        return heard

    assert stand.same(program) == ["commit"]


@pytest.mark.on("pysqlite", "psycopg", "asyncpg")
def test_a_request_that_rolls_back_or_fails_commits_nothing(stand: Stand) -> None:
    def program(side: Side) -> Any:
        heard: list[str] = []

        def listen(session: orm.Session) -> None:
            for name in ("before_commit", "after_commit"):
                event.listen(session, name, lambda session, name=name: heard.append(name))

        try:
            with side.request(commit="on_success") as session:
                listen(session)
                names(session)
                raise LookupError
        except LookupError:
            pass
        with side.request() as session:
            listen(session)
            names(session)
        return heard

    assert stand.same(program) == []


@pytest.mark.on("aiosqlite", "asyncpg")
@pytest.mark.parametrize("status, heard", [(200, ["before_commit", "after_commit"]), (404, [])])
def test_through_the_middleware(stand: Stand, status: int, heard: list[str]) -> None:
    """The commit is asked for before the answer leaves; an answer that is no success has none."""

    def program(side: Side) -> Any:
        told: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            session = side.database.session
            for name in ("before_commit", "after_commit"):
                event.listen(session.sync_session, name, lambda session, name=name: told.append(name))
            await session.get(Ware, 1)
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        sent: list[Any] = []

        async def request() -> None:
            side.database.commit_policy = "on_success"
            scope = {"type": "http", "method": "GET", "path": "/wares/1", "headers": [], "query_string": b""}
            await RequestScopeMiddleware(app, side.database)(scope, asyncio.Event().wait, _into(sent))

        _await(request())
        return told, [message["type"] for message in sent], sent[0]["status"]

    assert stand.run(program) == (heard, ["http.response.start", "http.response.body"], status)


def _into(sent: list[Any]) -> Any:
    async def send(message: Any) -> None:
        sent.append(message)

    return send


def _await(coroutine: Any) -> None:
    from sqlalchemy.util import await_only

    await_only(coroutine)


@pytest.mark.on("pysqlite", "aiosqlite", "psycopg")
def test_objects_of_a_session_that_expires_on_commit(stand: Stand) -> None:
    def program(side: Side) -> Any:
        with side.session(expire_on_commit=True) as session:
            ware = session.get_one(Ware, 1)
            session.commit()
            stand.stock_is(6)
            return ware.stock

    assert stand.same(program) == 6
