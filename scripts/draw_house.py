"""Draws the house: its rooms on their floors, and which room imports which, as the code itself says.

Usage: python scripts/draw_house.py [--check]      (writes docs/explanation/house.svg, or says whether it is of today)

The floors are those of the contracts in ``pyproject.toml``, in their order; the imports are read from ``src``.
"""

from __future__ import annotations

import ast
import html
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.drawing import BLUE, FAINT, FONT, INK, PAPER, QUIET, STYLE
from scripts.made import write_or_check

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "explanation" / "house.svg"

Floors = list[list[str]]

#: A room with rooms within has a second line for them.
LINE, LINES, FLOOR_GAP = 32, 58, 8
TOP, SIDE = 108, 24
HOUSE_W, WORDS_AT = 450, 126
FIRST_COLUMN, CELL = SIDE + HOUSE_W + 36, 27
CHIP_GAP, CHIP_H = 20, 20
#: A room's first words may have so many letters; what is longer ends at its first comma.
LONGEST = 48
#: How wide a letter of a small label is, about; the fonts of readers differ.
LETTER = 6.7


@dataclass(frozen=True)
class House:
    """What there is to draw.

    Args:
        floors: the rooms of each floor, from the top.
        words: what is in a room: the first words of its docstring.
        within: the rooms in a room, from the top.
        imports: the rooms that a room imports.
    """

    floors: Floors
    words: Mapping[str, str]
    within: Mapping[str, Floors]
    imports: Mapping[str, frozenset[str]]

    @classmethod
    def read(cls, root: Path) -> House:
        """The house as its contracts and its sources say."""
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        layers = {
            container: [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]
            for contract in project["tool"]["importlinter"]["contracts"]
            if contract["type"] == "layers"
            for container in contract["containers"]
        }
        source = root / "src" / "respool"
        rooms = sorted(room for floor in layers["respool"] for room in floor)
        words = {room: _words_of(_files(source, room)[0]) for room in rooms}
        within = {room: _rooms_in(source / room, layers.get(f"respool.{room}")) for room in rooms}
        door = dict(_names_at(source / "__init__.py"))
        imports = {room: frozenset(_imported(source, room, door)) & set(rooms) - {room} for room in rooms}
        return cls(layers["respool"], words, within, imports)


def _files(source: Path, room: str) -> list[Path]:
    """A room's files; its head is the first."""
    files = sorted((source / room).rglob("*.py"))
    return sorted([*source.glob(f"{room}.py"), *files], key=lambda file: file != source / room / "__init__.py")


