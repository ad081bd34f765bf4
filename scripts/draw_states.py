"""Draws three state machines: of a place in the pool, of a session, and of a model object.

Usage: python scripts/draw_states.py [--check]      (writes docs/explanation/*.svg, or says whether they are of today)

The pool's is the table that the code itself obeys. The other two have none: what leads from where to where is found by doing
it, on a database in memory.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from respool import Database, ObjectState, SessionPhase, state_of
from respool.pool.core.entries import MOVES, EntryState
from scripts.drawing import BLUE, label, path, picture, rect
from scripts.made import write_or_check

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "explanation"
BOX_W, BOX_H = 136, 44
#: How far two moves between the same two states keep apart.
APART = 12

Point = tuple[float, float]
Moves = Mapping[tuple[Enum, Enum], str]


@dataclass(frozen=True)
class Machine:
    """What there is to draw.

    Args:
        alt: what it shows, in words.
        made: of what.
        size: in pixels.
        places: the middle of each state's box. A state that is new needs a place.
        moves: what leads from one state to another, or back to it.
    """

    alt: str
    made: str
    size: tuple[int, int]
    places: Mapping[Any, Point]
    moves: Moves

    def draw(self) -> str:
        """The picture, as SVG."""
        parts = [self._loop(start, name) for (start, end), name in self.moves.items() if start is end]
        parts += [self._arrow(start, end, name) for (start, end), name in self.moves.items() if start is not end]
        parts += [self._box(state) for state in self.places]
        return picture(*self.size, self.alt, f"Made by scripts/draw_states.py from {self.made}", parts)

    def _box(self, state: Enum) -> str:
        x, y = self.places[state]
        return rect(x - BOX_W / 2, y - BOX_H / 2, BOX_W, BOX_H) + label(
            state.name, x, y + 5, anchor="middle", bold=True
        )

    def _arrow(self, start: Enum, end: Enum, name: str) -> str:
        (x1, y1), (x2, y2) = self.places[start], self.places[end]
        if two_ways := (end, start) in self.moves:  # each keeps to its right
            length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
            apart = APART if 0 in (x1 - x2, y1 - y2) else APART / 2
            aside = ((y1 - y2) / length * apart, (x2 - x1) / length * apart)
            x1, y1, x2, y2 = x1 - aside[0], y1 - aside[1], x2 - aside[0], y2 - aside[1]
        (sx, sy), (ex, ey) = _edge((x1, y1), (x2, y2)), _edge((x2, y2), (x1, y1))
        line = path(f"M{sx:.0f} {sy:.0f} {ex:.0f} {ey:.0f}")
        if sy == ey:
            return line + self._name(name, ((sx + ex) / 2, sy + (18 if x2 < x1 else -8)))
        if two_ways and abs(sx - ex) < 1:  # beside the line, on the outer side
            down = ey > sy
            return line + self._name(name, (sx + (8 if down else -8), (sy + ey) / 2 + 5), "start" if down else "end")
        out = (aside[0] * 2.6, aside[1] * 2.6) if two_ways else (0, 0)
        share = 0.5 if two_ways else 0.4
        place = (sx + (ex - sx) * share - out[0], sy + (ey - sy) * share - out[1] + 5)
        return line + self._name(name, place, halo=True)

    def _loop(self, state: Enum, name: str) -> str:
        x, y = self.places[state]
        top = y - BOX_H / 2
        curve = f"M{x - 22:g} {top:g} C{x - 34:g} {top - 30:g} {x + 34:g} {top - 30:g} {x + 22:g} {top:g}"
        return path(curve) + self._name(name, (x, top - 28))

    @staticmethod
    def _name(name: str, place: Point, anchor: str = "middle", *, halo: bool = False) -> str:
        return label(name, round(place[0]), round(place[1]), anchor=anchor, fill=BLUE, halo=halo)


def _edge(inside: Point, towards: Point) -> Point:
    """Where the straight way from one box to another leaves the box."""
    dx, dy = towards[0] - inside[0], towards[1] - inside[1]
    share = min((BOX_W / 2 + 2) / abs(dx) if dx else 9.0, (BOX_H / 2 + 2) / abs(dy) if dy else 9.0)
    return inside[0] + dx * share, inside[1] + dy * share


# -- the machines -----------------------------------------------------------------------------------------------------


def pool() -> Machine:
    """Of a place in the pool: the table itself."""
    return Machine(
        "The states of a connection's place in the pool, and the moves between them",
        "respool.pool.core.entries.MOVES",
        (720, 250),
        {
            EntryState.CONNECTING: (110, 70),
            EntryState.IDLE: (360, 70),
            EntryState.ACQUIRED: (610, 70),
            EntryState.CLOSED: (360, 210),
        },
        _joined([(start, name, end) for name, (start, end) in MOVES.items()]),
    )


class _Base(DeclarativeBase):
    pass


class _Item(_Base):
    __tablename__ = "item"

    id: Mapped[int] = mapped_column(primary_key=True)


#: What is done to a session, and to the object in it.
_DONE: dict[str, Callable[[Any, _Item], object]] = {
    "a statement": lambda session, item: session.execute(text("SELECT 1")),
    "commit": lambda session, item: session.commit(),
    "rollback": lambda session, item: session.rollback(),
    "close": lambda session, item: session.close(),
    "add": lambda session, item: session.add(item),
    "flush": lambda session, item: session.flush(),
    "delete, flush": lambda session, item: (session.delete(item), session.flush()),
    "expunge": lambda session, item: session.expunge(item),
}
_END = "the scope's end"


def _after(steps: Sequence[str]) -> tuple[SessionPhase, ObjectState, bool]:
    """What a new session and a new object are after some steps, and whether the object's row is committed."""
    db = Database("sqlite://", name="states")
    _Base.metadata.create_all(db.engine)
    try:
        with warnings.catch_warnings(action="ignore"), db.scope("states") as session:  # what is not committed is lost
            item = _Item(id=1)
            for step in steps:
                if step != _END:
                    _DONE[step](session, item)
            phase, state = session.phase, state_of(item)
        with db.scope("look") as look:
            saved = look.get(_Item, 1) is not None
        return (session.phase if _END in steps else phase), state, saved
    finally:
        db.close()


