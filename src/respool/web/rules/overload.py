"""What a request is answered that got no connection: 503, and when to come again."""

from __future__ import annotations

import json
import logging
import math
import re
from dataclasses import dataclass

from respool.errors import CallerGone, PoolError, PoolQueueFull, PoolTimeout

__all__ = ["OVERLOAD", "Refusal", "refusal", "speaks_json"]

logger = logging.getLogger("respool.web")

#: The errors of a request that got no connection. An application's own handler for them comes before ours.
OVERLOAD: tuple[type[PoolError], ...] = (PoolTimeout, PoolQueueFull, CallerGone)

_JSON = re.compile(r"application/(?:[\w.-]+\+)?json")
_TEXT = re.compile(r"text/.+|application/xhtml\+xml")
_NUMBER = re.compile(r"[01](?:\.\d*)?")

#: Seconds after which a client should come again, at the most.
_LONGEST = 30


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer: a status, headers, and a text for people that tells nothing about the inside."""

    status: int
    headers: dict[str, str]
    text: str
    json: bool = False  #: whether that is what the client, or the application, speaks

    @property
    def body(self) -> str:
        """The text, or JSON with it: ``{"detail": "Service Unavailable"}``."""
        return json.dumps({"detail": self.text}) if self.json else self.text

    @property
    def content_type(self) -> str:
        """What the body is."""
        return "application/json" if self.json else "text/plain; charset=utf-8"


def refusal(error: BaseException, accept: str | None = None, *, json: bool = False) -> Refusal:
    """What to answer to one of :data:`OVERLOAD`. The error itself goes to the log ``respool.web``.

    A line that is full now may be shorter in a second. Where nobody was served for as long as the pool's timeout,
    coming again sooner than that would not help.

    Args:
        error: why there is no connection.
        accept: the request's header of this name.
        json: whether the application answers JSON to those who accept anything.
    """
    json = speaks_json(accept or "", json)
    if isinstance(error, CallerGone):
        logger.info("%s", error)
        return Refusal(499, {}, "Client Closed Request", json)  # nobody reads it; nginx's status, for the access log
    logger.warning("%s", error)
    wait = min(max(1, math.ceil(error.timeout)), _LONGEST) if isinstance(error, PoolTimeout) else 1
    return Refusal(503, {"Retry-After": str(wait)}, "Service Unavailable", json)


def speaks_json(accept: str, otherwise: bool) -> bool:
    """Whether a client is to be answered JSON.

    Args:
        accept: the header of this name (RFC 9110, 12.5.1).
        otherwise: for clients that accept anything, or do not say.
    """
    json, text = _quality(accept, _JSON), _quality(accept, _TEXT)
    return otherwise if json == text else json > text


def _quality(accept: str, kind: re.Pattern[str]) -> float:
    """How welcome one kind of content is; 0.0 where it is not named."""
    best = 0.0
    for each in accept.lower().split(","):
        media, *parameters = (part.strip() for part in each.split(";"))
        if kind.fullmatch(media):
            given = next((part[2:] for part in parameters if part.startswith("q=")), "1")
            best = max(best, float(given) if _NUMBER.fullmatch(given) else 0.0)
    return best
