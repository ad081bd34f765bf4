"""A pytest plugin: what each test of SQLAlchemy's own suite came to, in a file; see ``tests/foreign``.

What goes wrong with our classes where no test can see it, in a thread, in a finalizer or in the log, is a complaint.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

__all__ = ["leased", "made"]

#: SQLAlchemy's own words to those who leak an async connection, as tests of the suite do on purpose.
LEAKED = "The garbage collector is trying to clean up"

#: How many objects of our classes the suite made: none means that they were not in it.
made: Counter[str] = Counter()

#: The tests in which a session looked for a lease: none means that all of it ran in transactions, as with the stock ones.
_with_leases: set[str] = set()
_now = ""


def leased() -> None:
    """A session reads on a lease now."""
    _with_leases.add(_now)


class Results(logging.Handler):
    """Keeps the worst of each test's phases, and the first line of what went wrong."""

    def __init__(self, path: Path) -> None:
        super().__init__(logging.ERROR)
        self.path = path
        self.test = ""
        self.tests: dict[str, dict[str, Any]] = {}
        self.complaints: list[tuple[str, str]] = []
        logging.getLogger("respool").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.complaints.append((self.test, record.getMessage()))

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage, nodeid: str) -> None:
        text = str(warning_message.message)
        if "respool" in text and LEAKED not in text:
            self.complaints.append((nodeid, text))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        global _now
        self.test = _now = nodeid

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = self.tests.setdefault(
            report.nodeid, {"outcome": "passed", "seconds": 0.0, "message": "", "leased": False}
        )
        test["seconds"] += report.duration
        test["leased"] = report.nodeid in _with_leases
        if report.outcome == "failed":
            crash = getattr(report.longrepr, "reprcrash", None)
            lines = str(crash.message if crash else report.longrepr).strip().splitlines()
            test["message"] = test["message"] or (lines[0] if lines else "")
            test["outcome"] = "failed"
        elif report.outcome == "skipped" and test["outcome"] == "passed":
            test["outcome"] = "skipped"

    def pytest_sessionfinish(self) -> None:
        content = {"tests": self.tests, "complaints": self.complaints, "made": dict(made)}
        self.path.write_text(json.dumps(content), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Results(Path(os.environ["FOREIGN_RESULTS"])), "foreign-results")
