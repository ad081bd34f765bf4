"""``respool explain --plan [TEXT]``: which statements of running processes go by plans, which do not, and why."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence

from respool.cli.top.looking import look
from respool.cli.top.report import heading
from respool.cli.top.words import clean, many, paragraph
from respool.observe.format import FORMAT, Database, Merged, Plans, Statement

__all__ = ["report", "run"]

_UNKNOWN = """A process knows the statements that a session has executed once: get(), lazy loads, and
selects of mapped classes. Of text(), statements of other kinds, and those with options of their own there is no plan."""


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Args:
        options: those of the command line.

    Returns:
        0; 1 when no process answers, or none knows such a statement.
    """
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    seen = look(options.app, options.pid)
    applications = [_only(each, options.plan) for each in seen.applications]
    if options.json:
        print(json.dumps({"format": FORMAT, "applications": [_plain(each) for each in applications]}))
    else:
        width = max(80, shutil.get_terminal_size((120, 24)).columns)
        print("\n\n".join("\n".join(report(each, width)) for each in applications), end="\n" if applications else "")
    if seen.problem is not None:
        print(seen.problem, file=sys.stderr)
        return 1
    if not any(database["plans"]["statements"] for each in applications for database in each["databases"]):
        what = f"No statement that is known contains {options.plan!r}." if options.plan else "No statement is known."
        print(f"{what}\n{_UNKNOWN}", file=sys.stderr)
        return 1
    return 0


def report(seen: Merged, width: int) -> Iterator[str]:
    """The lines of an application.

    Args:
        seen: its processes, with the statements that are wanted.
        width: columns of the terminal.
    """
    yield heading(seen)
    for database in seen["databases"]:
        yield from paragraph(_summary(database), width)
        for each in database["plans"]["obstacles"]:
            effect = "no read is planned" if each["stops"] else "planned reads take longer"
            yield from paragraph(f"{clean(each['what'])}: {effect}", width, "  ")
            yield from paragraph(f"do: {clean(each['advice'])}", width, "      ")
        for statement in database["plans"]["statements"]:
            yield ""
            yield from _statement(statement, width)


def _summary(database: Database) -> str:
    plans = database["plans"]
    if not plans["on"]:
        return f"Database {clean(database['name'])!r}: plans are off. Do: {clean(plans['advice'])}"
    known = many(plans["known"], "statement")
    return f"Database {clean(database['name'])!r}: plans are on; of {known} {plans['planned']} planned."


def _statement(statement: Statement, width: int) -> Iterator[str]:
    state = "PLANNED" if statement["planned"] else "NOT PLANNED"
    yield from paragraph(f"{state}, {clean(statement['kind'])}: {clean(statement['text'])}", width, "  ")
    if statement["why"]:
        yield from paragraph(f"why: {clean(statement['why'])}", width, "      ")
    if statement["advice"]:
        yield from paragraph(f"do: {clean(statement['advice'])}", width, "      ")


def _only(seen: Merged, text: str) -> Merged:
    """The same with the statements alone that contain a text, however that is spaced and written."""
    wanted = _folded(text)
    databases: list[Database] = [
        {
            **each,
            "plans": _those(
                each["plans"], [row for row in each["plans"]["statements"] if wanted in _folded(row["text"])]
            ),
        }
        for each in seen["databases"]
    ]
    return {**seen, "databases": databases}


def _those(plans: Plans, statements: Sequence[Statement]) -> Plans:
    return {**plans, "statements": [*statements]}


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _plain(seen: Merged) -> dict[str, object]:
    return {
        "application": seen["process"]["application"],
        "pids": [each["pid"] for each in seen["processes"]],
        "silent": seen["silent"],
        "databases": [{"name": each["name"], **each["plans"]} for each in seen["databases"]],
    }
