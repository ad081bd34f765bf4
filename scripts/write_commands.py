"""Writes docs/reference/commands.md: every command and option, from the parser itself.

Usage: python scripts/write_commands.py [--check]      (writes the page, or says whether it is of today)
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from respool.cli.main import build_parser
from scripts.made import write_or_check

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference" / "commands.md"

#: The page that shows a command at work.
SHOWN = {
    "top": "../how-to/top.md",
    "demo": "../how-to/dashboard.md",
    "new": "../how-to/start-an-application.md",
    "probe": "../how-to/health-checks.md",
    "doctor": "../how-to/doctor.md",
    "explain": "errors.md",
}
_HEAD = """# Commands

`respool COMMAND`, or `python -m respool COMMAND`. Each tells its options with `--help`; `respool --version` tells the
version. The exit code is 0 for success, 1 for failure and 2 for a wrong command line; where a command means more by it,
it says so. Which variables of the environment are read stands under [settings](settings.md#variables).

<!-- Written by scripts/write_commands.py from the parser itself: do not edit. -->
"""


def page() -> str:
    """The page of today."""
    return "\n".join([_HEAD, *_commands()])


def commands() -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Each command's help in one line, and its parser."""
    (action,) = (each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    helps = {each.dest: each.help or "" for each in action._choices_actions}
    return {name: (helps[name], parser) for name, parser in action.choices.items()}


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a command takes beside ``--help``."""
    return [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]


def _commands() -> Iterator[str]:
    yield from ("| command | what it does |", "| --- | --- |")
    yield from (f"| [`{name}`](#respool-{name}) | {told} |" for name, (told, _) in commands().items())
    for name, (told, parser) in commands().items():
        yield from ("", f"## respool {name}", "")
        said = " ".join((parser.description or f"{told[0].upper()}{told[1:]}.").split())
        yield textwrap.fill(_plain(f"{said} Shown [here]({SHOWN[name]})."), 120, break_on_hyphens=False)
        yield from ("", "| option | default | what it is |", "| --- | --- | --- |")
        yield from (_row(action) for action in options(parser))
    yield ""


def _row(action: argparse.Action) -> str:
    value = _value(action)
    names = ", ".join(f"`{f'{name} {value}'.strip()}`" for name in action.option_strings) or f"`{value}`"
    shown = action.default not in (None, False, argparse.SUPPRESS)
    default = f"`{action.default:g}`" if isinstance(action.default, float) else f"`{action.default}`" if shown else ""
    said = (action.help or "").partition(" (default: ")
    if not shown and said[1]:  # not a value, but words: "at Ctrl-C"
        default = said[2].rstrip(")")
    return f"| {names} | {default} | {_plain(said[0])} |"


def _value(action: argparse.Action) -> str:
    """What follows the name of an option, or stands for an argument."""
    if action.nargs == 0:
        return ""
    choices = ",".join(map(str, action.choices or ()))
    return f"{{{choices}}}" if choices else str(action.metavar or action.dest.upper())


def _plain(text: str) -> str:
    """As Markdown shows it as it is, in a table too; links stay."""
    return "".join(f"\\{sign}" if sign in r"\`*_<>|" else sign for sign in text)


def main(arguments: Sequence[str]) -> int:
    """Write it, or with ``--check`` look whether it is as it would be written."""
    return write_or_check({TARGET: page()}, arguments, root=ROOT, script=__file__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
