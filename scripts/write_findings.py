"""Writes docs/reference/findings.md, and a page below it for each kind of finding, from the kinds themselves.

Usage: python scripts/write_findings.py [--check]      (writes the pages, or says whether they are of today)
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from respool.cli.doctor import kinds as doctor
from respool.observe.findings import kinds as observed
from scripts.made import write_or_check

Kind: TypeAlias = observed.Kind | doctor.Kind

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference" / "findings.md"
FOLDER = TARGET.with_suffix("")

_MADE = "Written by scripts/write_findings.py from the kinds themselves: do not edit."
_HEAD = f"""# Findings

What respool finds wrong by itself, each with a code: **F** is seen of an application that is
[observed](../how-to/operate-the-pool.md), **D** by [`respool doctor`](../how-to/doctor.md) on a database. A finding names the
line to change, as far as it is known, or the number. [Errors](errors.md) have codes of their own.

The same in a terminal:

```console
$ respool explain F001
F001  held-idle: a connection was held while something else was waited for
…
```

<!-- {_MADE} -->
"""
_WIDTH = 120


def pages() -> dict[Path, str]:
    """The pages of today: the list, and one for each kind."""
    kinds: list[Kind] = [*observed.KINDS.values(), *doctor.KINDS.values()]
    listed = "\n".join([_HEAD, *_observed(), "", *_doctors(), ""])
    return {TARGET: listed} | {FOLDER / f"{kind.code}.md": "\n".join(_page(kind)) for kind in kinds}


def _observed() -> Iterator[str]:
    yield from ("## Of an application", "", "| code | name | in short |", "| --- | --- | --- |")
    for kind in observed.KINDS.values():
        yield f"| [{kind.code}](findings/{kind.code}.md) | `{kind.name}` | {_plain(kind.title)} |"


def _doctors() -> Iterator[str]:
    yield from ("## Of a database", "", "| code | name | level | in short |", "| --- | --- | --- | --- |")
    for kind in doctor.KINDS.values():
        yield f"| [{kind.code}](findings/{kind.code}.md) | `{kind.name}` | {kind.level} | {_plain(kind.title)} |"


def _page(kind: Kind) -> Iterator[str]:
    level = f" ({kind.level})" if isinstance(kind, doctor.Kind) else ""
    yield from (f"# {kind.code} {kind.name}", "")
    yield from (_wrapped(f"{_plain(kind.title[0].upper() + kind.title[1:])}{level}. {_plain(kind.means)}"), "")
    yield from ("What to do:", "")
    yield from (_wrapped(_plain(line), "* ", "  ") for line in kind.advice)
    yield from ("", f"Of all [findings](../findings.md). In a terminal: `respool explain {kind.code}`.", "")
    yield from (f"<!-- {_MADE} -->", "")


def _wrapped(text: str, first: str = "", further: str = "") -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )


def _plain(text: str) -> str:
    """As Markdown shows it as it is."""
    return "".join(f"\\{sign}" if sign in r"\`*_<>[]" else sign for sign in text)


def main(arguments: Sequence[str]) -> int:
    """Write them, or with ``--check`` look whether they are as they would be written, and no other is there."""
    there = [TARGET, *FOLDER.glob("*.md")]
    return write_or_check(pages(), arguments, root=ROOT, script=__file__, there=there)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
