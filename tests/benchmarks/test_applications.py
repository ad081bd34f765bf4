"""The comparison of applications: what is asked for is checked, and what a peer does wrong is seen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks import report
from benchmarks.applications import external
from benchmarks.applications.load import Answers, Ask
from benchmarks.applications.options import choose
from benchmarks.applications.peers import ASYNCIO, PEERS, THREADS, Peer, missing
from benchmarks.applications.questions import questions
from benchmarks.applications.sampling import Field
from benchmarks.applications.workloads import LOADS
from benchmarks.correctness.cases import CASES, Case
from benchmarks.correctness.place import Place
from benchmarks.correctness.table import section
from benchmarks.rounds import Budget, Row, Rows
from tests.support.postgres import PostgresServer

BY_NAME = {case.name: case for case in CASES}
LOAD_BY_NAME = {load.name: load for load in LOADS}


# -- what needs no server


def test_an_answer_with_something_else_in_it_is_wrong() -> None:
    answers = Answers()
    ask = Ask("GET", "/items/1", b'"item 1"')
    answers.note(ask, 200, b'{"name":"item 1"}', 0.1)
    answers.note(ask, 200, b'{"name":"item 2"}', 0.1)
    answers.note(ask, 500, b"", 0.1)
    answers.note(ask, 0, b"", 0.1)
    assert (len(answers.took), answers.wrong, answers.errors) == (1, 1, 2)


def test_a_list_with_a_row_too_few_is_wrong() -> None:
    answers = Answers()
    ask = LOAD_BY_NAME["list-100"].asks()
    answers.note(ask, 200, b'"item 1"' * 100, 0.1)
    answers.note(ask, 200, b'"item 1"' * 99, 0.1)
    assert (len(answers.took), answers.wrong) == (1, 1)


def test_who_was_told_that_a_row_is_saved_is_remembered() -> None:
    answers = Answers()
    first, second = (LOAD_BY_NAME["write-one"].asks() for _ in range(2))
    answers.note(first, 200, first.proof, 0.1)
    answers.note(second, 500, b"", 0.1)
    assert (answers.done, answers.not_done) == ({first.token}, {second.token})


@pytest.mark.parametrize("key", PEERS)
def test_a_peer_says_what_it_needs(key: str) -> None:
    peer = PEERS[key]
    assert peer.group in (ASYNCIO, THREADS)
    assert set(peer.without) <= {case.name for case in CASES}
    assert peer.packages


def test_a_peer_that_is_not_installed_is_left_out_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "none", Peer("none", "None", ASYNCIO, ("there-is-no-such-package",)))
    found, left_out = choose(["respool", "none"])
    assert [peer.key for peer in found] == ["respool"]
    assert left_out == {"none": "not installed: there-is-no-such-package"}
    told = report.conditions_of({"conditions": dict.fromkeys(CONDITIONS, "x") | {"versions": {}}, "left_out": left_out})
    assert told.endswith("Left out: none (not installed: there-is-no-such-package).\n")


CONDITIONS = ("command", "date", "python", "system", "cores", "cpu", "load_before")


def load_rows(ours: float, theirs: float, mapper: float) -> Rows:
    figures = ("rate", "p50", "p99", "max", "cpu", "errors", "wrong", "later", "untrue", "memory")
    rows = Rows()
    for key, slowdown in (("respool", ours), ("depends", theirs), ("tortoise", mapper)):
        row = Row(PEERS[key].group, PEERS[key].name, key, PEERS[key].ours)
        row.add(dict.fromkeys(figures, 1.0) | {"slowdown": slowdown, "connections": 5, "idle": 0 if row.ours else 5})
        rows.append(row)
    return rows


def measured(rows: Rows, name: str = "read-call-read") -> str:
    question = next(questions(Field.__new__(Field), [name]))
    return report.table(report.as_plain(question, rows))


def test_each_row_has_the_command_that_measures_it_alone() -> None:
    table = measured(load_rows(1.0, 6.0, 1.0))
    assert "`python -m benchmarks.applications --only read-call-read --peers respool,depends` |" in table
    assert "`python -m benchmarks.applications --only read-call-read --peers respool` |" in table


@pytest.mark.parametrize("theirs, met", [(6.0, True), (4.0, False)])
def test_a_target_that_is_missed_is_said_to_be(theirs: float, met: bool) -> None:
    (line,) = [line for line in measured(load_rows(1.0, theirs, 0.1)).splitlines() if "at least 5 ×" in line]
    assert line.endswith("| met |" if met else "| **not met** |")


def test_other_mappers_are_beside_us_and_not_a_target() -> None:
    table = measured(load_rows(1.0, 2.0, 0.1), "shop")
    assert "0.5× | met" in table
    assert "10× |" not in table


def test_wrk_asks_for_the_shares_of_the_shop() -> None:
    script = external._script({"read-one": 90, "write-one": 10})
    assert "local below = { 90, 100 }" in script
    assert 'return "POST", "/orders/w"' in script


def cell(case: str, peer: str, right: bool | None) -> dict[str, object]:
    found = {"case": case, "peer": peer, "name": peer, "ours": peer == "respool", "right": right, "what": "it happened"}
    return found | {"command": f"--only {case} --peers {peer}"}


@pytest.mark.parametrize("right, said", [(True, "1 of 1: met."), (False, "0 of 1: **not met**.")])
def test_the_table_says_where_we_are_wrong(right: bool, said: str) -> None:
    cells = [cell("a", "respool", right), cell("b", "respool", None), cell("a", "x", True), cell("b", "x", False)]
    cases = [{"name": name, "title": name, "text": "It is done."} for name in ("a", "b")]
    text = section({"cases": cases, "cells": cells})
    assert said in text
    assert "| x | right | **wrong** |" in text
    assert "| x | **wrong** | it happened | `--only b --peers x` |" in text


# -- real applications


@pytest.fixture
def able(postgres: PostgresServer) -> PostgresServer:
    """A server, where the applications can be served at all."""
    lacking = {package for key in ("respool", "depends", "raw-psycopg") for package in missing(PEERS[key])}
    if lacking:
        pytest.skip(f"not installed: {', '.join(sorted(lacking))}")
    return postgres


@pytest.fixture
def field(able: PostgresServer) -> Iterator[Field]:
    made = Field(able, [PEERS[key] for key in ("respool", "depends", "raw-psycopg")])
    try:
        assert made.start() == {}
        yield made
    finally:
        made.stop()


@pytest.mark.postgres
@pytest.mark.slow
def test_each_workload_has_right_answers(field: Field) -> None:
    for question in questions(field, ["read-one", "list-100", "write-one", "read-call-read", "shop"]):
        rows = question.run(Budget(quick=True))
        assert [row.key for row in rows] == ["respool", "depends", "raw-psycopg"]
        for row in rows:
            assert row.median("rate") > 0
            assert {figure: row.median(figure) for figure in ("errors", "wrong", "untrue")} == {
                "errors": 0, "wrong": 0, "untrue": 0,
            }  # fmt: skip


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.parametrize("key, right", [("respool", True), ("depends", False)])
def test_a_refused_commit_is_seen_behind_a_200(able: PostgresServer, key: str, right: bool) -> None:
    case: Case = BY_NAME["false-200"]
    with Place(PEERS[key], able) as place:
        assert case.judge(place).right is right
