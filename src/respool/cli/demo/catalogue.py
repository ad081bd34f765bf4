"""What the shop sells: the same few hundred pieces of haberdashery on every machine, made up without a random number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["FULL_SHELF", "products"]

#: Pieces of a product on a full shelf.
FULL_SHELF = 100

_COLOURS = (
    "crimson",
    "coral",
    "amber",
    "mustard",
    "olive",
    "moss",
    "teal",
    "sky",
    "indigo",
    "plum",
    "rose",
    "ivory",
    "slate",
)

#: Category -> (name, with a place for the colour; price of the plainest in cents).
_COLOURED = {
    "Thread": [("Cotton thread, {}, 500 m", 320), ("Silk thread, {}, 100 m", 690), ("Topstitch thread, {}, 30 m", 280)],
    "Yarn": [("Merino yarn, {}, 100 g", 1190), ("Alpaca yarn, {}, 50 g", 990), ("Cotton yarn, {}, 100 g", 540)],
    "Fabric": [
        ("Linen, {}, by the metre", 1890),
        ("Corduroy, {}, by the metre", 1640),
        ("Poplin, {}, by the metre", 1120),
    ],
    "Ribbon": [("Satin ribbon, {}, 25 mm", 190), ("Velvet ribbon, {}, 16 mm", 340), ("Bias tape, {}, 3 m", 260)],
    "Buttons": [("Shell buttons, {}, card of 6", 450), ("Horn buttons, {}, card of 4", 620)],
    "Zips": [("Metal zip, {}, 20 cm", 390), ("Hidden zip, {}, 40 cm", 310)],
}

_PLAIN = {
    "Needles": [
        ("Sharps, set of 20", 340),
        ("Embroidery needles, set of 16", 360),
        ("Leather needles, set of 5", 410),
        ("Bamboo knitting needles, 4 mm", 890),
        ("Circular needle, 5 mm, 80 cm", 940),
        ("Crochet hook, beech, 3.5 mm", 720),
        ("Glass-headed pins, 80 pieces", 480),
        ("Safety pins, brass, 50 pieces", 290),
    ],
    "Tools": [
        ("Tailor's shears, 24 cm", 4890),
        ("Thread snips", 1290),
        ("Pinking shears", 3750),
        ("Seam ripper, walnut", 1140),
        ("Brass thimble", 580),
        ("Tape measure, 150 cm", 430),
        ("Tailor's chalk, box of 4", 390),
        ("Pressing ham", 2460),
        ("Darning mushroom, olive wood", 1380),
        ("Bobbins, steel, pack of 10", 620),
        ("Beeswax for thread", 310),
        ("Sewing box, oak", 6900),
    ],
}


def products() -> Iterator[dict[str, Any]]:
    """The rows of the product table, ids from 1; about 230 of them, always the same."""
    for number, (category, name, price) in enumerate(_mixed(list(_named())), 1):
        stock = FULL_SHELF - number * 37 % 60
        yield {"id": number, "name": name, "category": category, "price_cents": price, "stock": stock}


def _named() -> Iterator[tuple[str, str, int]]:
    for category, kinds in _COLOURED.items():
        for name, price in kinds:
            for place, colour in enumerate(_COLOURS):
                yield category, name.format(colour), price + place % 4 * (price // 50) * 5
    for category, things in _PLAIN.items():
        for name, price in things:
            yield category, name, price


def _mixed(rows: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """The rows in another, fixed order, so that the first page shows a bit of everything."""
    step = 181  # shares no divisor with the number of rows: every row is met once
    return [rows[place * step % len(rows)] for place in range(len(rows))]
