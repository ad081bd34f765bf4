"""A pytest plugin for SQLAlchemy's own test suite: puts our pools where the suite expects the stock ones.

The suite takes ``QueuePool`` and ``AsyncAdaptedQueuePool`` from these modules, and so do SQLAlchemy's dialects when an
engine is made without a ``poolclass``.  So the names are replaced before the suite is imported.  ``FOREIGN_MODE`` says
by what: ``as_queue_pool`` and ``fair`` by our pools, ``stock`` leaves the stock ones in place.  What each test came to is
written to the file that ``FOREIGN_RESULTS`` names; see ``scripts/foreign_suite.py``.
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
import sqlalchemy
import sqlalchemy.pool
import sqlalchemy.pool.impl

from respool.engine import AsyncFairPool, FairPool

MODE = os.environ["FOREIGN_MODE"]

#: What a stock pool does by default, in arguments that every user of ours can give too.
STOCK_ARGUMENTS = {
    "pool_size": 5,
    "max_overflow": 10,
    "timeout": 30.0,
    "use_lifo": False,
    "as_queue_pool": MODE == "as_queue_pool",
}

#: SQLAlchemy's own words to those who leak an async connection, as tests of the suite do on purpose.
LEAKED = "The garbage collector is trying to clean up"

made: Counter[str] = Counter()


class QueuePool(FairPool):
    """Our pool under the name that the suite looks for in error messages, with the stock pool's arguments."""

    def __init__(self, creator: Any, **arguments: Any) -> None:
        if "pool_config" not in arguments:  # else it is a copy of a pool, made by recreate()
            arguments = {**STOCK_ARGUMENTS, **arguments}
        super().__init__(creator, **arguments)
        made[type(self).__name__] += 1


class AsyncAdaptedQueuePool(AsyncFairPool, QueuePool):
    """The same for asyncio; a ``QueuePool``, as the stock one is."""


def swap() -> None:
    """Replace the stock pools by ours, for everything that is imported from now on."""
    for module in (sqlalchemy, sqlalchemy.pool, sqlalchemy.pool.impl):
        module.QueuePool = QueuePool  # type: ignore[misc]
        module.AsyncAdaptedQueuePool = AsyncAdaptedQueuePool  # type: ignore[misc]


class Results(logging.Handler):
    """Keeps what each test came to: the worst of its phases, and the first line of what went wrong.

    What goes wrong with our pools where no test can see it, in a thread, in a finalizer or in the log, is a complaint.
    """

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
        self.test = nodeid

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = self.tests.setdefault(report.nodeid, {"outcome": "passed", "seconds": 0.0, "message": ""})
        test["seconds"] += report.duration
        if report.outcome == "failed":
            crash = getattr(report.longrepr, "reprcrash", None)
            lines = str(crash.message if crash else report.longrepr).strip().splitlines()
            test["message"] = test["message"] or (lines[0] if lines else "")
            test["outcome"] = "failed"
        elif report.outcome == "skipped" and test["outcome"] == "passed":
            test["outcome"] = "skipped"

    def pytest_sessionfinish(self) -> None:
        content = {"tests": self.tests, "complaints": self.complaints, "pools_made": dict(made)}
        self.path.write_text(json.dumps(content), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Results(Path(os.environ["FOREIGN_RESULTS"])), "foreign-results")


if MODE != "stock":
    swap()
