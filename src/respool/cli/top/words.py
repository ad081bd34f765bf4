"""Values as people read them in a terminal. What comes from elsewhere can do nothing there but be read."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from textwrap import wrap

__all__ = ["bar", "clean", "cut", "cut_left", "many", "paragraph", "span"]

#: Letters that change the direction of others, or join them: they could make a line read as another one.
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def clean(value: object) -> str:
    """A text in one line without anything that a terminal would obey.

    Args:
        value: what came from a process: a path, a statement, a name. ``None`` is nothing.
    """
    if value is None:
        return ""
    text = " ".join(str(value).split())
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def _shown(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if unicodedata.category(letter) in _HIDDEN else letter


def span(seconds: float | None) -> str:
    """``3 ms``, ``0.42 s``, ``12.3 s``, ``4m05s``, ``2h07m``; nothing for ``None``."""
    if seconds is None:
        return ""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 48 else f"{hours // 24}d{hours % 24:02d}h"


def many(count: int, thing: str) -> str:
    """``1 worker``, ``3 workers``."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def cut(text: str, width: int) -> str:
    """The beginning of a text."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def cut_left(text: str, width: int) -> str:
    """The end of a text: of a path the file and the line."""
    return text if len(text) <= width else "…" + text[len(text) - max(0, width - 1) :]


def bar(part: float, whole: float, width: int) -> str:
    """A share as a bar: ``[######....]``."""
    filled = 0 if whole <= 0 else min(width, round(width * part / whole))
    return f"[{'#' * filled}{'.' * (width - filled)}]"


def paragraph(text: str, width: int, indent: str = "") -> Iterable[str]:
    """A text in lines, those after the first further in. A path is never broken."""
    return wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    ) or [indent.rstrip()]
