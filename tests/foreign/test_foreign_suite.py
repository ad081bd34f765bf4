"""The run of SQLAlchemy's suite finds what it is there to find; the suite itself is run by ``python -m tests.foreign``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.foreign import __main__ as command
from tests.foreign import running, source
from tests.foreign.__main__ import chosen, main, parse
from tests.foreign.allowed import BadEntry, Entry, read_allowed
from tests.foreign.source import NotToBeHad
from tests.foreign.suites import POOL, SESSION, SUITES, Job, Package, Run, Suite
from tests.foreign.verdicts import Outcome, Verdict, closing_line, generic, judge, table

TEST = "test/engine/test_pool.py::PoolTest::test_one"
SQLITE, POSTGRES = POOL.jobs[0], POOL.jobs[2]
RUN = Run(POOL, "fair", SQLITE)


def verdict(*outcomes: tuple[str, str], **more: Any) -> Verdict:
    return Verdict(RUN, [Outcome(name, outcome, 0.1, "why") for name, outcome in outcomes], **more)


def entry(**values: Any) -> Entry:
    return Entry(**{"reason": "because", "promise": 9, **values})


def wrong(given: Verdict, *listed: str, whole: bool = True) -> list[str]:
    judge(given, {name: entry() for name in listed}, whole=whole)
    return [line.split(": ")[0] for line in given.wrong]


@pytest.fixture
def distribution(tmp_path: Path) -> Path:
    """A source distribution with one test in it."""
    file = tmp_path / TEST.partition("::")[0]
    file.parent.mkdir(parents=True)
    file.write_text("def test_one(): assert pool._pool.queue\n", encoding="utf-8")
    return tmp_path


def test_a_failure_is_wrong_unless_it_is_listed() -> None:
    assert wrong(verdict((TEST, "failed"))) == ["failed"]
    assert wrong(verdict((TEST, "failed")), TEST) == []


def test_a_listed_test_that_passes_is_wrong() -> None:
    assert wrong(verdict((TEST, "passed")), TEST) == ["passes, but is listed in pool.toml"]
    assert wrong(verdict((TEST, "skipped")), TEST) == []


def test_a_listed_test_that_is_not_there_is_wrong_when_all_was_run() -> None:
    given = (TEST, "passed")
    assert wrong(verdict(given), f"{TEST}_more") == ["is listed in pool.toml, but not there"]
    assert wrong(verdict(given), f"{TEST}_more", whole=False) == []
    assert wrong(verdict(given), "test/engine/test_other.py::PoolTest::test_two") == []


def test_what_goes_wrong_beside_a_test_is_wrong() -> None:
    given = (TEST, "passed")
    assert wrong(verdict(given, complaints=[(TEST, "illegal move")])) == [f"beside {TEST}"]
    assert wrong(verdict((TEST, "failed"), complaints=[(TEST, "in a thread")]), TEST) == []


def test_what_fails_with_the_stock_classes_is_not_held_against_ours() -> None:
    broken = Job("sqlite", [], broken=[TEST])
    for outcome in ("failed", "passed"):
        given = Verdict(Run(POOL, "fair", broken), [Outcome(f"{TEST}[1]", outcome, 0.1, "why")])
        assert wrong(given) == []
    for outcome, said in (
        ("failed", []),
        ("passed", ["passes with the stock classes, but suites.py says that it does not"]),
    ):
        given = Verdict(Run(POOL, "stock", broken), [Outcome(f"{TEST}[1]", outcome, 0.1, "why")])
        assert wrong(given) == said


def test_where_reads_are_leased_some_have_to_be() -> None:
    for mode, leased, said in (("on_write", False, 1), ("on_write", True, 0), ("on_use", False, 0)):
        given = Verdict(Run(SESSION, mode, SQLITE), [Outcome(TEST, "passed", 0.1, "", leased)])
        judge(given, {}, whole=True)
        assert len(given.wrong) == said


def test_an_entry_gives_one_true_reason(distribution: Path) -> None:
    good = {"reason": "why", "private": "_pool.queue"}
    assert Entry.read(TEST, good, POOL, distribution).private == "_pool.queue"
    fair = {"reason": "why", "modes": ["fair"]}
    assert Entry.read(TEST, {**fair, "promise": 9}, POOL, distribution).promise == 9
    wrong_ones: list[tuple[dict[str, Any], str]] = [
        (fair, "either private or promise"),
        ({"promise": 9}, "missing 1 required positional argument: 'reason'"),
        ({**fair, "promise": 9, "private": "_pool.queue"}, "either private or promise"),
        ({"reason": "why", "promise": 9, "modes": ["any"]}, "modes are"),
        ({"reason": "why", "promise": 9}, "with as_queue_pool only a private name is a reason"),
        (
            {"reason": "why", "promise": 9, "modes": ["fair", "as_queue_pool"]},
            "with as_queue_pool only a private name is a reason",
        ),
        ({**good, "because": "?"}, "unexpected keyword argument 'because'"),
        ({**good, "databases": ["sqlyte"]}, "databases are"),
        ({"reason": "why", "private": "_elsewhere"}, "does not mention '_elsewhere'"),
    ]
    for bad, said in wrong_ones:
        with pytest.raises(BadEntry, match=said):
            Entry.read(TEST, bad, POOL, distribution)


def test_an_entry_concerns_what_it_names() -> None:
    assert entry().concerns(RUN, "2.1.9")
    assert not entry(modes=("as_queue_pool",)).concerns(RUN, "2.1.9")
    assert not entry(versions=("2.0.",)).concerns(RUN, "2.1.9")
    assert not entry(databases=(POSTGRES.name,)).concerns(RUN, "2.1.9")


def test_the_lists_can_be_read() -> None:
    assert read_allowed(POOL, Path("nowhere"))
    assert read_allowed(SESSION, Path("nowhere"))


def test_without_a_list_all_have_to_pass() -> None:
    assert read_allowed(Suite("unheard of", "plugin", ["fair"], []), Path("nowhere")) == {}


def test_names_are_without_the_database() -> None:
    with_database = "test/engine/test_x.py::RealTest_postgresql+asyncpg_async_18_6::test_one[a_sqlite+b]"
    assert generic(with_database) == "test/engine/test_x.py::RealTest::test_one[a_sqlite+b]"


def test_the_report_counts_each_test_once() -> None:
    given = verdict((TEST, "failed"), (f"{TEST}_b", "failed"), (f"{TEST}_c", "passed"), (f"{TEST}_d", "skipped"))
    judge(given, {TEST: entry()}, whole=True)
    assert table([given]).splitlines()[1].split() == [
        *("fair", "sqlite", "test/engine/test_pool.py"),
        *("1", "1", "1", "1", "0", "0"),
    ]
    assert closing_line([given], 1.0) == "== 1 failed, 1 passed, 1 skipped, 1 xfailed in 1.00s =="
    given.wrong.append("passes, but is listed")
    assert closing_line([given], 1.0).endswith("1 xfailed, 1 errors in 1.00s ==")
    of_a_folder = Verdict(Run(POOL, "fair", Job("sqlite", ["test/engine"])), given.outcomes)
    assert table([of_a_folder]).splitlines()[1].split() == [
        "fair",
        "sqlite",
        "test/engine",
        "1",
        "0",
        "2",
        "1",
        "0",
        "0",
    ]
    assert closing_line([], 1.0) == "== no tests ran in 1.00s =="


def test_one_may_choose() -> None:
    assert {run.suite.name for run in chosen(parse([]), "2.1.9")} == {suite.name for suite in SUITES}
    assert "stock" not in {run.mode for run in chosen(parse([]), "2.1.9")}
    assert [str(run) for run in chosen(parse(["--suite=session", "--mode=stock", "--only=sqlite"]), "2.1.9")] == [
        "session, stock, sqlite"
    ]


@pytest.mark.parametrize("version", ["2.0.58", "2.1.9"])
def test_each_database_is_run_once_in_a_mode(version: str) -> None:
    runs = [str(run) for run in chosen(parse(["--mode=stock"] + [f"--mode={m}" for m in SESSION.modes]), version)]
    assert len(runs) == len(set(runs))
    assert {job.name for job in SESSION.jobs_in("together", version)} == SESSION.databases


def test_a_job_is_for_some_modes_and_versions() -> None:
    small, large = Job("sqlite", ["small"]), Job("sqlite", ["large"], modes=["together"], versions=["2.1."])
    suite = Suite("a", "plugin", ["on_use", "together"], [large, small])
    assert suite.jobs_in("together", "2.1.9") == suite.jobs_in("stock", "2.1.9") == [large]
    assert suite.jobs_in("together", "2.0.58") == suite.jobs_in("on_use", "2.1.9") == [small]


def test_an_index_without_the_suite_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "CACHE", tmp_path)
    monkeypatch.setattr(command, "CACHE", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SystemExit, match="did not bring the source distribution") as failure:
        main(["--suite=pool"])
    assert failure.value.code not in (None, 0)
    with pytest.raises(NotToBeHad, match=r"did not bring what stands in needs\.txt"):
        source.fetch_needs()


class TestARun:
    """One run of a suite that is two lines long, with our classes in it and without."""

    @pytest.fixture
    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr(running, "CACHE", tmp_path)
        (tmp_path / "9.9").mkdir()
        distribution = tmp_path / "distribution"
        job = Job("sqlite", ["test/orm/test_session.py"])
        test = distribution / job.files[0]
        test.parent.mkdir(parents=True)
        (distribution / "test" / "conftest.py").write_text(
            "def pytest_addoption(parser): parser.addoption('--dburi')\n", encoding="utf-8"
        )

        def run(content: str, mode: str = "on_write", *options: str, suite: Suite = SESSION) -> Verdict:
            test.write_text(content, encoding="utf-8")
            given = Verdict(Run(suite, mode, job))
            running.run(given, distribution, "9.9", options)
            return given

        return run

    def test_what_each_test_came_to_is_noted(self, run: Any) -> None:
        given = run(
            "import logging, pytest\n"
            "from sqlalchemy.orm import Session, sessionmaker\n"
            "def test_ours(): assert type(Session()).__mro__[1].__module__ == 'respool.session.session'\n"
            "def test_of_a_maker(): assert isinstance(sessionmaker()(), Session)\n"
            "def test_mode(): assert not Session()._respool_life.begin.may_lease\n"
            "def test_skipped(): pytest.skip()\n"
            "def test_log(): logging.getLogger('respool.pool').error('oh')\n"
            "def test_lease():\n"
            "    from sqlalchemy import create_engine, select\n"
            "    with Session(create_engine('sqlite:///a.db')) as session: session.execute(select(1))\n",
        )
        assert given.counts() == {"passed": 4, "failed": 1, "skipped": 1}
        assert [outcome.test.rpartition(":")[2] for outcome in given.outcomes if outcome.leased] == ["test_lease"]
        assert [(test.rpartition(":")[2], text) for test, text in given.complaints] == [("test_log", "oh")]

    def test_a_run_without_our_classes_is_none(self, run: Any) -> None:
        with pytest.raises(running.NotRun, match="nothing of ours was made"):
            run("def test_nothing(): pass")
        assert run("def test_nothing(): pass", "stock").counts() == {"passed": 1}

    def test_a_package_that_is_not_installed_is_tested_from_its_distribution(self, run: Any, tmp_path: Path) -> None:
        package = Package("model", "1.0", parts=("test", "src"), path=("src",))
        (tmp_path / "distribution" / "src").mkdir()
        (tmp_path / "distribution" / "src" / "model.py").write_text("from sqlalchemy.orm import Session")
        given = run(
            "import os, model\n"
            "def test_ours(): assert type(model.Session()).__mro__[1].__module__ == 'respool.session.session'\n"
            "def test_url(): assert os.environ['DATABASE_URL'] == 'sqlite:///suite.db'\n",
            suite=Suite("model", "swap_session", ["on_write"], [], package),
        )
        assert given.counts() == {"passed": 2}

    def test_a_run_that_breaks_off_is_none(self, run: Any) -> None:
        with pytest.raises(running.NotRun, match="did not run to its end, status 3"):
            run("import os\ndef test_end(): os._exit(3)")
