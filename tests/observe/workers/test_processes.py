"""Workers in processes of their own: put together, asked while nothing else goes on in them, forked, and killed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from respool.cli.main import main
from respool.observe.workers import ask, together, workers
from respool.observe.workers.places import AVAILABLE
from tests.observe.workers.conftest import PROGRAM, Running
from tests.support.processes import kill_all

pytestmark = pytest.mark.skipif(not AVAILABLE or not hasattr(os, "fork"), reason="this system has no such sockets")

Start = Callable[..., list[Running]]


def line_of(mark: str) -> str:
    """``worker.py:29``: the line with this remark."""
    for number, line in enumerate(PROGRAM.read_text(encoding="utf-8").splitlines(), 1):
        if line.endswith(f"# {mark}"):
            return f"worker.py:{number}"
    raise AssertionError(mark)


@pytest.mark.parametrize("count", [2, 4])
def test_the_workers_of_an_application_are_one_view(start: Start, count: int) -> None:
    running = start(count)
    start(1, application="other")
    for each in running:
        each.tell("hold", 1)
    seen = together("shop", within=30)
    assert seen is not None
    pids = {each.pid for each in running}
    assert {each["pid"] for each in seen["processes"]} == pids
    (shop,) = seen["databases"]
    assert (shop["pool"]["acquired"], shop["pool"]["max_size"], shop["pool"]["waiting"]) == (count, 2 * count, 0)
    held = [row for row in shop["connections"] if row["state"] == "acquired"]
    assert {row["pid"] for row in held} == pids
    assert {row["label"] for row in held} == {"GET /hold"}
    assert seen["silent"] == []


def test_a_blocked_loop_and_an_exhausted_pool_are_told_of(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    (running,) = start(1)
    running.tell("hold", 2)
    running.tell("queue", 3)
    running.tell("block")
    assert main(["top", "--once", "--json", "--app", "shop"]) == 0
    (seen,) = json.loads(capsys.readouterr().out)["applications"]
    shop = next(each for each in seen["databases"] if each["name"] == "shop")
    assert (shop["pool"]["acquired"], shop["pool"]["waiting"]) == (2, 3)
    assert main(["top", "--once", "--pid", str(running.pid)]) == 0
    shown = capsys.readouterr().out
    assert f"{line_of('HOLDS')} in hold()" in shown
    assert re.search(rf"   3 at \S*{line_of('WAITS')} in queue\(\)", shown)


def test_such_a_process_answers_its_probes(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    (running,) = start(1)
    running.tell("hold", 2)
    running.tell("queue", 3)
    running.tell("block")
    (answer,) = ask(workers("shop"), "health", within=30)
    shop, other = answer.value["databases"]
    assert (shop["name"], shop["figures"]["acquired"], shop["figures"]["waiting"]) == ("shop", 2, 3)
    assert shop["state"] in ("full", "exhausted")  # by how long that took
    assert other["name"] == "async"
    code = main(["probe", "ready", "--app", "shop", "--within", "30"])
    assert (code, "not ready" in capsys.readouterr().out) in ((0, False), (1, True))


def test_the_doctor_judges_processes_that_run(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    for each in start(3):
        each.tell("hold", 1)
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    main(["doctor", url, "--json"])
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert (plan["workers"], plan["pool"]["max_size"], plan["source"]) == (3, 2, "3 pools that run")
    main(["doctor", url, "--json", "--workers", "1"])
    assert json.loads(capsys.readouterr().out)["plan"]["source"] == "--workers"
    main(["doctor", "sqlite://", "--json"])
    assert json.loads(capsys.readouterr().out)["plan"]["source"].startswith("the defaults")


def test_a_forked_child_answers_for_itself(start: Start, sockets: Path) -> None:
    (running,) = start(1)
    running.tell("hold", 1)
    child = int(running.tell("fork"))
    answers = {answer.worker.pid: answer.value for answer in ask(workers(), within=30)}
    assert set(answers) == {running.pid, child}
    assert {pid: answer["process"]["pid"] for pid, answer in answers.items()} == {pid: pid for pid in answers}
    assert [answers[pid]["databases"][0]["pool"]["acquired"] for pid in (running.pid, child)] == [1, 0]
    assert answers[running.pid]["process"]["started"] < answers[child]["process"]["started"]
    kill_all([psutil.Process(child)])
    running.end()
    assert ask(workers(), within=30) == []
    assert list(sockets.iterdir()) == []


def test_what_a_killed_process_leaves_behind_is_removed(start: Start, sockets: Path) -> None:
    dead, alive = start(2)
    dead.end()
    assert len(list(sockets.iterdir())) == 2
    assert [answer.worker.pid for answer in ask(workers(), within=30)] == [alive.pid]
    assert [worker.pid for worker in workers()] == [alive.pid]


def test_the_next_worker_removes_it_as_well(start: Start, sockets: Path) -> None:
    (dead,) = start(1)
    dead.end()
    (alive,) = start(1)
    assert [worker.pid for worker in workers()] == [alive.pid]
