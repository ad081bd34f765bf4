"""What the page consists of: its files, and the snapshot as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from heapq import nlargest
from html import escape
from importlib.resources import files
from operator import itemgetter
from typing import Any

from respool.observe.dashboard.request import Response
from respool.observe.format import Merged, Snapshot
from respool.observe.observing import socket_folder
from respool.observe.snapshots import snapshot
from respool.observe.workers import merged, together

__all__ = ["RECENT", "file", "live", "page", "whole"]

#: How many requests that are over come with each look.
RECENT = 40
#: How many statements, those without a plan first; of the others the number comes along.
STATEMENTS = 100
#: Seconds within which the other processes have to answer.
WITHIN = 0.25

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
    """The processes of the application as one, with few requests, as JSON: what the page shows from moment to moment."""
    seen = _together(snapshot(*databases, requests=RECENT))
    for database in seen["databases"]:
        latest, others = database["requests"][: RECENT // 2], database["requests"][RECENT // 2 :]
        database["requests"] = latest + nlargest(RECENT // 2, others, key=itemgetter("seconds"))
        database["plans"]["statements"] = database["plans"]["statements"][:STATEMENTS]
    return _json(seen)


def whole(databases: Sequence[Any]) -> bytes:
    """The same with all that there is."""
    return _json(_together(snapshot(*databases)))


def _together(own: Snapshot) -> Merged:
    """This process with its siblings; of what these have only the databases that are shown here."""
    folder, names = socket_folder(), {each["name"] for each in own["databases"]}
    if folder is None:
        return merged([own])
    return together(own=own, folder=folder, within=WITHIN, names=names) or merged([own])


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
