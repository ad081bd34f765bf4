"""Draws two ways: a read's and a write's on the wire, and a planned read's through the code beside an unplanned one's.

Usage: python scripts/draw_ways.py [--check]      (writes docs/explanation/*.svg, or says whether they are of today)

The first is drawn from a recording, docs/explanation/wire.json, which a test compares with what a PostgreSQL is really told
(``tests/docs/test_pictures.py``). For the second two reads are done here, on a database in memory, and their calls noted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sqlalchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import respool
from respool import Database
from scripts.drawing import AMBER, BLUE, BOX, FAINT, GREEN, QUIET, label, path, picture, rect
from scripts.made import write_or_check

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "explanation"
RECORDED = FOLDER / "wire.json"

# -- on the wire ------------------------------------------------------------------------------------------------------

_CODE, _HELD, _SAID, _WIDTH = 24, 330, 400, 860
_LINE, _TOP = 24, 58


def wire(steps: Sequence[dict[str, Any]]) -> str:
    """What each line of a handler says to the database, and when it holds a connection.

    Args:
        steps: as they were recorded: ``code``, ``trips``, a list of statements each, and whether one is ``held`` after it.
    """
    parts, bars, y, held = [], [], _TOP, False
    for step in steps:
        rows = sum(len(trip) for trip in step["trips"]) or 1
        height = rows * _LINE + 14
        parts.append(path(f"M{_CODE} {y} {_WIDTH - 24} {y}", tip=False, stroke=FAINT))
        parts.append(label(step["code"], _CODE, y + 24, mono=True, size=13))
        line = y + 24
        for trip in step["trips"]:
            if len(trip) > 1:
                parts.append(label("in one trip", _WIDTH - 24, line, anchor="end", fill=QUIET, size=13))
            for statement in trip:
                parts.append(label(f"→ {statement}", _SAID, line, mono=True, size=13, fill=BLUE))
                line += _LINE
        if not step["trips"]:
            parts.append(label("nothing", _SAID, y + 24, fill=QUIET, size=13))
        if held or step["trips"]:
            begin = y if held else y + 8
            end = y + height if step["held"] else y + height - 8
            bars.append((begin, end))
        held = step["held"]
        y += height
    for begin, end in _merged(bars):
        parts.append(rect(_HELD, begin, 22, end - begin, fill=AMBER))
    heads = (("the handler's code", _CODE), ("connection", _HELD - 28), ("on the wire", _SAID + 20))
    parts += [label(text, x, 34, bold=True) for text, x in heads]
    parts.append(label("A connection is held while the bar lasts.", _CODE, y + 26, fill=QUIET, size=13))
    alt = "; ".join(
        f"{step['code']}: {', '.join(each for trip in step['trips'] for each in trip) or 'nothing'}"
        f"{', a connection is held' if step['held'] else ''}"
        for step in steps
    )
    return picture(_WIDTH, y + 44, alt, f"Made by scripts/draw_ways.py from {RECORDED.name}", parts)


def _merged(bars: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Bars that touch are one."""
    merged: list[tuple[int, int]] = []
    for begin, end in bars:
        if merged and merged[-1][1] == begin:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((begin, end))
    return merged


# -- through the code -------------------------------------------------------------------------------------------------

#: What a read passes through, in words: the file and the function of the one call that stands for it.
WHOLE = {
    "may it be used here?": ("respool/scope/scope.py", "require_usable"),
    "make a statement": ("sqlalchemy/sql/_selectable_constructors.py", "select"),
    "its key in the cache": ("sqlalchemy/sql/cache_key.py", "_generate_cache_key"),
    "is it a plain read?": ("respool/session/reads/plain.py", "is_plain_read"),
    "take a connection": ("respool/pool/core/circulation.py", "take"),
    "a context for it": ("sqlalchemy/engine/default.py", "_init_compiled"),
    "execute": ("sqlalchemy/engine/default.py", "do_execute"),
    "a result for its rows": ("sqlalchemy/engine/default.py", "_setup_result_proxy"),
    "give the connection back": ("respool/pool/core/circulation.py", "give"),
    "a loader for each attribute": ("sqlalchemy/orm/loading.py", "_instance_processor"),
    "rows to objects": ("sqlalchemy/orm/loading.py", "_instance"),
}
PLANNED = {
    "may it be used here?": ("respool/scope/scope.py", "require_usable"),
    "find its plan": ("respool/session/loading/gets.py", "look"),
    "does anybody listen?": ("respool/session/loading/running.py", "may_be_lent"),
    "take a connection": ("respool/pool/core/circulation.py", "take"),
    "give the connection back": ("respool/pool/core/circulation.py", "give"),
    "rows to objects": ("<generated>", "objects_of"),
}
#: What the driver does by itself: no function of Python's is called for it.
_DRIVER = ("execute", "take a connection")
_PLACES = {str(Path(module.__file__ or "").parent): module.__name__ for module in (respool, sqlalchemy)}


