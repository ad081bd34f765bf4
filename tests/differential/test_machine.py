"""The machine itself: SQLAlchemy differs from nothing but faults, programs are their own text, allowed is what is listed."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import orm

from respool.session.loading import running
from tests.differential import model
from tests.differential.allowed import RULES
from tests.differential.arena import Arena
from tests.differential.conftest import marks_of
from tests.differential.faults import FAULTS, HIDDEN, HangsAtCommit, HangsWhateverComes
from tests.differential.limits import STOCK as STOCK_SECONDS
from tests.differential.limits import TookTooLong, limit
from tests.differential.model import Act, Close, Commit, Get, Listener, Program, Query, Setup, flat, text
from tests.differential.programs import program
from tests.differential.search import kind_of, search, smaller
from tests.differential.sides import Ours, Stock

STOCK = {
    "sqlite": 60,
    "aiosqlite": 40,
    "psycopg": 25,
    "psycopg_async": 25,
    "psycopg2": 25,
    "asyncpg": 25,
    "mariadb": 25,
}
DRIVERS = [pytest.param(name, marks=marks_of(name)) for name in STOCK]


@pytest.mark.parametrize("driver", DRIVERS)
def test_sqlalchemy_does_not_differ_from_itself(driver: str, server_of: Any) -> None:
    with Arena(driver, server_of(driver), ours=Stock()) as arena:
        tally = search(arena, range(STOCK[driver]))
    assert tally.found is None, str(tally.found)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str) -> None:
    with Arena("sqlite", ours=FAULTS[fault]) as arena:
        tally = search(arena, range(400))
    assert tally.found is not None, f"not within {tally.programs} programs"


def test_a_fault_of_plans_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def beside_the_transaction(session: Any, life: Any, plans: Any, plan: Any) -> bool:
        return bool(plan.may_stand_alone()) and getattr(plans.engine.pool, "lends_bare", False)

    monkeypatch.setattr(running, "may_be_lent", beside_the_transaction)
    with Arena("sqlite") as arena:
        tally = search(arena, range(400))
    assert tally.found is not None, f"not within {tally.programs} programs"


@pytest.mark.parametrize("fault", [pytest.param(name, marks=marks_of(driver)) for name, (driver, *_) in HIDDEN.items()])
def test_a_fault_is_found_behind_a_difference_that_is_meant(fault: str, server_of: Any) -> None:
    driver, session_class, program = HIDDEN[fault]
    with Arena(driver, server_of(driver)) as arena:
        assert arena.compare(program) == []
    with Arena(driver, server_of(driver), ours=Ours(session_class)) as arena:
        assert arena.compare(program) != []


@pytest.mark.parametrize("driver", ["sqlite", "aiosqlite"])
def test_a_program_that_hangs_on_ours_is_a_difference(driver: str) -> None:
    program = Program(steps=(Get("Widget", 1), Commit()))
    with Arena(driver, ours=Stock(HangsAtCommit), seconds=(STOCK_SECONDS, 0.2)) as arena:
        found = arena.compare(program)
        assert [difference.what for difference in found] == ["hung"]
        assert arena.compare(replace(program, steps=(Get("Widget", 1),))) == []  # the next one runs as ever


@pytest.mark.parametrize("driver", ["sqlite", "aiosqlite"])
def test_a_program_that_hangs_on_sqlalchemy_is_skipped(driver: str) -> None:
    program = Program(steps=(Commit(),))
    with Arena(driver, stock=Stock(HangsAtCommit), seconds=(0.2, 0.2)) as arena:
        assert arena.compare(program) == []
        assert arena.skipped == 1
        assert arena.compare(replace(program, steps=(Get("Widget", 1),))) == []
        assert arena.skipped == 1


@pytest.mark.usefixtures("nobody_is_told")
def test_a_program_whose_finalizers_call_each_other_is_skipped() -> None:
    """SQLAlchemy's pool makes one more for each connection that a listener has not let it invalidate."""
    listeners = Listener("pool", "reset", Act("raise")), Listener("pool", "invalidate", Act("fail", "execute"))
    steps = Query("Gauge", "count"), Close(), Get("Part", 2)
    with Arena("sqlite", seconds=(1.0, 5.0)) as arena:
        assert arena.compare(Program(Setup(reset=None), listeners, steps)) == []
        assert arena.skipped == 1


def test_a_limit_that_another_error_hides_is_one() -> None:
    def hides() -> None:
        try:
            threading.Event().wait()
        except TookTooLong:
            raise KeyError("an error of what is left") from None

    with pytest.raises(TookTooLong), limit(0.05):
        hides()


def test_nobody_listens_any_more_once_a_program_has_hung() -> None:
    program = Program(listeners=(Listener("sessions", "before_commit"),), steps=(Commit(),))
    listening = len(list(orm.Session().dispatch.before_commit))
    with Arena("aiosqlite", stock=Stock(HangsWhateverComes), seconds=(0.2, 0.2)) as arena:
        assert arena.compare(program) == []
    assert len(list(orm.Session().dispatch.before_commit)) == listening


def test_a_program_is_its_text() -> None:
    for number in range(50):
        made = program("psycopg", number)
        assert eval(text(made), vars(model)) == made


def test_a_program_that_differs_is_made_small() -> None:
    with Arena("sqlite", ours=FAULTS["loaded values survive a rollback"]) as arena:
        found = search(arena, range(400)).found
        assert found is not None
        small = smaller(arena, found)
    assert kind_of(small) == kind_of(found)
    assert len(flat(small.program.steps)) <= 3
    assert small.program.setup == model.Setup()


def test_the_documents_say_which_differences_are_meant() -> None:
    page = (Path(__file__).parents[2] / "docs/explanation/leases.md").read_text()
    section = page.partition("## What is different\n")[2].partition("\n\nAll else")[0]
    assert [" ".join(line.split()) for line in section.split("\n* ")[1:]] == [rule.sentence for rule in RULES]


def test_few_differences_are_meant() -> None:
    assert len(RULES) <= 8
    assert len({rule.name for rule in RULES}) == len({rule.sentence for rule in RULES}) == len(RULES)
