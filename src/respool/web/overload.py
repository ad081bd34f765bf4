"""What a request is answered that got no connection: 503, and when to come again."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from respool.errors import CallerGone, PoolError, PoolQueueFull, PoolTimeout

__all__ = ["OVERLOAD", "Refusal", "refusal"]

logger = logging.getLogger("respool.web")

#: The errors of a request that got no connection. An application's own handler for them comes before ours.
OVERLOAD: tuple[type[PoolError], ...] = (PoolTimeout, PoolQueueFull, CallerGone)

#: Seconds after which a client should come again, at the most.
_LONGEST = 30


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer: a status, headers, and a text for people that tells nothing about the inside."""

    status: int
    headers: dict[str, str]
    text: str


def refusal(error: BaseException) -> Refusal:
    """What to answer to one of :data:`OVERLOAD`. The error itself goes to the log ``respool.web``.

    A line that is full now may be shorter in a second. Where nobody was served for as long as the pool's timeout,
    coming again sooner than that would not help.
    """
    if isinstance(error, CallerGone):
        logger.info("%s", error)
        return Refusal(499, {}, "Client Closed Request")  # nobody reads it; nginx's status, for the access log
    logger.warning("%s", error)
    wait = min(max(1, math.ceil(error.timeout)), _LONGEST) if isinstance(error, PoolTimeout) else 1
    return Refusal(503, {"Retry-After": str(wait)}, "Service Unavailable")
