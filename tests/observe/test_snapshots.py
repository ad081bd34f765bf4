"""The snapshot: plain values only, no secrets, and nothing opened for it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from respool import AsyncDatabase, Database, PoolConfig, SessionPhase, __version__
from respool.observe import snapshot
from respool.observe.snapshots import plain


@pytest.fixture
def db(sqlite_file: str) -> Iterator[Database]:
    db = Database(f"sqlite:///{sqlite_file}", name="shop", pool=PoolConfig(max_size=3, min_size=0))
    yield db
    db.close()


def test_nothing_is_opened_for_it(db: Database) -> None:
    seen = snapshot(db)
    (shop,) = seen["databases"]
    assert seen["version"] == __version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", seen["time"])
    assert shop["name"] == "shop"
    assert shop["url"] == str(db.engine.url)
    assert (shop["scopes"], shop["connections"], shop["waiters"]) == ([], [], [])
    assert (shop["pool"]["max_size"], shop["pool"]["total"], shop["pool"]["connects"]) == (3, 0, 0)


def test_open_scopes_and_the_connections_they_hold(db: Database) -> None:
    with db.scope("outer") as outer:
        outer.execute(text("SELECT 1"))
        with db.scope("inner"):
            during = snapshot(db)["databases"][0]
    after = snapshot(db)["databases"][0]
    scopes = [(each["label"], each["state"], each["phase"], each["holds_connection"]) for each in during["scopes"]]
    assert scopes == [("outer", "open", "working", True), ("inner", "open", "created", False)]
    assert all(0 <= each["age"] < 60 for each in during["scopes"])
    assert (during["pool"]["acquired"], during["pool"]["idle"], during["pool"]["total"]) == (1, 0, 1)
    assert (after["scopes"], after["pool"]["acquired"], after["pool"]["idle"]) == ([], 0, 1)


def test_it_is_json(db: Database) -> None:
    with db.scope("work") as session:
        session.execute(text("SELECT 1"))
        seen = snapshot(db)
    assert json.loads(json.dumps(seen, allow_nan=False)) == seen


async def test_several_databases_of_both_kinds(db: Database, tmp_path: object) -> None:
    other = AsyncDatabase(f"sqlite+aiosqlite:///{tmp_path}/other.db", name="other")
    try:
        async with other.scope("work") as session:
            await session.execute(text("SELECT 1"))
            seen = snapshot(db, other)
    finally:
        await other.close()
    assert [each["name"] for each in seen["databases"]] == ["shop", "other"]
    assert [each["pool"]["acquired"] for each in seen["databases"]] == [0, 1]
    assert snapshot()["databases"] == []


def test_secrets_are_masked() -> None:
    db = Database("postgresql+psycopg://me:s3cret@host/shop?sslpassword=s3cret&sslmode=require", name="pg")
    try:
        written = json.dumps(snapshot(db))
    finally:
        db.close()
    assert "s3cret" not in written
    assert "postgresql+psycopg://me:***@host/shop?" in written
    assert "sslmode=require" in written


@pytest.mark.parametrize("pool, known", [(None, {"idle": 0, "acquired": 1, "total": 1}), (NullPool, {})])
def test_a_pool_of_sqlalchemys_own_tells_what_it_knows(
    sqlite_file: str, pool: type[NullPool] | None, known: dict[str, int]
) -> None:
    db = Database(create_engine(f"sqlite:///{sqlite_file}", poolclass=pool), name="theirs")
    try:
        with db.scope("work") as session:
            session.execute(text("SELECT 1"))
            (seen,) = snapshot(db)["databases"]
    finally:
        db.close()
    assert seen["pool"] == {"name": "theirs", "kind": pool.__name__ if pool else "QueuePool", **known}


@dataclass(frozen=True, slots=True)
class Row:
    phase: SessionPhase
    ages: tuple[float, ...]


@pytest.mark.parametrize(
    "value, expected",
    [
        (None, None),
        (True, True),
        (3, 3),
        ("three", "three"),
        (0.5, 0.5),
        (math.inf, None),
        (math.nan, None),
        (SessionPhase.WORKING, "working"),
        (Row(SessionPhase.CREATED, (1.0, math.inf)), {"phase": "created", "ages": [1.0, None]}),
        (MappingProxyType({SessionPhase.CLOSED: {2}}), {"closed": [2]}),
        (Decimal("1.5"), "1.5"),
        (b"raw", "b'raw'"),
        (Row, str(Row)),
    ],
)
def test_plain_values(value: object, expected: object) -> None:
    assert plain(value) == expected
    json.dumps(plain(value), allow_nan=False)
