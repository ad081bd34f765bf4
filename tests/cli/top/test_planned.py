"""``respool explain --plan``: what it prints of running processes, and how it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from respool.cli.main import main
from respool.observe.format import Snapshot
from respool.observe.workers.places import AVAILABLE
from tests.cli.top.conftest import PLANS, process

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="this system has no such sockets")

Serve = Callable[[Snapshot], None]
OFF: dict[str, Any] = {
    "on": False, "advice": "write Database(…, plans=True)", "known": 0, "planned": 0, "obstacles": [], "statements": [],
}  # fmt: skip


def test_it_tells_of_all_statements_those_without_a_plan_first(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(process(41))
    serve(process(42))
    assert main(["explain", "--plan"]) == 0
    assert (
        capsys.readouterr().out
        == """\
shop, 2 processes, 2026-11-30 12:00:00 UTC
Database 'shop': plans are on; of 2 statements 1 planned.
  somebody listens to after_begin of Session: planned reads take longer
      do: listen otherwise

  NOT PLANNED, select: SELECT cart.id FROM cart\\u001b[2J
      why: it does not select one mapped class
      do: select a mapped class

  PLANNED, get: SELECT item.id FROM item WHERE item.id = ?
"""
    )


@pytest.mark.parametrize("text", ["item.id = ?", "select  ITEM.id", "WHERE"])
def test_it_tells_of_those_that_contain_a_text(serve: Serve, capsys: pytest.CaptureFixture[str], text: str) -> None:
    serve(process(41))
    assert main(["explain", "--plan", text]) == 0
    shown = capsys.readouterr().out
    assert "FROM item WHERE" in shown
    assert "cart" not in shown


def test_where_none_contains_it_it_says_which_are_known(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve(process(41))
    assert main(["explain", "--plan", "DELETE"]) == 1
    told = capsys.readouterr()
    assert "plans are on" in told.out
    assert told.err.startswith("No statement that is known contains 'DELETE'.\n")
    assert "executed once" in told.err


def test_where_plans_are_off_it_says_how_they_are_switched_on(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve(process(41, plans=OFF))
    assert main(["explain", "--plan"]) == 1
    told = capsys.readouterr()
    assert "Database 'shop': plans are off. Do: write Database(…, plans=True)" in told.out
    assert told.err.startswith("No statement is known.\n")


def test_json(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve(process(41))
    serve(process(42))
    serve(process(77, "mail", plans=OFF))
    assert main(["explain", "--plan", "item", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["format"] == 1
    mail, shop = shown["applications"]
    assert (mail["application"], mail["pids"], mail["databases"][0]["on"]) == ("mail", [77], False)
    assert (shop["application"], shop["pids"], shop["silent"]) == ("shop", [41, 42], [])
    (database,) = shop["databases"]
    assert (database["name"], database["known"], database["planned"]) == ("shop", 2, 1)
    assert database["obstacles"] == PLANS["obstacles"]
    assert database["statements"] == [{**PLANS["statements"][1], "pids": [41, 42]}]


def test_only_the_processes_that_are_wanted(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve(process(41))
    serve(process(77, "mail"))
    for wanted in (["--app", "mail"], ["--app", "mail", "--pid", str(os.getpid())]):
        assert main(["explain", "--plan", *wanted]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("mail, 1 process")
        assert "shop, " not in shown
    assert main(["explain", "--plan", "--pid", "1"]) == 1
    assert capsys.readouterr().err.startswith("No process of number 1 answers.")


def test_where_no_process_answers_it_says_how_to_be_seen(sockets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--plan"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("No process answers.\n")
    assert "observe(db)" in told.err
    assert main(["explain", "--plan", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"format": 1, "applications": []}


@pytest.mark.parametrize("line", [["P001", "--plan"], ["P001", "--json"], ["--app", "shop"], ["--pid", "1"]])
def test_what_does_not_go_together_is_refused(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explain", *line])
    assert ended.value.code == 2
    assert "--plan" in capsys.readouterr().err