def _words_of(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    words = re.split(r"[.:;\n]", docstring, maxsplit=1)[0]
    return words if len(words) <= LONGEST else words.partition(",")[0]


def _rooms_in(folder: Path, layers: Floors | None) -> Floors:
    """The packages in a package, by the layers of its contract, or by name where it has none."""
    there = sorted(path.parent.name for path in folder.glob("*/__init__.py"))
    found = [[name for name in layer if name in there] for layer in layers or [there]]
    return [layer for layer in found if layer]


def _imported(source: Path, room: str, door: Mapping[str, str]) -> Iterator[str]:
    """The rooms that a room's files import, for type checkers only included."""
    for file in _files(source, room):
        for module, name in _names_in(file):
            if module.startswith("respool."):
                yield module.split(".")[1]
            elif module == "respool":  # a room, or what the package has at its door
                yield door.get(name, name)


def _names_at(door: Path) -> Iterator[tuple[str, str]]:
    """Each name that users import from the package, with the room that it comes from."""
    for module, name in _names_in(door):
        if module.startswith("respool."):
            yield name, module.split(".")[1]


def _names_in(file: Path) -> Iterator[tuple[str, str]]:
    """What a file imports, wherever in it: the module, and the name from it, if any."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)


# -- the picture ---------------------------------------------------------------------------------------------------------


def draw(house: House) -> str:
    """The picture, as SVG."""
    places = _places(house)
    used = frozenset[str]().union(*house.imports.values())
    columns = {
        room: FIRST_COLUMN + CELL * number for number, room in enumerate(room for room in places if room in used)
    }
    width = max(columns.values()) + CELL // 2 + SIDE + 28
    height = max(middle + tall // 2 for middle, tall in places.values()) + 56
    parts = [_head(width, height)]
    parts += [_floor([places[room] for room in floor]) for floor in house.floors]
    parts += [_line(middle, columns.get(room), max(columns.values())) for room, (middle, _) in places.items()]
    for room, x in columns.items():
        users = [places[user][0] for user in places if room in house.imports[user]]
        parts.append(_column(room, x, users, places[room][0]))
    parts += [_room(room, house.words[room], house.within[room], middle) for room, (middle, _) in places.items()]
    parts.append(_foot(height))
    return "".join([*parts, "</g>\n</svg>\n"])


def _places(house: House) -> dict[str, tuple[int, int]]:
    """The middle of each room, from the top, and how tall it is."""
    places: dict[str, tuple[int, int]] = {}
    y = TOP
    for floor in house.floors:
        for room in floor:
            tall = LINES if house.within[room] else LINE
            places[room] = y + tall // 2, tall
            y += tall
        y += FLOOR_GAP
    return places


def _head(width: int, height: int) -> str:
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"
  aria-label="The rooms of the house, floor above floor, and which room imports which">
<!-- Made by scripts/draw_house.py from the contracts and the imports: do not edit. -->
{STYLE}
<rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>
<g {FONT} font-size="14">
"""


def _floor(rooms: Sequence[tuple[int, int]]) -> str:
    tops = [middle - tall // 2 for middle, tall in rooms]
    box = f'<rect x="{SIDE}" y="{tops[0]}" width="{HOUSE_W}" height="{sum(tall for _, tall in rooms)}" rx="6" '
    walls = [f'<path d="M{SIDE} {top}h{HOUSE_W}" stroke="{QUIET}" stroke-dasharray="2 4"/>\n' for top in tops[1:]]
    return "".join([box, f'fill="#eef3f8" stroke="{QUIET}"/>\n', *walls])


def _room(name: str, words: str, within: Floors, middle: int) -> str:
    y = middle - (LINES - LINE) // 2 if within else middle
    parts = [_text(SIDE + 12, y + 5, name, INK, 'font-weight="600"')]
    parts.append(_text(SIDE + WORDS_AT, y + 5, html.escape(words, quote=False), QUIET, 'font-size="12"'))
    x, y = float(SIDE + WORDS_AT), y + LINES - LINE
    for number, layer in enumerate(within):
        if number:
            parts.append(_text(x - CHIP_GAP / 2, y + 4, "›", QUIET, 'text-anchor="middle"'))
        for room in layer:
            width = round(LETTER * len(room)) + 14
            box = f'<rect x="{x:g}" y="{y - CHIP_H // 2}" width="{width}" height="{CHIP_H}" rx="4" '
            parts.append(f'{box}fill="#ffffff" stroke="#afb8c1"/>\n')
            parts.append(_text(x + width / 2, y + 4, room, INK, 'font-size="12" text-anchor="middle"'))
            x += width + 6
        x += CHIP_GAP - 6
    return "".join(parts)


def _line(y: int, own: int | None, last: int) -> str:
    """From a room to the end of its own column, and on to the columns of the rooms below."""
    start = SIDE + HOUSE_W + 6
    dotted = f'<path d="M{start} {y}H{own}" stroke="{QUIET}" stroke-dasharray="1 4"/>\n' if own else ""
    return f'{dotted}<path d="M{own or start} {y}H{last}" stroke="{FAINT}"/>\n'


def _column(room: str, x: int, users: Sequence[int], own: int) -> str:
    """The users of a room as dots above its own line, and its name at the top."""
    turned = f'font-size="12" transform="rotate(-55 {x + 4} {TOP - 12})"'
    line = f'<path d="M{x} {min(users)}V{own}" stroke="{FAINT}"/>\n'
    corner = f'<rect x="{x - 4}" y="{own - 4}" width="8" height="8" rx="2" fill="#ffffff" stroke="{QUIET}"/>\n'
    return "".join([_text(x + 4, TOP - 12, room, INK, turned), line, *(_dot(x, y) for y in users), corner])


def _dot(x: int, y: int) -> str:
    return f'<circle cx="{x}" cy="{y}" r="5" fill="{BLUE}"/>\n'


def _foot(height: int) -> str:
    y = height - 22
    return (
        _text(SIDE, y, "Small boxes: rooms within; each imports only from those at its right.", QUIET, 'font-size="12"')
        + _dot(FIRST_COLUMN, y - 4)
        + _text(FIRST_COLUMN + 12, y, "the room at the left imports the one above", QUIET, 'font-size="12"')
    )


def _text(x: float, y: float, text: str, fill: str, more: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" fill="{fill}" {more}>{text}</text>\n'


def main(arguments: Sequence[str]) -> int:
    """Write it, or with ``--check`` look whether it is as it would be written."""
    return write_or_check({TARGET: draw(House.read(ROOT))}, arguments, root=ROOT, script=__file__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
