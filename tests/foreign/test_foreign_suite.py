"""The run of SQLAlchemy's suite finds what it is there to find; the suite itself is run by scripts/foreign_suite.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "foreign_suite.py"
TEST = "test/engine/test_pool.py::PoolTest::test_one"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("foreign_suite", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


suite: Any = load()
SQLITE, POSTGRES = suite.JOBS[0], suite.JOBS[2]


def verdict(*outcomes: tuple[str, str], **more: Any) -> Any:
    return suite.Verdict(
        SQLITE, "fair", [suite.Outcome(name, outcome, 0.1, "why") for name, outcome in outcomes], **more
    )


def entry(**values: Any) -> Any:
    return suite.Entry(**{"reason": "because", "promise": 9, **values})


def wrong(given: Any, *listed: str, whole: bool = True) -> list[str]:
    suite.judge(given, {name: entry() for name in listed}, whole=whole)
    words: list[str] = [line.split(": ")[0] for line in given.wrong]
    return words


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source distribution with one test in it."""
    file = tmp_path / TEST.partition("::")[0]
    file.parent.mkdir(parents=True)
    file.write_text("def test_one(): assert pool._pool.queue\n", encoding="utf-8")
    return tmp_path


def test_a_failure_is_wrong_unless_it_is_listed() -> None:
    assert wrong(verdict((TEST, "failed"))) == ["failed"]
    assert wrong(verdict((TEST, "failed")), TEST) == []


def test_a_listed_test_that_passes_is_wrong() -> None:
    assert wrong(verdict((TEST, "passed")), TEST) == ["passes, but is listed in allowed.toml"]
    assert wrong(verdict((TEST, "skipped")), TEST) == []


def test_a_listed_test_that_is_not_there_is_wrong_when_all_was_run() -> None:
    given = (TEST, "passed")
    assert wrong(verdict(given), f"{TEST}_more") == ["is listed in allowed.toml, but not there"]
    assert wrong(verdict(given), f"{TEST}_more", whole=False) == []
    assert wrong(verdict(given), "test/engine/test_other.py::PoolTest::test_two") == []


def test_what_goes_wrong_beside_a_test_is_wrong() -> None:
    given = (TEST, "passed")
    assert wrong(verdict(given, complaints=[(TEST, "illegal move")])) == [f"beside {TEST}"]
    assert wrong(verdict((TEST, "failed"), complaints=[(TEST, "in a thread")]), TEST) == []


def test_an_entry_gives_one_true_reason(source: Path) -> None:
    read = suite.Entry.read
    assert read(TEST, {"reason": "why", "private": "_pool.queue"}, source).private == "_pool.queue"
    for bad, said in [
        ({"reason": "why"}, "either private or promise"),
        ({"promise": 9}, "missing 1 required positional argument: 'reason'"),
        ({"reason": "why", "promise": 9, "private": "_pool.queue"}, "either private or promise"),
        ({"reason": "why", "promise": 9, "mode": "any"}, "mode is one of"),
        ({"reason": "why", "promise": 9, "because": "?"}, "unexpected keyword argument 'because'"),
        ({"reason": "why", "private": "_elsewhere"}, "does not mention '_elsewhere'"),
    ]:
        with pytest.raises(SystemExit, match=said):
            read(TEST, bad, source)


def test_an_entry_concerns_what_it_names() -> None:
    assert entry().concerns(SQLITE, "fair", "2.1.9")
    assert not entry(mode="as_queue_pool").concerns(SQLITE, "fair", "2.1.9")
    assert not entry(versions=("2.0.",)).concerns(SQLITE, "fair", "2.1.9")
    assert not entry(databases=(POSTGRES.name,)).concerns(SQLITE, "fair", "2.1.9")


def test_names_are_without_the_database() -> None:
    with_database = "test/engine/test_x.py::RealTest_postgresql+asyncpg_async_18_6::test_one[a_sqlite+b]"
    assert suite.generic(with_database) == "test/engine/test_x.py::RealTest::test_one[a_sqlite+b]"


def test_the_table_counts_each_test_once() -> None:
    given = verdict((TEST, "failed"), (f"{TEST}_b", "failed"), (f"{TEST}_c", "passed"), (f"{TEST}_d", "skipped"))
    suite.judge(given, {TEST: entry()}, whole=True)
    assert suite.table([given]).splitlines()[1].split() == [
        *("fair", "test/engine/test_pool.py"),
        *("1", "1", "1", "1"),
        "0",
    ]


def test_the_list_can_be_read() -> None:
    assert suite.read_allowed(Path("nowhere"))
