"""The page in one of several processes: it shows all of them, and of the others only the databases that it is for."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from respool import Database
from respool.observe.dashboard import content, dashboard
from respool.observe.observation import observation
from respool.observe.workers.places import AVAILABLE
from tests.observe.dashboard.test_mounting import get
from tests.observe.workers.conftest import Running

pytestmark = pytest.mark.skipif(not AVAILABLE or not hasattr(os, "fork"), reason="this system has no such sockets")

Start = Callable[..., list[Running]]


@pytest.fixture
def shop(sockets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The database ``shop`` in a worker of the application ``shop``: this process."""
    monkeypatch.setattr(observation, "application", "shop")
    monkeypatch.setattr(content, "WITHIN", 5.0)
    db = Database(f"sqlite:///{tmp_path}/shop.db", name="shop")
    yield db
    observation.remove(db)
    observation.board.clear()
    db.close()


async def look(db: Database) -> Any:
    return json.loads((await get(dashboard(db), "/live")).body)


async def test_all_workers_are_shown_who_is_gone_and_who_does_not_answer(
    start: Start, shop: Database, sockets: Path
) -> None:
    first, second, gone, stopped = start(4)
    start(1, application="other")
    first.tell("hold", 2)
    second.tell("hold", 1)
    second.tell("block")  # observes a database that this page is not for, too
    gone.end()
    os.kill(stopped.pid, signal.SIGSTOP)
    seen = await look(shop)
    mine = os.getpid()
    assert {each["pid"] for each in seen["processes"]} == {mine, first.pid, second.pid}
    assert [each["pid"] for each in seen["silent"]] == [stopped.pid]
    (database,) = seen["databases"]
    assert (database["name"], database["pool"]["acquired"]) == ("shop", 3)
    held = [row["pid"] for row in database["connections"] if row["state"] == "acquired"]
    assert sorted(held) == sorted([first.pid, first.pid, second.pid])
    assert not [path for path in sockets.iterdir() if f".{gone.pid}." in path.name]
