"""The reference is complete: every setting, number, state, reason and extra that the code has, and none that it has not."""

from __future__ import annotations

import inspect
import re
import tomllib
from dataclasses import fields
from enum import Enum
from typing import Any

import pytest
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_asyncio

from respool import (
    AsyncDatabase,
    AsyncSession,
    Database,
    ObjectState,
    PoolConfig,
    Session,
    SessionObserver,
    SessionPhase,
)
from respool.config import UNLIMITED
from respool.ending.shield import DEADLINE
from respool.engine import AsyncFairPool, FairPool
from respool.pool import AsyncConnectionPool, CloseReason, ConnectionPool, ConnectionRow, PoolObserver, PoolStats
from respool.pool.core.backoff import Outage
from respool.scope.scope import ScopeState
from tests.docs.pages import ROOT

DOCS = ROOT / "docs"
SETTINGS, SESSION, POOL = (DOCS / "reference" / f"{name}.md" for name in ("settings", "session", "pool"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def prose(path: Any) -> str:
    """A page in one line, however it is wrapped."""
    return " ".join(path.read_text(encoding="utf-8").split())


def table(path: Any, heading: str) -> list[list[str]]:
    """The first table below a heading: a list of cells for each row."""
    text = path.read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert section, f"{path} has no section {heading}"
    rows = re.search(r"^\|.*\|\n\|[ :|-]+\|\n((?:\|.*\|\n?)+)", section, re.MULTILINE)
    assert rows, f"{path}: {heading} has no table"
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in rows[1].splitlines()]


def words(path: Any, heading: str) -> list[str]:
    """What stands in ticks in the first column, without arguments."""
    return [word for row in table(path, heading) for word in re.findall(r"`(\w+)", row[0])]


# -- settings ---------------------------------------------------------------------------------------------------------


def test_every_setting_is_there_with_its_default_and_its_variable() -> None:
    config = PoolConfig()
    shown = [[cell.strip("`| ") for cell in row[:4]] for row in table(SETTINGS, "PoolConfig")]
    expected = [[name, repr(getattr(config, name)), f"RESPOOL_{name.upper()}"] for name in PoolConfig.names()]
    assert [[name, default, variable] for name, _, default, variable in shown] == expected
    assert {unit for _, unit, _, _ in shown} == {"connections", "seconds", "callers"}


def test_every_setting_is_explained_in_order() -> None:
    explained = re.findall(r"^\* \*\*`(\w+)`\*\*: ", SETTINGS.read_text(encoding="utf-8"), re.MULTILINE)
    assert explained == PoolConfig.names()


def test_every_variable_is_read() -> None:
    config = PoolConfig.from_env({f"RESPOOL_{name.upper()}": "3" for name in PoolConfig.names()})
    assert {getattr(config, name) for name in PoolConfig.names()} == {3}


@pytest.mark.parametrize(
    "given, setting, value",
    [
        ({"pool_size": 5}, "max_size", 15),
        ({"max_overflow": 1}, "max_size", 6),
        ({"pool_size": 0}, "max_size", UNLIMITED),
        ({"max_overflow": -1}, "max_size", UNLIMITED),
        ({"pool_timeout": 3}, "timeout", 3.0),
        ({"pool_recycle": 3}, "max_lifetime", 3.0),
        ({"pool_recycle": -1}, "max_lifetime", None),
        ({"pool_pre_ping": True}, "check_after", 0.0),
        ({"pool_pre_ping": False}, "check_after", PoolConfig().check_after),
    ],
)
def test_sqlalchemys_names_mean_what_is_said(given: dict[str, Any], setting: str, value: Any) -> None:
    assert getattr(PoolConfig.of(given), setting) == value
    assert set(given) <= set(words(SETTINGS, "SQLAlchemy's names"))


@pytest.mark.parametrize("kind", [Database, AsyncDatabase])
def test_every_argument_of_a_database_is_there(kind: type) -> None:
    parameters = inspect.signature(kind).parameters
    arguments = {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    rows = table(SETTINGS, "Database and AsyncDatabase")[1:]
    assert [row[0].strip("`") for row in rows] == list(arguments)
    shown = {row[0].strip("`"): row[1].strip("`").strip('"') for row in rows if row[0] != "`pool`"}
    assert shown == {name: str(p.default) for name, p in arguments.items() if name != "pool"}


# -- sessions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, heading", [(SessionPhase, "SessionPhase"), (ObjectState, "ObjectState")])
def test_every_state_is_there(kind: type[Enum], heading: str) -> None:
    assert words(SESSION, heading) == [state.name for state in kind]


def test_every_scope_state_is_there() -> None:
    assert words(SESSION, "Scope states") == [state.name for state in ScopeState]


@pytest.mark.parametrize("kind, theirs", [(Session, orm.Session), (AsyncSession, sa_asyncio.AsyncSession)])
def test_a_session_has_the_members_that_are_listed_beside_sqlalchemys_and_no_other(kind: Any, theirs: Any) -> None:
    ours = {name for name in dir(kind) if not hasattr(theirs, name)}
    assert ours - {"_respool_life"} == set(words(SESSION, "Session"))
    assert {name for name in vars(Session()) if not hasattr(orm.Session(), name)} == {"_respool_life"}


def test_the_members_that_are_listed_exist() -> None:
    for name in words(SESSION, "Database"):
        for kind in (Database, AsyncDatabase):
            assert hasattr(kind, name) or name == "engine", name


def test_every_step_that_an_observer_hears_is_there() -> None:
    told = [row[0].strip("`") for row in table(SESSION, "SessionObserver")]
    methods = {name: m for name, m in vars(SessionObserver).items() if not name.startswith("_")}
    assert told == [f"{name}({', '.join(list(inspect.signature(m).parameters)[1:])})" for name, m in methods.items()]


def test_every_commit_policy_is_there() -> None:
    shown = [row[0].strip('`"') for row in table(SESSION, "Commit policies")]
    assert shown == ["manual", "on_success", "a function of `(status, exception)"]
    for policy in shown[:2]:
        Database("sqlite://", name="policies", commit=policy).close()  # type: ignore[arg-type]


# -- pools ------------------------------------------------------------------------------------------------------------


def test_every_number_is_there() -> None:
    assert words(POOL, "PoolStats") == [field.name for field in fields(PoolStats)]


def test_every_reason_is_there() -> None:
    assert words(POOL, "Why a connection was closed") == [reason.value for reason in CloseReason]


def test_every_field_of_a_row_is_there() -> None:
    assert words(POOL, "PoolSnapshot") == [field.name for field in fields(ConnectionRow)]


def test_everything_that_an_observer_hears_is_there() -> None:
    told = {row[0].strip("`") for row in table(POOL, "PoolObserver")}
    methods = {name: m for name, m in vars(PoolObserver).items() if not name.startswith("_")}
    assert told == {f"{name}({', '.join(list(inspect.signature(m).parameters)[1:])})" for name, m in methods.items()}


def test_everything_that_a_pool_can_do_is_there() -> None:
    shown = set(words(POOL, "What all can do"))
    for kind in (ConnectionPool, AsyncConnectionPool):
        public = {name for name in vars(kind) if not name.startswith("_")}
        assert shown == (public - {"acquire"}) | {"config"}
    for kind in (FairPool, AsyncFairPool):
        assert all(hasattr(kind, name) for name in shown - {"config"})
    assert {"awarm_up", "aclose"} <= set(dir(AsyncFairPool))


def test_every_argument_of_an_engines_pool_is_there() -> None:
    section = POOL.read_text(encoding="utf-8").partition("## FairPool and AsyncFairPool")[2].partition("\n## ")[0]
    stock = {
        *PoolConfig.names(),
        "pool_size",
        "max_overflow",
        "use_lifo",
        "recycle",
        "pre_ping",
        "creator",
        "kw",
        "self",
    }
    ours = set(inspect.signature(FairPool.__init__).parameters) - stock
    assert {name for name in ours if f"`{name}" not in section} == set()


def test_every_argument_of_a_pool_is_there() -> None:
    shown = [row[0].partition("`, ")[0].strip("`") for row in table(POOL, "ConnectionPool")]
    for kind in (ConnectionPool, AsyncConnectionPool):
        assert shown == [name for name in inspect.signature(kind).parameters if name != "settings"]


# -- explanations, the first page -------------------------------------------------------------------------------------


def test_the_pace_of_an_outage_is_as_told() -> None:
    assert "from a third of a second to five seconds" in prose(DOCS / "explanation" / "outages.md")
    assert (round(Outage.FIRST, 2), Outage.LONGEST) == (0.34, 5.0)


def test_the_deadline_of_an_end_is_as_told() -> None:
    assert "it has ten seconds (`finish_timeout`)" in prose(DOCS / "explanation" / "request-and-session.md")
    assert DEADLINE == 10.0


def test_every_extra_is_in_the_readme() -> None:
    shown = words(ROOT / "README.md", "Install")
    assert set(shown) | {"psycopg"} == set(PROJECT["optional-dependencies"]) - {"dev", "docs", "lowest", "release"}
    assert "`psycopg` without" in prose(ROOT / "README.md")


def test_the_readme_says_what_it_works_with() -> None:
    python = PROJECT["requires-python"].removeprefix(">=")
    assert f"Python {python} and newer. SQLAlchemy 2.0.41 to 2.1." in prose(ROOT / "README.md")
    assert PROJECT["dependencies"] == ["SQLAlchemy>=2.0.41,<2.2"]


def test_the_index_leads_to_every_page() -> None:
    """By itself, but for the pages of errors and findings: these have lists, by which it does."""
    linked = set(re.findall(r"\]\((\w[^)#]*\.md)\)", (DOCS / "index.md").read_text(encoding="utf-8")))
    for name in ("errors", "findings"):
        codes = re.findall(rf"\]\(({name}/\w+\.md)\)", (DOCS / "reference" / f"{name}.md").read_text("utf-8"))
        linked |= {f"reference/{code}" for code in codes}
    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} - {"index.md"}
    assert linked | {"benchmarks.md"} == there | {"benchmarks.md"}
