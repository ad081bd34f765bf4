"""``respool top``: prints what the processes say, or shows it until one has seen enough."""

from __future__ import annotations

import argparse
import json
import shutil
import sys

from respool.cli.top.looking import look
from respool.observe.format import FORMAT

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Args:
        options: those of the command line.

    Returns:
        0; 1 when no process answers or textual is missing, 2 where there is no terminal.
    """
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    seen = look(options.app, options.pid)
    if options.json:
        print(json.dumps({"format": FORMAT, "applications": seen.applications}))
    elif options.once and seen.applications:
        from respool.cli.top.report import report  # JSON needs none of it, and is asked for by what cannot wait

        width = max(80, shutil.get_terminal_size((120, 24)).columns)
        print("\n\n".join("\n".join(report(each, width)) for each in seen.applications))
    if seen.problem is not None:
        print(seen.problem, file=sys.stderr)
        return 1
    return 0 if options.once else _watch(options)


def _watch(options: argparse.Namespace) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("respool top needs a terminal; respool top --once prints one look", file=sys.stderr)
        return 2
    try:
        from respool.cli.top.app import Top
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"textual", "rich"}:
            raise
        print(f'respool top needs {error.name}: pip install "respool[cli]"', file=sys.stderr)
        print("respool top --once works without it", file=sys.stderr)
        return 1
    Top(lambda: look(options.app, options.pid), every=options.every).run()
    return 0
