"""Runs SQLAlchemy's own test suite on FairPool and AsyncFairPool.

Usage: python scripts/foreign_suite.py [--version 2.0.58] [--only DATABASE] [--mode MODE] [--stock] [-k EXPRESSION]

The suite is in SQLAlchemy's source distribution, not in its wheel: pip fetches that once, into .foreign/VERSION/.  What is
tested is the wheel: the installed one, or with --version another one, in a virtual environment of its own.  Our pools
are put in the place of the stock ones by tests/foreign/swap_pool.py, and the whole is run in two modes: with
``as_queue_pool=True``, and with our defaults, which do better here and there and so fail where the suite says otherwise.

Every test has to pass.  Those that cannot stand in tests/foreign/allowed.toml, each with its reason; one of them that
passes is an error too, so that the list stays true.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
import venv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".foreign"
PLUGIN = ROOT / "tests" / "foreign"
ALLOWED = PLUGIN / "allowed.toml"

#: What the suite needs beside SQLAlchemy, when it gets an environment of its own.
REQUIREMENTS = ["pytest", "pytest-timeout", "greenlet", "aiosqlite", "asyncpg", "psycopg[binary]"]

MODES = ("as_queue_pool", "fair")

ENGINE = [f"test/engine/test_{name}.py" for name in ("pool", "reconnect", "logging", "execute", "parseconnect")]
ENGINE_ON_A_SERVER = [*ENGINE[1:], "test/engine/test_transaction.py"]
ASYNCIO = ["test/ext/asyncio", "test/base/test_concurrency*.py"]  # the latter's name changed with 2.1


@dataclass(frozen=True)
class Job:
    """What is run on one database.

    Args:
        name: of the database and its driver.
        files: what is run, as patterns.
        database: the suite's option for it; ``{url}`` stands for a PostgreSQL server's.
        left_out: tests that fail with the stock pools too.
    """

    name: str
    files: Sequence[str]
    database: str
    left_out: Sequence[str] = ()

    @property
    def needs_postgres(self) -> bool:
        return self.name.startswith("postgresql")


JOBS = [
    Job(
        "sqlite",
        [*ENGINE, "test/engine/test_transaction.py"],
        "--db=sqlite_file",
        # "database is locked", by a connection that a test before it left open
        left_out=["test/engine/test_reconnect.py::InvalidateDuringResultTest"],
    ),
    Job("aiosqlite", ASYNCIO, "--db=aiosqlite_file"),
    Job("postgresql+psycopg", ENGINE_ON_A_SERVER, "--dburi={url}"),
    Job("postgresql+asyncpg", [*ENGINE_ON_A_SERVER, *ASYNCIO], "--dburi={url}"),
]


class NotRun(Exception):
    """The suite did not run to its end."""


@dataclass(frozen=True)
class Outcome:
    """What one test came to."""

    test: str
    outcome: str
    seconds: float
    message: str


@dataclass
class Verdict:
    """A run held against the list."""

    job: Job
    mode: str
    outcomes: list[Outcome] = field(default_factory=list)
    complaints: list[tuple[str, str]] = field(default_factory=list)  #: of our pools, beside the tests
    listed: list[Outcome] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


# -- the suite ---------------------------------------------------------------------------------------------------------


def fetch_suite(version: str) -> Path:
    """The unpacked source distribution of an SQLAlchemy version; fetched when it is not there yet."""
    folder = CACHE / version
    source = folder / f"sqlalchemy-{version}"
    if (source / ".complete").exists():
        return source
    folder.mkdir(parents=True, exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n", encoding="utf-8")
    print(f"Fetching the source of SQLAlchemy {version}, once", flush=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--no-deps", "--no-binary=sqlalchemy", f"--dest={folder}", f"sqlalchemy=={version}"])
    (archive,) = folder.glob("[sS][qQ][lL][aA]lchemy-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
        unpacked = folder / tar.getnames()[0].split("/")[0]
    if unpacked != source:
        unpacked.rename(source)
    (source / ".complete").touch()
    return source


def interpreter(version: str) -> Path:
    """The Python that has this SQLAlchemy: the running one, or that of a virtual environment made for it."""
    if version == installed_version("sqlalchemy"):
        return Path(sys.executable)
    folder = CACHE / version / "venv"
    python = folder / "bin" / "python"
    stamp = folder / ".complete"
    if not stamp.exists():
        print(f"Making an environment with SQLAlchemy {version}, once", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        limits = folder / "constraints.txt"
        lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        limits.write_text("\n".join(line for line in lines if not line.lower().startswith("sqlalchemy==")) + "\n")
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"--constraint={limits}"]
        run([*pip, f"sqlalchemy=={version}", *REQUIREMENTS])
        stamp.touch()
    return python


def run(command: Sequence[str]) -> None:
    """Run a command that has to succeed."""
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nended with status {done.returncode}")


@contextmanager
def postgres_url(job: Job) -> Iterator[str]:
    """A server's URL for a job that needs one."""
    if not job.needs_postgres:
        yield ""
        return
    import psycopg

    sys.path.insert(0, str(ROOT))
    from tests.support.postgres import PostgresServer

    with PostgresServer({"max_prepared_transactions": "20"}) as server:
        server.create_database("suite")
        with psycopg.connect(server.url(driver=None, database="suite"), autocommit=True) as connection:
            for thing in ("SCHEMA test_schema", "SCHEMA test_schema_2", "EXTENSION hstore", "EXTENSION citext"):
                connection.execute(f"CREATE {thing}".encode())
        yield server.url(driver=job.name.partition("+")[2], database="suite")


