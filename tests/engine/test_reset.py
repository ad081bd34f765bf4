"""What is rolled back when a connection is given back: what may have left something behind, and nothing else."""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from respool.engine import FairPool


class Counting(sqlite3.Connection):
    """Counts its rollbacks."""

    rollbacks = 0

    def rollback(self) -> None:
        type(self).rollbacks += 1
        super().rollback()


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(tmp_path / "test.db", factory=Counting, check_same_thread=False)

    engine = sa.create_engine("sqlite://", poolclass=FairPool, creator=connect, max_size=1)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (x INTEGER)"))
    monkeypatch.setattr(Counting, "rollbacks", 0)
    yield engine
    engine.dispose()


INSERT = sa.text("INSERT INTO t VALUES (1)")


def test_after_a_commit_there_is_nothing_to_roll_back(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        connection.execute(INSERT)
        connection.commit()
    assert Counting.rollbacks == 0
    raw = engine.raw_connection()
    raw.cursor().execute("INSERT INTO t VALUES (1)")
    raw.commit()
    raw.close()
    assert Counting.rollbacks == 0


def beside_sqlalchemy(raw: Any) -> None:
    raw.driver_connection.execute("SELECT x FROM t")


def by_the_drivers_own_method(raw: Any) -> None:
    raw.execute("SELECT x FROM t")


def behind_its_back(raw: Any) -> None:
    raw.dbapi_connection.execute("INSERT INTO t VALUES (2)")


def with_a_cursor(raw: Any) -> None:
    raw.cursor().execute("SELECT x FROM t")


@pytest.mark.parametrize("again", [beside_sqlalchemy, by_the_drivers_own_method, behind_its_back, with_a_cursor])
def test_what_comes_after_a_commit_is_rolled_back(engine: sa.Engine, again: Callable[[Any], None]) -> None:
    raw = engine.raw_connection()
    raw.cursor().execute("INSERT INTO t VALUES (1)")
    raw.commit()
    again(raw)
    raw.close()
    assert Counting.rollbacks == 1
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT max(x) FROM t")) == 1


def by_a_finalizer(engine: sa.Engine, raw: Any) -> None:
    raw._connection_record.finalize_callback.append(fail)


def by_a_listener(engine: sa.Engine, raw: Any) -> None:
    sa.event.listen(engine, "checkin", fail, once=True)


def fail(*args: object) -> None:
    raise Planned


class Planned(Exception): ...


def close(raw: list[Any]) -> None:
    with pytest.raises(Planned):
        raw.pop().close()


def lose(raw: list[Any]) -> None:
    raw[0].lost = sqlite3.OperationalError("the server is away")
    close(raw)


def drop(raw: list[Any]) -> None:
    raw.clear()
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "fails, ends",
    [
        (by_a_finalizer, close),
        (by_a_finalizer, drop),
        (by_a_listener, close),
        (by_a_listener, drop),
        (by_a_listener, lose),
    ],
)
def test_the_place_is_free_also_where_the_return_has_failed(
    engine: sa.Engine, fails: Callable[..., None], ends: Callable[..., None]
) -> None:
    raw: list[Any] = [engine.raw_connection()]
    fails(engine, raw[0])
    ends(raw)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM t")) == 0
