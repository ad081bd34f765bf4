"""Runs other people's test suites on our pools and our sessions: SQLAlchemy's, SQLModel's and Flask-SQLAlchemy's.

The suites are in the source distributions, not in the wheels: pip fetches those once, into .foreign/sources/.  Of
SQLAlchemy the wheel that is installed is tested, and its version's suite is run; the others' packages are in the
distributions too.  Our classes are put in the place of the stock ones by plugins of pytest, in plugins/.

Every test has to pass.  Those that cannot stand in the lists in allowed/, each with its reason; one of them that passes is
an error too, so that the lists stay true.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version as installed_version
from pathlib import Path

from tests.foreign.allowed import BadEntry, Entry, read_allowed
from tests.foreign.running import NotRun, end_all, run
from tests.foreign.source import CACHE, NotToBeHad, fetch, fetch_needs
from tests.foreign.suites import STOCK, SUITES, Run
from tests.foreign.verdicts import Verdict, closing_line, judge, table

_DATABASES = sorted({job.name for suite in SUITES for job in suite.jobs})
_MODES = (*(mode for suite in SUITES for mode in suite.modes), STOCK)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.foreign", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--suite", action="append", choices=[suite.name for suite in SUITES], help="this one only")
    parser.add_argument("--only", action="append", choices=_DATABASES, help="this database only")
    parser.add_argument(
        "--mode", action="append", choices=_MODES, help=f"this mode only; {STOCK}: SQLAlchemy's classes"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many runs at once; default: CPUs")
    parser.add_argument("-k", metavar="EXPRESSION", help="pytest's -k: these tests only")
    return parser.parse_args(arguments)


def chosen(options: argparse.Namespace, version: str) -> list[Run]:
    """The runs that were asked for, with a version of SQLAlchemy."""
    return [
        Run(suite, mode, job)
        for suite in SUITES
        if not options.suite or suite.name in options.suite
        for mode in (*suite.modes, STOCK)
        if (mode in options.mode if options.mode else mode != STOCK)
        for job in suite.jobs_in(mode, version)
        if not options.only or job.name in options.only
    ]


class Runner:
    """Runs what was asked for, and judges it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.version = installed_version("sqlalchemy")
        self.options = [f"-k={options.k}"] if options.k else []
        self.runs = chosen(options, self.version)
        (CACHE / self.version).mkdir(parents=True, exist_ok=True)  # for the logs
        self.sources: dict[str, Path] = {}
        self.allowed: dict[str, Mapping[str, Entry]] = {}
        for suite in {run_.suite.name: run_.suite for run_ in self.runs}.values():
            self.sources[suite.name] = fetch(suite.package.name, suite.package.version or self.version)
            self.allowed[suite.name] = read_allowed(suite, self.sources[suite.name])
            if suite.package.has_needs:
                fetch_needs()

    def __call__(self, run_: Run) -> Verdict:
        began = time.monotonic()
        verdict = Verdict(run_)
        try:
            run(verdict, self.sources[run_.suite.name], self.version, self.options)
        except NotRun as error:
            verdict.wrong.append(str(error))
        entries = {} if run_.mode == STOCK else self.allowed[run_.suite.name]
        expected = {name: entry for name, entry in entries.items() if entry.concerns(run_, self.version)}
        judge(verdict, expected, whole=not self.options)
        counts = ", ".join(f"{number} {kind}" for kind, number in sorted(verdict.counts().items()))
        print(f"SQLAlchemy {self.version}, {run_}: {counts}, {time.monotonic() - began:.0f} s", flush=True)
        return verdict


def main(arguments: Sequence[str] | None = None) -> int:
    began = time.monotonic()
    options = parse(arguments)
    try:
        runner = Runner(options)
    except (NotToBeHad, BadEntry) as error:
        sys.exit(str(error))
    with ThreadPoolExecutor(options.jobs) as workers:
        try:
            verdicts = list(workers.map(runner, runner.runs))
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            end_all()
            raise
    print(f"\n{table(verdicts)}\n")
    wrong = [f"{verdict.run}: {line}" for verdict in verdicts for line in verdict.wrong]
    if wrong:
        print("\n".join(wrong) + f"\n\nthe tracebacks are in {CACHE / runner.version}/*.log\n")
    print(closing_line(verdicts, time.monotonic() - began))
    return 1 if wrong or not any(verdict.outcomes for verdict in verdicts) else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers and the suites are ended as well
    sys.exit(main())
