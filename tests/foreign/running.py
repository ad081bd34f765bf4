"""One run of a suite: in a copy of its own, on a database of its own, by a pytest of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.foreign.source import CACHE, ROOT, fetch_needs
from tests.foreign.suites import FOLDER, SQLALCHEMY, STOCK, Job, Suite
from tests.foreign.verdicts import Outcome, Verdict, generic
from tests.support.postgres import PostgresServer

__all__ = ["NotRun", "end_all", "log_of", "run"]

#: A folder in memory, where there is one: SQLite waits for the disk at each commit.
MEMORY = Path("/dev/shm")

_under_way: set[subprocess.Popen[bytes]] = set()


class NotRun(Exception):
    """The suite did not run to its end."""


def log_of(verdict: Verdict, version: str) -> Path:
    """The file that pytest's output goes to."""
    return CACHE / version / f"{verdict.run.file_name}.log"


def run(verdict: Verdict, source: Path, version: str, options: Sequence[str]) -> None:
    """Run a suite once, and note what every test came to.

    Raises:
        NotRun: it ended before its time, or none of our classes was in it.
    """
    log = log_of(verdict, version)
    results = log.with_suffix(".json")
    results.unlink(missing_ok=True)
    suite, job = verdict.run.suite, verdict.run.job
    with _copy(source, suite) as folder, _postgres(job) as server, log.open("w", encoding="utf-8") as output:
        child = subprocess.Popen(
            [*_command(verdict, folder, job.url(server)), *options],
            cwd=folder,
            env=_environment(verdict, folder, results, job.url(server)),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _under_way.add(child)
        status = child.wait()
        _under_way.discard(child)
    if status not in (0, 1, 5) or not results.exists():  # 1: tests failed; 5: -k found none
        end = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
        raise NotRun(f"did not run to its end, status {status}; its log {log} ends with:\n{end}")
    found = json.loads(results.read_text(encoding="utf-8"))
    if verdict.run.mode != STOCK and found["tests"] and not found["made"]:
        raise NotRun(f"nothing of ours was made: the names were not replaced; see {log}")
    verdict.outcomes = [Outcome(generic(name), **test) for name, test in found["tests"].items()]
    verdict.complaints = [(generic(name), text) for name, text in found["complaints"]]


def end_all() -> None:
    """End the runs that are under way."""
    for child in list(_under_way):
        child.terminate()


def _command(verdict: Verdict, folder: Path, url: str) -> list[str]:
    job, suite = verdict.run.job, verdict.run.suite
    # -s: the suite's conftest.py then leaves the installed SQLAlchemy alone, and does not take the source's lib/.
    command = [sys.executable, "-s", "-m", "pytest", "-q", "--tb=native", "-ppytest_timeout", "--timeout=180"]
    command += [f"-p{plugin}" for plugin in (*suite.plugins(verdict.run.mode), "no:cacheprovider")]
    command += [f"--deselect={test}" for test in job.left_out]
    if suite.package is SQLALCHEMY:
        command += ["-pno:logging", f"--dburi={url}"]
    return command + [str(path.relative_to(folder)) for pattern in job.files for path in sorted(folder.glob(pattern))]


def _environment(verdict: Verdict, folder: Path, results: Path, url: str) -> dict[str, str]:
    package = verdict.run.suite.package
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTEST_"))}
    path = [ROOT / "src", FOLDER / "plugins", *(folder / part for part in package.path)]
    if package.has_needs:
        path.append(fetch_needs())
    return ours | {
        "DATABASE_URL": url,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "FOREIGN_MODE": verdict.run.mode,
        "FOREIGN_RESULTS": str(results),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # their import takes longer than many a run
    }


@contextmanager
def _copy(source: Path, suite: Suite) -> Iterator[Path]:
    """The suite in a folder of its own: it leaves SQLite files in the working directory."""
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="respool-foreign-", dir=place) as name:
        folder = Path(name)
        for part in suite.package.parts:
            original = source / part
            if original.is_dir():
                shutil.copytree(original, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.db"))
            elif original.exists():
                shutil.copy(original, folder)
        yield folder


@contextmanager
def _postgres(job: Job) -> Iterator[str]:
    """The URL of a database on a server of its own, for a job that needs one."""
    if not job.needs_postgres:
        yield ""
        return
    with PostgresServer({"max_prepared_transactions": "20"}) as server:
        server.create_database("suite")
        with psycopg.connect(server.url(driver=None, database="suite"), autocommit=True) as connection:
            for thing in ("SCHEMA test_schema", "SCHEMA test_schema_2", "EXTENSION hstore", "EXTENSION citext"):
                connection.execute(f"CREATE {thing}".encode())
        yield server.url(driver=job.name.partition("+")[2], database="suite")
