"""The lists of tests that may fail, each with its reason."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.foreign.suites import Run, Suite

__all__ = ["BadEntry", "Entry", "read_allowed"]


class BadEntry(Exception):
    """An entry gives no true reason."""


@dataclass(frozen=True)
class Entry:
    """A test that may fail.

    Args:
        reason: what it asks for that is not so here.
        private: the private name that it pokes at; it has to stand in the test's file.
        promise: or the promise of ours, by its number, that it contradicts.
        mode: in which it fails; none: all.
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
    def read(cls, name: str, values: Mapping[str, Any], suite: Suite, source: Path) -> Entry:
        """One entry of the list.

        Raises:
            BadEntry: it gives no reason, or one that is not true.
        """
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        try:
            entry = cls(**arguments)
        except TypeError as error:
            raise BadEntry(f"{suite.allowed.name}: {name}: {error}") from None
        if not entry.reason or bool(entry.private) == bool(entry.promise) or entry.mode not in ("", *suite.modes):
            wanted = f"needs a reason, and either private or promise; mode is one of {', '.join(suite.modes)}"
            raise BadEntry(f"{suite.allowed.name}: {name}: {wanted}")
        if entry.promise and entry.mode in ("", suite.modes[0]):
            raise BadEntry(f"{suite.allowed.name}: {name}: with {suite.modes[0]} only a private name is a reason")
        if not set(entry.databases) <= {job.name for job in suite.jobs}:
            raise BadEntry(f"{suite.allowed.name}: {name}: databases are {[job.name for job in suite.jobs]}")
        file = source / name.partition("::")[0]
        if entry.private and file.exists() and entry.private not in file.read_text(encoding="utf-8"):
            raise BadEntry(f"{suite.allowed.name}: {name}: its file does not mention {entry.private!r}")
        return entry

    def concerns(self, run: Run, version: str) -> bool:
        return (
            self.mode in ("", run.mode)
            and (not self.versions or version.startswith(self.versions))
            and (not self.databases or run.job.name in self.databases)
        )


def read_allowed(suite: Suite, source: Path) -> dict[str, Entry]:
    """A suite's list: names of tests, and what is said of them.

    Raises:
        BadEntry: see there.
    """
    content = tomllib.loads(suite.allowed.read_text(encoding="utf-8"))
    return {name: Entry.read(name, values, suite, source) for name, values in content.items()}
