"""What is said on the socket: one line of JSON is asked, one line of JSON is answered, and the connection ends.

Asked is ``{"respool": 1, "ask": "snapshot"}``; the answer is ``{"respool": 1, "answer": …}`` or ``{"respool": 1, "error": "…"}``.
The number counts changes of this form; what a snapshot looks like has a number of its own, ``format``.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

__all__ = [
    "LONGEST_ANSWER",
    "LONGEST_REQUEST",
    "VERSION",
    "Refused",
    "read_answer",
    "read_request",
    "stranger",
    "write",
]

VERSION = 1

#: Bytes. A snapshot of a process under load has a few hundred thousand.
LONGEST_REQUEST = 4_096
LONGEST_ANSWER = 32 * 1024 * 1024


class Refused(Exception):
    """What was said is none of the protocol's, or the other side has said no."""


def write(**content: Any) -> bytes:
    """A line."""
    return json.dumps({"respool": VERSION, **content}, separators=(",", ":")).encode() + b"\n"


def read_request(line: bytes) -> str:
    """What is asked.

    Raises:
        Refused: that is no question.
    """
    asked = _read(line).get("ask")
    if not isinstance(asked, str):
        raise Refused('the question is missing: {"respool": 1, "ask": "snapshot"}')
    return asked


def read_answer(line: bytes) -> Any:
    """What is answered.

    Raises:
        Refused: it is no answer, or one that says why there is none.
    """
    content = _read(line)
    if "answer" not in content:
        raise Refused(str(content.get("error", "it has answered nothing")))
    return content["answer"]


def _read(line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        raise Refused("that is no line of JSON") from None
    if not isinstance(content, dict) or "respool" not in content:
        raise Refused(f'that is not respool\'s protocol: {{"respool": {VERSION}, …}}')
    if content["respool"] != VERSION:
        raise Refused(f"version {content['respool']} of the protocol was used, version {VERSION} is spoken here")
    return content


def stranger(connection: socket.socket) -> str | None:
    """Who is at the other end, if it is neither this user nor the system's own; nothing where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    return None if user in (os.geteuid(), 0) else f"user {user}"