def run_job(verdict: Verdict, python: Path, source: Path, options: Sequence[str]) -> None:
    """Run the suite once, and note what every test came to.

    Raises:
        NotRun: it ended before its time, or none of our pools was in it.
    """
    job, mode = verdict.job, verdict.mode
    log = source.parent / f"{job.name}-{mode}.log"
    results = log.with_suffix(".json")
    results.unlink(missing_ok=True)
    with postgres_url(job) as url, log.open("w", encoding="utf-8") as output:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTEST_"))}
        environment |= {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(PLUGIN)]),
            "FOREIGN_MODE": mode,
            "FOREIGN_RESULTS": str(results),
        }
        # -s: the suite's conftest.py then leaves the installed SQLAlchemy alone, and does not take the source's lib/.
        command = [str(python), "-s", "-m", "pytest", "-p", "swap_pool", "-p", "no:cacheprovider", "-p", "no:logging"]
        command += ["--tb=native", "--timeout=60", "-q", job.database.format(url=url), *options]
        command += [str(path.relative_to(source)) for pattern in job.files for path in sorted(source.glob(pattern))]
        command += [f"--deselect={test}" for test in job.left_out]
        done = subprocess.run(
            command, cwd=source, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode not in (0, 1, 5) or not results.exists():  # 1: tests failed; 5: -k found none
        end = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
        raise NotRun(f"did not run to its end, status {done.returncode}; its log {log} ends with:\n{end}")
    found = json.loads(results.read_text(encoding="utf-8"))
    if mode in MODES and found["tests"] and not found["pools_made"]:
        raise NotRun(f"no pool of ours was made: the names were not replaced; see {log}")
    verdict.outcomes = [Outcome(generic(name), **test) for name, test in found["tests"].items()]
    verdict.complaints = [(generic(name), text) for name, text in found["complaints"]]


def generic(name: str) -> str:
    """A test's name without the database that the suite writes into it."""
    return re.sub(r"_(?:sqlite|postgresql)\+\w+?(?=::)", "", name)


# -- the list ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A test that may fail.

    Args:
        reason: what it asks for that is not so here.
        private: the private name that it pokes at; it has to stand in the test's file.
        promise: or the promise of ours, by its number, that it contradicts.
        mode: in which it fails; none: both.
        versions: of SQLAlchemy in which it fails, by their beginning; none: all.
        databases: on which it fails; none: all.
    """

    reason: str
    private: str = ""
    promise: int = 0
    mode: str = ""
    versions: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()

    @classmethod
    def read(cls, name: str, values: Mapping[str, Any], source: Path) -> Entry:
        """One entry of the list, refused when it gives no true reason."""
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        try:
            entry = cls(**arguments)
        except TypeError as error:
            sys.exit(f"{ALLOWED.name}: {name}: {error}")
        if not entry.reason or bool(entry.private) == bool(entry.promise) or entry.mode not in ("", *MODES):
            sys.exit(f"{ALLOWED.name}: {name}: needs a reason, and either private or promise; mode is one of {MODES}")
        file = source / name.partition("::")[0]
        if entry.private and file.exists() and entry.private not in file.read_text(encoding="utf-8"):
            sys.exit(f"{ALLOWED.name}: {name}: its file does not mention {entry.private!r}")
        return entry

    def concerns(self, job: Job, mode: str, version: str) -> bool:
        return (
            self.mode in ("", mode)
            and (not self.versions or version.startswith(self.versions))
            and (not self.databases or job.name in self.databases)
        )


def read_allowed(source: Path) -> dict[str, Entry]:
    """The list: names of tests, and what is said of them."""
    content = tomllib.loads(ALLOWED.read_text(encoding="utf-8"))
    return {name: Entry.read(name, values, source) for name, values in content.items()}


def judge(verdict: Verdict, expected: Mapping[str, Entry], *, whole: bool) -> None:
    """Hold a run against the list; ``whole``: nothing was left out, so every listed test has to be in it."""
    for result in verdict.outcomes:
        if result.outcome == "failed" and result.test in expected:
            verdict.listed.append(result)
        elif result.outcome == "failed":
            verdict.wrong.append(f"failed: {result.test}\n        {result.message}")
        elif result.outcome == "passed" and result.test in expected:
            verdict.wrong.append(f"passes, but is listed in {ALLOWED.name}: {result.test}")
    for test, text in verdict.complaints:
        if test not in expected:
            verdict.wrong.append(f"beside {test}: {text}")
    ran = {result.test for result in verdict.outcomes}
    files = {name.partition("::")[0] for name in ran}
    if whole:
        for name in expected:
            if name not in ran and name.partition("::")[0] in files:
                verdict.wrong.append(f"is listed in {ALLOWED.name}, but not there: {name}")


# -- the report --------------------------------------------------------------------------------------------------------


def table(verdicts: Sequence[Verdict]) -> str:
    """One line per mode and file, over all databases."""
    rows: list[tuple[str, ...]] = [("mode", "file", "passed", "listed", "failed", "skipped", "seconds")]
    results = [(verdict, result) for verdict in verdicts for result in verdict.outcomes]
    for mode, file in sorted({(verdict.mode, result.test.partition("::")[0]) for verdict, result in results}):
        mine = [(v, r) for v, r in results if v.mode == mode and r.test.startswith(f"{file}::")]
        count = Counter("listed" if result in verdict.listed else result.outcome for verdict, result in mine)
        numbers = [str(count[kind]) for kind in ("passed", "listed", "failed", "skipped")]
        rows.append((mode, file, *numbers, f"{sum(result.seconds for _, result in mine):.0f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(w) if n < 2 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Runs SQLAlchemy's own test suite on respool's pools.")
    parser.add_argument("--version", default=installed_version("sqlalchemy"), help="of SQLAlchemy; default: installed")
    parser.add_argument("--only", action="append", choices=[job.name for job in JOBS], help="this database only")
    parser.add_argument("--mode", action="append", choices=MODES, help="this mode only")
    parser.add_argument("--stock", action="store_true", help="run the stock pools instead, to compare")
    parser.add_argument("-k", metavar="EXPRESSION", help="pytest's -k: these tests only")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server and the suite are ended as well
    options = parse(arguments)
    source = fetch_suite(options.version)
    python = interpreter(options.version)
    allowed = {} if options.stock else read_allowed(source)
    selection = [f"-k={options.k}"] if options.k else []
    jobs = [job for job in JOBS if not options.only or job.name in options.only]
    verdicts = []
    for mode in ("stock",) if options.stock else options.mode or MODES:
        for job in jobs:
            began = time.monotonic()
            print(f"SQLAlchemy {options.version}, {mode}, {job.name}:", end=" ", flush=True)
            verdict = Verdict(job, mode)
            verdicts.append(verdict)
            try:
                run_job(verdict, python, source, selection)
            except NotRun as error:
                verdict.wrong.append(str(error))
            expected = {name: entry for name, entry in allowed.items() if entry.concerns(job, mode, options.version)}
            judge(verdict, expected, whole=not options.k)
            print(f"{len(verdict.outcomes)} tests in {time.monotonic() - began:.0f} s", flush=True)
    print(f"\n{table(verdicts)}")
    wrong = [f"{verdict.mode}, {verdict.job.name}: {line}" for verdict in verdicts for line in verdict.wrong]
    if wrong:
        print("\n" + "\n".join(wrong) + f"\n\n{len(wrong)} wrong; tracebacks: {source.parent}/*.log")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
