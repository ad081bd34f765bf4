"""Users' listeners hear of a checkout's first statement and of a new connection as without us."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
import sqlalchemy as sa

from respool.engine import FairPool
from respool.engine.dialects import pipelining

ONE = sa.select(sa.literal(1))


@pytest.fixture(autouse=True)
def _every_server_is_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelining, "FAR", -1.0)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{request.getfixturevalue('sqlite_file')}"
    return str(request.getfixturevalue("pg_url"))


@pytest.mark.parametrize("options, event", [({}, "do_execute"), ({"no_parameters": True}, "do_execute_no_params")])
def test_a_first_statement_is_heard_of_once(url: str, options: dict[str, bool], event: str) -> None:
    engine = sa.create_engine(url, poolclass=FairPool)
    engine.connect().close()  # what the dialect asks on its first connection is none of ours
    heard: list[str] = []
    sa.event.listen(engine, event, lambda cursor, statement, *rest: heard.append("before"), insert=True)
    sa.event.listen(engine, event, lambda cursor, statement, *rest: heard.append("after"))
    with engine.connect().execution_options(**options) as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
        assert heard == ["before", "after"]
    engine.dispose()


def test_a_listener_may_execute_in_its_own_way(url: str) -> None:
    engine = sa.create_engine(url, poolclass=FairPool)
    engine.connect().close()

    def execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        cursor.execute("SELECT 2")
        return True

    sa.event.listen(engine, "do_execute", execute)
    with engine.connect() as connection:
        assert connection.scalar(ONE) == 2
    engine.dispose()


def test_a_connection_of_somebody_elses_is_left_alone() -> None:
    connection = Mock()
    engine = sa.create_engine("postgresql+psycopg://nowhere", poolclass=FairPool, _initialize=False)
    sa.event.listen(engine, "do_connect", lambda *args: connection)
    with engine.connect():
        assert connection.mock_calls == []