class _Base(DeclarativeBase):
    pass


class _Product(_Base):
    __tablename__ = "product"

    id: Mapped[int] = mapped_column(primary_key=True)
    stock: Mapped[int]


def calls(*, plans: bool) -> list[tuple[str, str]]:
    """The functions that a ``session.get()`` calls when it is done for the third time: file and name."""
    seen: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            file = frame.f_code.co_filename
            place = next(
                (f"{name}{file.removeprefix(start)}" for start, name in _PLACES.items() if file.startswith(start)), ""
            )
            seen.append((place or ("<generated>" if file.startswith("<") else file), frame.f_code.co_name))

    db = Database("sqlite://", name="ways", plans=plans)
    try:
        _Base.metadata.create_all(db.engine)
        with db.scope("fill") as session:
            session.add(_Product(id=1, stock=9))
            session.commit()
        for _ in range(3):
            with db.scope("read") as session:
                seen.clear()
                sys.setprofile(note)
                try:
                    session.get(_Product, 1)
                finally:
                    sys.setprofile(None)
    finally:
        db.close()
    return [(place.replace("\\", "/"), name) for place, name in seen]


def stations(way: dict[str, tuple[str, str]], seen: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The stations of a way, each with whose function it is.

    Raises:
        ValueError: one was not passed, or in another order.
    """
    place, found = 0, []
    for words, call in way.items():
        if call not in seen[place:]:
            raise ValueError(f"a read does not pass {call[1]}() of {call[0]} ({words}) where it is drawn")
        place = list(seen).index(call, place) + 1
        found.append((words, call[0].partition("/")[0]))
    if "execute" not in way:
        found.insert([words for words, _ in found].index(_DRIVER[1]) + 1, (_DRIVER[0], "<driver>"))
    return found


def plan() -> str:
    """Both ways, from the top; what both have stands in one line."""
    whole, planned = stations(WHOLE, calls(plans=False)), stations(PLANNED, calls(plans=True))
    both = [words for words, _ in whole]
    rows = {words: number for number, words in enumerate(both)}
    rows |= {"find its plan": rows["its key in the cache"], "does anybody listen?": rows["is it a plain read?"]}
    parts = []
    for x, heading, way in ((34, "the whole way", whole), (444, "with a plan", planned)):
        parts.append(label(heading, x, 38, bold=True))
        before = None
        for words, whose in way:
            y = 58 + rows[words] * 42
            if before is not None:
                parts.append(path(f"M{x + 170} {before + 32} {x + 170} {y - 1}"))
            fill = BOX if whose == "sqlalchemy" else AMBER if whose == "<driver>" else GREEN
            name = {"sqlalchemy": "SQLAlchemy", "<driver>": "the driver", "<generated>": "made for this plan"}
            parts.append(rect(x, y, 340, 32, fill=fill))
            parts.append(label(words, x + 14, y + 21))
            parts.append(label(name.get(whose, whose), x + 326, y + 21, anchor="end", fill=QUIET, size=13))
            before = y
    alt = " ".join(
        f"{heading}: {', '.join(words for words, _ in way)}."
        for heading, way in (("The whole way", whole), ("With a plan", planned))
    )
    return picture(
        820, 58 + len(both) * 42 + 14, alt, "Made by scripts/draw_ways.py from the calls of two reads", parts
    )


def pictures() -> dict[Path, str]:
    """Each file, as it is today."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    return {FOLDER / "wire.svg": wire(recorded), FOLDER / "plan.svg": plan()}


def main(arguments: Sequence[str]) -> int:
    """Write them, or with ``--check`` look whether they are as they would be written."""
    return write_or_check(pictures(), arguments, root=ROOT, script=__file__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
