"""A session by a template is what SQLAlchemy's constructor would have made."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import create_engine, orm
from sqlalchemy.ext.asyncio import async_session

import respool
from respool import AsyncDatabase, Database
from respool.session.life import life_of
from respool.session.loading.templates import template_of


class Mine(orm.Session):
    """Mixed in, without a constructor."""


class Marked(respool.Session):
    marks = ("a",)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"autoflush": False, "expire_on_commit": True},
        {"info": {"tenant": "a"}},
        {"binds": {}},
        {"join_transaction_mode": "control_fully", "close_resets_only": False},
        {"query_cls": orm.Query},
    ],
)
@pytest.mark.parametrize("given", [None, Mine, Marked])
def test_it_has_what_the_constructor_sets(sqlite_file: str, given: Any, options: dict[str, Any]) -> None:
    database = Database(f"sqlite:///{sqlite_file}", session_class=given, session_options=options)
    seen, kept = [], []
    for _ in range(3):
        with database.scope("make") as session:
            kept.append(session)
            facts = {name: value for name, value in vars(session).items() if name not in ("_respool_life", "dispatch")}
            assert orm.object_session is not None
            assert orm.session._sessions[facts.pop("hash_key")] is session
            seen.append({name: (type(value), repr(value).partition(" at 0x")[0]) for name, value in facts.items()})
            session.info["left"] = "behind"
            session._new["left"] = "behind"  # type: ignore[index]
            session._new.clear()
    assert seen[0] == seen[1] == seen[2]
    assert len({id(session.identity_map) for session in kept}) == 3
    assert len({session.hash_key for session in kept}) == 3
    assert len({id(session.info) for session in kept}) == 3
    assert bool(database.session_kind._template) is ("info" not in options)
    database.close()


def test_what_has_something_of_its_own_is_no_template() -> None:
    engine = create_engine("sqlite://")
    assert template_of(orm.Session(engine), engine) is not None
    assert template_of(orm.Session(engine, info={"a": 1}), engine) is None
    with engine.connect() as connection:
        assert template_of(orm.Session(connection), engine) is None
    engine.dispose()


@pytest.mark.parametrize("options", [{}, {"autoflush": False}, {"info": {"tenant": "a"}}])
async def test_so_it_is_with_both_sides_of_an_async_session(sqlite_file: str, options: dict[str, Any]) -> None:
    database = AsyncDatabase(f"sqlite+aiosqlite:///{sqlite_file}", session_options=options)
    seen, kept = [], []
    for _ in range(3):
        async with database.scope("make") as face:
            kept.append(face)
            session = face.sync_session
            assert async_session(session) is face
            facts = {name: value for name, value in vars(session).items() if name not in ("_respool_life", "dispatch")}
            assert orm.session._sessions[facts.pop("hash_key")] is session
            facts |= {f"face {name}": value for name, value in vars(face).items()}
            facts["asynchronous"] = life_of(session).asynchronous
            seen.append({name: (type(value), repr(value).partition(" at 0x")[0]) for name, value in facts.items()})
    assert seen[0] == seen[1] == seen[2]
    assert len({id(face.sync_session.identity_map) for face in kept}) == 3
    assert bool(database.session_kind._template) is ("info" not in options)
    await database.close()
