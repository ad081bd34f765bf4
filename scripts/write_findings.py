"""Writes docs/reference/findings.md: one entry for each kind of finding, from the kinds themselves.

Usage: python scripts/write_findings.py [--check]      (writes the page, or says whether it is of today)
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from respool.cli.doctor import kinds as doctor
from respool.observe.findings import kinds as observed

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference" / "findings.md"

_HEAD = """# Findings

What respool finds wrong by itself, each with a code: **F** is seen of an application that is
[observed](../how-to/operate-the-pool.md), **D** by [`respool doctor`](../how-to/doctor.md) on a database. A finding names the
line to change, as far as it is known, or the number. [Errors](errors.md) have codes of their own.

The short form of this page, in a terminal:

```console
$ respool explain F001
F001  held-idle: a connection was held while something else was waited for
…
```

<!-- Written by scripts/write_findings.py from the kinds themselves: do not edit. -->
"""
_WIDTH = 120


def page() -> str:
    """The page of today."""
    return "\n".join([_HEAD, *_observed(), *_doctors()])


def _observed() -> Iterator[str]:
    kinds = observed.KINDS.values()
    yield from ("## Of an application", "", "| code | name | in short |", "| --- | --- | --- |")
    yield from (f"| [{kind.code}](#{kind.code}) | `{kind.name}` | {_plain(kind.title)} |" for kind in kinds)
    yield ""
    yield from _entries(kinds)


def _doctors() -> Iterator[str]:
    kinds = doctor.KINDS.values()
    yield from ("## Of a database", "", "| code | name | level | in short |", "| --- | --- | --- | --- |")
    for kind in kinds:
        yield f"| [{kind.code}](#{kind.code}) | `{kind.name}` | {kind.level} | {_plain(kind.title)} |"
    yield ""
    yield from _entries(kinds)


def _entries(kinds: Iterable[observed.Kind | doctor.Kind]) -> Iterator[str]:
    for kind in kinds:
        yield from (f'<a id="{kind.code}"></a>', "", f"### {kind.code} {kind.name}", "")
        yield from (_wrapped(f"{_plain(kind.title[0].upper() + kind.title[1:])}. {_plain(kind.means)}"), "")
        yield from ("What to do:", "")
        yield from (_wrapped(_plain(line), "* ", "  ") for line in kind.advice)
        yield ""


def _wrapped(text: str, first: str = "", further: str = "") -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )


def _plain(text: str) -> str:
    """As Markdown shows it as it is."""
    return "".join(f"\\{sign}" if sign in r"\`*_<>[]" else sign for sign in text)


def main(arguments: Sequence[str]) -> int:
    """Write it, or with ``--check`` look whether it is as it would be written."""
    text, name = page(), TARGET.relative_to(ROOT)
    if "--check" not in arguments:
        TARGET.write_text(text, encoding="utf-8")
        print(f"written: {name}")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
        print(f"{name} is not of today; run: python scripts/write_findings.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
