"""What the page consists of: its files, and the snapshot as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from respool.observe.dashboard.request import Response
from respool.observe.snapshots import snapshot

__all__ = ["RECENT", "file", "live", "page", "whole"]

#: How many requests that are over come with each look.
RECENT = 40

_KINDS = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_FILES = ("icon.svg", "page.css", "main.js", "draw.js", "tabs.js")


@cache
def _read(name: str) -> bytes:
    return files(__package__).joinpath("page", name).read_bytes()


def file(name: str) -> Response | None:
    """One of the page's companions."""
    return Response(200, _KINDS[name.rpartition(".")[2]], _read(name)) if name in _FILES else None


def page(title: str, *, streams: bool) -> Response:
    """The page itself.

    Args:
        title: what it is called.
        streams: whether snapshots can be streamed to it; else it asks for them.
    """
    words = {"TITLE": escape(title), "LIVE": "stream" if streams else "poll"}
    content = _read("page.html").decode()
    for name, word in words.items():
        content = content.replace(f"{{{name}}}", word)
    return Response(200, _KINDS["html"], content.encode())


def live(databases: Sequence[Any]) -> bytes:
    """The snapshot with few requests, as JSON: what the page shows from moment to moment."""
    return _json(snapshot(*databases, requests=RECENT))


def whole(databases: Sequence[Any]) -> bytes:
    """The snapshot with all that there is."""
    return _json(snapshot(*databases))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
