"""One run of SQLAlchemy's suite: in a copy of its own, on a database of its own, by a pytest of its own."""

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

from tests.foreign.source import CACHE, ROOT
from tests.foreign.suites import FOLDER, STOCK, Job
from tests.foreign.verdicts import Outcome, Verdict, generic
from tests.support.postgres import PostgresServer

__all__ = ["NotRun", "end_all", "log_of", "run"]

#: Of the source distribution, what running the suite takes. Its lib/ is only there for its plugin of pytest.
PARTS = ("test", "lib", "setup.cfg", "pyproject.toml")


_under_way: set[subprocess.Popen[bytes]] = set()


class NotRun(Exception):
    """The suite did not run to its end."""


def log_of(verdict: Verdict, version: str) -> Path:
    """The file that pytest's output goes to."""
    return CACHE / version / f"{verdict.run.file_name}.log"


def run(verdict: Verdict, source: Path, version: str, options: Sequence[str]) -> None:
    """Run the suite once, and note what every test came to.

    Raises:
        NotRun: it ended before its time, or none of our classes was in it.
    """
    log = log_of(verdict, version)
    results = log.with_suffix(".json")
    results.unlink(missing_ok=True)
    with _copy(source) as folder, _postgres(verdict.run.job) as server, log.open("w", encoding="utf-8") as output:
        child = subprocess.Popen(
            [*_command(verdict, folder, server), *options],
            cwd=folder,
            env=_environment(verdict, results),
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


def _command(verdict: Verdict, folder: Path, server: str) -> list[str]:
    job, suite = verdict.run.job, verdict.run.suite
    plugins = ["foreign_results"] if verdict.run.mode == STOCK else ["foreign_results", suite.plugin]
    # -s: the suite's conftest.py then leaves the installed SQLAlchemy alone, and does not take the source's lib/.
    command = [sys.executable, "-s", "-m", "pytest", "-q", "--tb=native", "--timeout=180"]
    command += [f"-p{plugin}" for plugin in (*plugins, "no:cacheprovider", "no:logging")]
    command += [f"--dburi={job.url(server)}", *(f"--deselect={test}" for test in job.left_out)]
    return command + [str(path.relative_to(folder)) for pattern in job.files for path in sorted(folder.glob(pattern))]


def _environment(verdict: Verdict, results: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTEST_"))}
    return ours | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(FOLDER / "plugins")]),
        "FOREIGN_MODE": verdict.run.mode,
        "FOREIGN_RESULTS": str(results),
    }


@contextmanager
def _copy(source: Path) -> Iterator[Path]:
    """The suite in a folder of its own: it leaves SQLite files in the working directory."""
    with tempfile.TemporaryDirectory(prefix="respool-foreign-") as name:
        folder = Path(name)
        for part in PARTS:
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
