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
        modes: in which it fails; none: all.
        versions: of SQLAlchemy in which it fails, by their beginning; none: all.
        databases: on which it fails; none: all.
    """

    reason: str
    private: str = ""
    promise: int = 0
    modes: tuple[str, ...] = ()
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
        if problem := entry._problem(suite, source / name.partition("::")[0]):
            raise BadEntry(f"{suite.allowed.name}: {name}: {problem}")
        return entry

    def _problem(self, suite: Suite, file: Path) -> str | None:
        names = sorted(suite.databases)
        if not self.reason or bool(self.private) == bool(self.promise):
            return "needs a reason, and either private or promise"
        if not set(self.modes) <= set(suite.modes):
            return f"modes are {', '.join(suite.modes)}"
        if not set(self.databases) <= set(names):
            return f"databases are {', '.join(names)}"
        if self.promise and (not self.modes or suite.modes[0] in self.modes):
            return f"with {suite.modes[0]} only a private name is a reason"
        if self.private and file.exists() and self.private not in file.read_text(encoding="utf-8"):
            return f"its file does not mention {self.private!r}"
        return None

    def concerns(self, run: Run, version: str) -> bool:
        return (
            (not self.modes or run.mode in self.modes)
            and (not self.versions or version.startswith(self.versions))
            and (not self.databases or run.job.name in self.databases)
        )


def read_allowed(suite: Suite, source: Path) -> dict[str, Entry]:
    """A suite's list: names of tests, and what is said of them. Without one all have to pass.

    Raises:
        BadEntry: see there.
    """
    if not suite.allowed.exists():
        return {}
    content = tomllib.loads(suite.allowed.read_text(encoding="utf-8"))
    return {name: Entry.read(name, values, suite, source) for name, values in content.items()}
