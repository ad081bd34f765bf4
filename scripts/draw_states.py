"""Draws the pool's state machine, from the table that the code itself obeys, for the documents.

Usage: python scripts/draw_states.py      (writes docs/explanation/states.svg)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from respool.pool.core.entries import MOVES, EntryState

TARGET = Path(__file__).resolve().parent.parent / "docs" / "explanation" / "states.svg"

#: Where the middle of each state's box is. A state that is new in the table needs a place here.
PLACES = {
    EntryState.CONNECTING: (110, 70),
    EntryState.IDLE: (360, 70),
    EntryState.ACQUIRED: (610, 70),
    EntryState.CLOSED: (360, 210),
}
WIDTH, HEIGHT = 720, 250
BOX_W, BOX_H = 130, 44
#: How far two moves between the same two states keep apart.
APART = 12

HEAD = f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img"
  aria-label="The states of a connection's place in the pool, and the moves between them">
<!-- Made by scripts/draw_states.py from respool.pool.core.entries.MOVES: do not edit. -->
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0 0 8 4 0 8z" fill="#57606a"/></marker></defs>
<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#ffffff"/>
<g font-family="ui-sans-serif, system-ui, sans-serif" font-size="14" text-anchor="middle">
"""

Point = tuple[float, float]


def draw(moves: Mapping[str, tuple[EntryState, EntryState]]) -> str:
    """The picture, as SVG."""
    parts = [HEAD]
    for name, (start, end) in moves.items():
        parts.append(_loop(name, start) if start is end else _arrow(name, start, end, (end, start) in moves.values()))
    parts += [_box(state) for state in EntryState]
    return "".join([*parts, "</g>\n</svg>\n"])


def _box(state: EntryState) -> str:
    x, y = PLACES[state]
    return (
        f'<rect x="{x - BOX_W / 2:g}" y="{y - BOX_H / 2:g}" width="{BOX_W}" height="{BOX_H}" rx="8" '
        f'fill="#eef3f8" stroke="#57606a"/>\n'
        f'<text x="{x}" y="{y + 5}" font-weight="600" fill="#1f2328">{state.name}</text>\n'
    )


def _arrow(name: str, start: EntryState, end: EntryState, shared: bool) -> str:
    (x1, y1), (x2, y2) = PLACES[start], PLACES[end]
    if shared:  # there is a way back: each keeps to its right
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        aside = ((y1 - y2) / length * APART, (x2 - x1) / length * APART)
        x1, y1, x2, y2 = x1 - aside[0], y1 - aside[1], x2 - aside[0], y2 - aside[1]
    (sx, sy), (ex, ey) = _edge((x1, y1), (x2, y2)), _edge((x2, y2), (x1, y1))
    level = sy == ey
    beside = 5 if not level else 18 if x2 < x1 else -8  # on a slope: across the line, with a halo
    label = ((sx + ex) / 2, (sy + ey) / 2 + beside)
    return _line(f"M{sx:.0f} {sy:.0f} {ex:.0f} {ey:.0f}") + _label(name, label, halo=not level)


def _loop(name: str, state: EntryState) -> str:
    x, y = PLACES[state]
    top = y - BOX_H / 2
    return _line(f"M{x - 22} {top:g} C{x - 34} {top - 30:g} {x + 34} {top - 30:g} {x + 22} {top:g}") + _label(
        name, (x, top - 28)
    )


def _line(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="#57606a" stroke-width="1.5" marker-end="url(#tip)"/>\n'


def _label(name: str, place: Point, *, halo: bool = False) -> str:
    behind = ' stroke="#ffffff" stroke-width="6" paint-order="stroke"' if halo else ""
    return f'<text x="{place[0]:.0f}" y="{place[1]:.0f}" fill="#0550ae"{behind}>{name}</text>\n'


def _edge(inside: Point, towards: Point) -> Point:
    """Where the straight way from one box to another leaves the box."""
    dx, dy = towards[0] - inside[0], towards[1] - inside[1]
    share = min((BOX_W / 2 + 2) / abs(dx) if dx else 9.0, (BOX_H / 2 + 2) / abs(dy) if dy else 9.0)
    return inside[0] + dx * share, inside[1] + dy * share


if __name__ == "__main__":
    TARGET.write_text(draw(MOVES), encoding="utf-8")
    print(f"written: {TARGET}")
    sys.exit(0)
