"""Several snapshots as one: nothing is lost, nothing counted twice, and it is as the pool itself adds up."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import text

from respool import Database, PoolConfig
from respool.observe import snapshot
from respool.observe.format import Merged, Snapshot
from respool.observe.observation import observation
from respool.observe.snapshots import plain
from respool.observe.workers import Answer, Worker, merged
from respool.observe.workers.client import view
from respool.pool.telling.stats import together

Pair = list[tuple[Snapshot, Any]]


def one(path: Path, pid: int, reads: int) -> tuple[Snapshot, Any]:
    """The snapshot of a database with one connection held and some requests over, as of a process, and its numbers."""
    db = Database(f"sqlite:///{path}", name="shop", begin="on_use", pool=PoolConfig(max_size=pid))
    observation.add(db)
    try:
        for _ in range(reads):
            with db.scope("GET /orders") as session:
                session.execute(text("SELECT 1"))
        with db.scope("GET /held") as session:
            session.execute(text("SELECT 2"))
            seen, stats = snapshot(db), db.pool.stats()
        seen["process"]["pid"] = pid
        seen["databases"][0]["pool"] = plain(stats)
        return json.loads(json.dumps(seen)), stats
    finally:
        observation.remove(db)
        db.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    yield [one(tmp_path / "one.db", 3, 4), one(tmp_path / "two.db", 5, 2)]
    observation.board.clear()


def both(pair: Pair) -> Merged:
    return merged([seen for seen, _ in pair])


def test_pools_are_added_up_as_the_pool_adds_up_its_own(pair: Pair) -> None:
    (shop,) = both(pair)["databases"]
    assert shop["pool"] == plain(together([stats for _, stats in pair]))
    assert (shop["pool"]["acquired"], shop["pool"]["max_size"]) == (2, 8)


@pytest.mark.parametrize("key, value", [("closed", False), ("suspended", False), ("database_away", True)])
def test_what_is_true_of_one_or_of_all(pair: Pair, key: str, value: bool) -> None:
    pair[1][0]["databases"][0]["pool"][key] = True
    assert both(pair)["databases"][0]["pool"][key] is value


def test_the_longest_wait_is_the_longest(pair: Pair) -> None:
    for (seen, _), seconds in zip(pair, (1.5, 0.5), strict=True):
        seen["databases"][0]["pool"]["oldest_wait"] = seconds
    assert both(pair)["databases"][0]["pool"]["oldest_wait"] == 1.5


def test_histograms_of_another_version_are_not_mixed(pair: Pair) -> None:
    pair[1][0]["databases"][0]["pool"]["wait_time"]["bounds"] = [1.0]
    first = pair[0][0]["databases"][0]["pool"]["wait_time"]
    assert both(pair)["databases"][0]["pool"]["wait_time"] == first


def test_rows_have_their_process(pair: Pair) -> None:
    (shop,) = both(pair)["databases"]
    held = [row for row in shop["connections"] if row["state"] == "acquired"]
    assert [(row["pid"], row["label"]) for row in held] == [(3, "GET /held"), (5, "GET /held")]
    assert [row["pid"] for row in shop["scopes"]] == [3, 5]
    assert sorted(row["pid"] for row in shop["requests"]) == [3] * 4 + [5] * 2


def test_requests_are_the_latest_of_all_and_no_more_than_of_one(pair: Pair) -> None:
    for seen, _ in pair:
        (shop,) = seen["databases"]
        shop["requests"] = [{**shop["requests"][0], "began": float(number)} for number in range(150)]
    (shop,) = both(pair)["databases"]
    assert [row["began"] for row in shop["requests"][:4]] == [149.0, 149.0, 148.0, 148.0]
    assert len(shop["requests"]) == 200


def test_waiters_are_in_order(pair: Pair) -> None:
    for (seen, _), seconds in zip(pair, (1.0, 2.0), strict=True):
        seen["databases"][0]["waiters"] = [{"seconds": seconds, "who": "GET /wait", "place": None}]
    assert [row["seconds"] for row in both(pair)["databases"][0]["waiters"]] == [2.0, 1.0]


def test_routes_are_added_up(pair: Pair) -> None:
    parts = [route for seen, _ in pair for route in seen["databases"][0]["routes"]]
    (route,) = both(pair)["databases"][0]["routes"]
    assert (route["requests"], route["statements"]) == (6, 6)
    for name in ("seconds", "held", "in_sql", "idle"):
        assert route[name] == pytest.approx(sum(part[name] for part in parts))  # type: ignore[literal-required]
    for name in ("slowest", "most_idle"):
        assert route[name] == max(part[name] for part in parts)  # type: ignore[literal-required]
    assert route["outcomes"] == {"committed": 0, "failed": 0, "unknown": 0}


def statement(text: str, *, planned: bool, why: str | None = None) -> Any:
    return {"kind": "select", "text": text, "planned": planned, "why": why, "advice": why and "do"}


def plans(*statements: Any, **changes: Any) -> Any:
    known = {"known": len(statements), "planned": sum(each["planned"] for each in statements)}
    return {"on": True, "advice": None, **known, "obstacles": [], "statements": [*statements], **changes}


def test_what_several_know_of_a_statement_is_told_once_with_who_knows_it(pair: Pair) -> None:
    joined = statement("b", planned=False, why="something is joined to it")
    echo, listener = [
        {"what": what, "stops": what == "do_orm_execute", "advice": "do"} for what in ("echo", "do_orm_execute")
    ]
    first, second = pair[0][0]["databases"][0], pair[1][0]["databases"][0]
    first["plans"] = plans(statement("a", planned=True), joined, obstacles=[echo])
    second["plans"] = plans(
        statement("a", planned=True), statement("b", planned=True), joined, obstacles=[echo, listener]
    )
    seen = both(pair)["databases"][0]["plans"]
    assert [(row["text"], row["planned"], row["pids"]) for row in seen["statements"]] == [
        ("b", False, [3, 5]), ("a", True, [3, 5]), ("b", True, [5])
    ]  # fmt: skip
    assert (seen["on"], seen["advice"], seen["known"], seen["planned"]) == (True, None, 3, 2)
    assert seen["obstacles"] == [listener, echo]


def test_plans_are_on_where_they_are_in_all(pair: Pair) -> None:
    pair[0][0]["databases"][0]["plans"] = plans()
    pair[1][0]["databases"][0]["plans"] = plans(on=False, advice="leave it out")
    seen = both(pair)["databases"][0]["plans"]
    assert seen["on"] is False
    assert seen["advice"] == "leave it out"


FINDING: Any = {
    "code": "F001",
    "kind": "held-idle",
    "title": "a connection was held",
    "what": "call() holds",
    "database": "shop",
    "place": "shop.py:7",
    "route": "GET /held",
    "facts": ["small"],
    "advice": ["do"],
    "count": 2,
    "worst": 1.0,
    "first": 10.0,
    "last": 20.0,
}


def test_what_was_found_twice_is_found_once(pair: Pair) -> None:
    pair[0][0]["findings"] = [FINDING]
    pair[1][0]["findings"] = [
        {**FINDING, "facts": ["large"], "count": 3, "worst": 4.0, "first": 5.0, "last": 15.0},
        {**FINDING, "place": "shop.py:9", "last": 30.0},
    ]
    latest, twice = both(pair)["findings"]
    assert (latest["place"], latest["pids"]) == ("shop.py:9", [5])
    assert twice == {
        **FINDING, "facts": ["large"], "count": 5, "worst": 4.0, "first": 5.0, "last": 20.0, "pids": [3, 5]
    }  # fmt: skip


def test_processes_are_listed_with_their_own_numbers(pair: Pair) -> None:
    seen = both(pair)
    assert [(each["pid"], each["pools"]["shop"]["max_size"]) for each in seen["processes"]] == [(3, 3), (5, 5)]
    assert [each["verdict"] for each in seen["processes"]] == ["All is well."] * 2
    assert seen["time"] == max(each["time"] for each, _ in pair)


def test_the_verdict_is_of_all_together(pair: Pair) -> None:
    pair[1][0]["databases"][0]["pool"] |= {"waiting": 4, "oldest_wait": 2.0}
    assert both(pair)["verdict"] == "Database 'shop': 4 wait, the first for 2.0 s; 2 of 8 connections are held."


def test_a_database_that_only_one_has_is_there(pair: Pair) -> None:
    pair[1][0]["databases"][0]["name"] = "reports"
    assert [each["name"] for each in both(pair)["databases"]] == ["shop", "reports"]


def test_nothing_of_what_was_given_is_changed(pair: Pair) -> None:
    before = copy.deepcopy([seen for seen, _ in pair])
    json.dumps(both(pair), allow_nan=False)
    assert [seen for seen, _ in pair] == before


def test_one_is_itself(pair: Pair) -> None:
    seen = pair[0][0]
    alone = cast(dict[str, Any], merged([seen]))
    assert alone["verdict"] == seen["verdict"]
    assert alone["databases"][0]["pool"] == seen["databases"][0]["pool"]
    assert set(seen) < set(alone)


def test_who_has_said_nothing_or_nothing_that_is_understood_is_told_of(pair: Pair) -> None:
    workers = [Worker("shop", number, Path("/nowhere")) for number in range(4)]
    answers = [
        Answer(workers[0], pair[0][0]),
        Answer(workers[1], None, "no answer within 1 s"),
        Answer(workers[2], {"format": 99, "version": "9.0"}),
        Answer(workers[3], ["?"]),
    ]
    seen = view(answers)
    assert seen is not None
    assert [each["pid"] for each in seen["processes"]] == [3]
    assert seen["silent"] == [
        {"pid": 1, "error": "no answer within 1 s"},
        {"pid": 2, "error": "its respool 9.0 speaks another form than this one"},
        {"pid": 3, "error": "its respool ? speaks another form than this one"},
    ]
    assert view(answers[1:]) is None
