"""A contract's table in the reference: a column for each library, a row for each case, made from what the tests run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

__all__ = ["ROOT", "Column", "Table"]

ROOT = Path(__file__).resolve().parent.parent.parent


class Column(Protocol):
    """A stand: a library with jobs or handlers of one kind, and the cases that there cannot be, with their reasons."""

    name: str
    kind: str
    missing: dict[str, str]


class Table:
    """The table of a contract.

    Args:
        cases: their names, in order.
        stands: each in the column of its name.
        path: the page that it stands in.
        source: the file of the contract, by which its place in the page is found.
    """

    def __init__(self, cases: Iterable[str], stands: Sequence[type[Column]], path: Path, source: str) -> None:
        self.cases = cases
        self.stands = stands
        self.path = path
        self._begin, self._end = f"<!-- the table of {source} -->\n", "<!-- the end of the table -->\n"

    def cells(self) -> dict[tuple[str, str], tuple[list[str], list[str]]]:
        """For each library and case: the kinds that it runs with, and the reasons why it does not with others."""
        found: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
        for stand in self.stands:
            for name in self.cases:
                ran, reasons = found.setdefault((stand.name, name), ([], []))
                if name not in stand.missing:
                    ran.append(stand.kind)
                elif stand.missing[name] not in reasons:
                    reasons.append(stand.missing[name])
        return found

    def lines(self) -> list[str]:
        """The table in Markdown, and the reasons below."""
        found = self.cells()
        columns = list(dict.fromkeys(name for name, _ in found))
        notes: dict[str, str] = {}
        rows = []
        for name in self.cases:
            row = []
            for column in columns:
                ran, reasons = found[column, name]
                marks = [notes.setdefault(reason, f"[{len(notes) + 1}]") for reason in reasons]
                row.append(" ".join([", ".join(dict.fromkeys(ran)) or "n/a", *marks]))
            rows.append(f"| {name.replace('_', ' ')} | {' | '.join(row)} |")
        head = [f"| case | {' | '.join(columns)} |", f"| --- |{' --- |' * len(columns)}"]
        reasons_below = [f"* {mark}: {reason}" for reason, mark in notes.items()]
        return [*head, *rows, "", "Not applicable:", "", *reasons_below, ""]

    def page(self) -> str:
        """The page, with the table of now."""
        before, _, rest = self.path.read_text(encoding="utf-8").partition(self._begin)
        _, _, after = rest.partition(self._end)
        return "\n".join([f"{before}{self._begin}", *self.lines(), f"{self._end}{after}"])

    def write(self) -> None:
        """Write the page."""
        self.path.write_text(self.page(), encoding="utf-8")
