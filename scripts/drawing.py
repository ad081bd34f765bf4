"""What the pictures have in common: their colours, on light and on dark, and a few shapes. SVG, by hand.

A picture follows the reader's setting (``prefers-color-scheme``), and has a paper of its own, so that it can be read wherever
it stands.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

PAPER, INK, QUIET, LINE = "#ffffff", "#1f2328", "#57606a", "#57606a"
FAINT, BOX, BLUE, EDGE = "#d8dee4", "#eef3f8", "#0550ae", "#afb8c1"
GREEN, AMBER = "#dafbe1", "#fff1c2"

#: What stands for a colour where the reader's screen is dark. What is written on any of the grounds has a contrast of 4.5.
DARK = {
    PAPER: "#0d1117",
    INK: "#e6edf3",
    QUIET: "#9198a1",
    FAINT: "#30363d",
    EDGE: "#484f58",
    BOX: "#1c2836",
    BLUE: "#79c0ff",
    GREEN: "#12361f",
    AMBER: "#3a2b00",
}
_RULES = "".join(f'[{of}="{light}"]{{{of}:{dark}}}' for light, dark in DARK.items() for of in ("fill", "stroke"))
STYLE = f"<style>@media (prefers-color-scheme: dark){{{_RULES}}}</style>"
FONT = 'font-family="ui-sans-serif, system-ui, sans-serif"'
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"


def picture(width: int, height: int, alt: str, made: str, parts: Iterable[str]) -> str:
    """A whole file.

    Args:
        width, height: in pixels.
        alt: what it shows, in words.
        made: of what, by which script.
        parts: what is on it, from the back.
    """
    head = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
    tip = 'id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"'
    return "".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" {head}\n  aria-label="{html.escape(alt)}">\n',
            f"<!-- {made}: do not edit. -->\n{STYLE}\n",
            f'<defs><marker {tip}>\n<path d="M0 0 8 4 0 8z" fill="{LINE}"/></marker></defs>\n',
            f'<rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>\n<g {FONT} font-size="14">\n',
            *parts,
            "</g>\n</svg>\n",
        )
    )


def rect(x: float, y: float, width: float, height: float, *, fill: str = BOX, stroke: str = LINE) -> str:
    """A box with round corners, by its upper left one."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8" fill="{fill}" stroke="{stroke}"/>\n'


def label(
    text: str,
    x: float,
    y: float,
    *,
    anchor: str = "start",
    fill: str = INK,
    size: int = 0,
    bold: bool = False,
    mono: bool = False,
    halo: bool = False,
) -> str:
    """A line of text; with a halo it may stand on a line."""
    more = f' font-size="{size}"' if size else ""
    more += ' font-weight="600"' if bold else ""
    more += f' font-family="{MONO}"' if mono else ""
    more += f' stroke="{PAPER}" stroke-width="6" paint-order="stroke"' if halo else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{fill}"{more}>{html.escape(text)}</text>\n'


def path(d: str, *, tip: bool = True, stroke: str = LINE) -> str:
    """A line, with a tip at its end."""
    end = ' marker-end="url(#tip)"' if tip else ""
    return f'<path d="{d}" fill="none" stroke="{stroke}" stroke-width="1.5"{end}/>\n'