def _found(steps: Sequence[str], of: Callable[[Sequence[str]], tuple[Enum, object]]) -> list[tuple[Enum, str, Enum]]:
    """Where each step leads from each state that can be reached, the shortest ways first."""
    ways: dict[tuple[Enum, object], list[str]] = {of([]): []}
    moves = []
    for start, way in (todo := list(ways.items())):  # grows while it is walked
        for step in steps if _END not in way else ():
            try:
                end = of([*way, step])
            except Exception:
                continue  # not from here: an object that no session knows cannot be deleted
            moves.append((start[0], step, end[0]))
            if end not in ways:
                ways[end] = [*way, step]
                todo.append((end, ways[end]))
    return moves


def _joined(moves: Sequence[tuple[Enum, str, Enum]]) -> dict[tuple[Enum, Enum], str]:
    """One line for all that leads from a state to another."""
    lines: dict[tuple[Enum, Enum], list[str]] = {}
    for start, name, end in moves:
        names = lines.setdefault((start, end), [])
        if name not in names:
            names.append(name)
    return {ends: ", ".join(names) for ends, names in lines.items()}


def session() -> Machine:
    """Of a session: its phases. To commit or close what has done nothing, and the end from elsewhere, are left to the text."""
    steps = ("a statement", "commit", "rollback", "close", _END)
    phase = SessionPhase
    moves = [
        (start, step, end)
        for start, step, end in _found(steps, lambda steps: (_after(steps)[0], None))
        if start is not end
        and (step != "commit" or start is phase.WORKING)
        and (step != "close" or start is not phase.CREATED)
        and (step != _END or start is phase.CLOSED)
    ]
    return Machine(
        "The phases of a session, and what leads from one to another",
        "what a session does",
        (900, 330),
        {
            phase.CREATED: (90, 150),
            phase.WORKING: (330, 150),
            phase.COMMITTED: (575, 50),
            phase.ROLLED_BACK: (575, 250),
            phase.CLOSED: (810, 150),
            phase.REMOVED: (810, 285),
        },
        _joined(moves),
    )


def objects() -> Machine:
    """Of a model object: its states. Left to the text: what was never committed and deleted; a delete without an add."""
    steps = ("add", "flush", "commit", "rollback", "delete, flush", "close", "expunge")
    moves = _found(steps, lambda steps: (_after(steps)[1], _after(steps)[2]))
    state = ObjectState
    rare = {(state.DELETED, state.TRANSIENT), (state.DETACHED, state.DELETED)}
    return Machine(
        "The states of a model object, and what leads from one to another",
        "what a session does",
        (880, 360),
        {
            state.TRANSIENT: (100, 60),
            state.PENDING: (430, 60),
            state.PERSISTENT: (430, 185),
            state.DELETED: (780, 185),
            state.DETACHED: (430, 315),
        },
        _joined([move for move in moves if move[0] is not move[2] and (move[0], move[2]) not in rare]),
    )


#: Which picture each machine is.
PICTURES: dict[str, Callable[[], Machine]] = {"states": pool, "session": session, "objects": objects}


def main(arguments: Sequence[str]) -> int:
    """Write them, or with ``--check`` look whether they are as they would be written."""
    logging.disable(logging.CRITICAL)
    drawn = {FOLDER / f"{name}.svg": machine().draw() for name, machine in PICTURES.items()}
    return write_or_check(drawn, arguments, root=ROOT, script=__file__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
