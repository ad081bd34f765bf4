"""The findings of this process: each kind once for each line, however often it happens; and a line in the log at the first."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from respool.observe.findings.kinds import KINDS, Kind

__all__ = ["Board", "Finding"]

logger = logging.getLogger("respool.observe")

#: How many findings are kept; those that were not seen for the longest time go first.
_MOST = 200
#: How many characters of a finding's facts are kept.
_FACT = 500


@dataclass(slots=True)
class Finding:
    """Something wrong, in one place."""

    kind: Kind
    database: str
    place: str | None  #: ``file:line`` of the line to change, as far as it is known
    what: str  #: what happened, in a line
    route: str | None
    facts: tuple[str, ...]  #: what was seen at the last time, a line each
    first: float  #: when it happened first, and last; of ``time.time()``
    last: float
    count: int = 1
    worst: float = 0.0  #: seconds, or how often, by kind


class Board:
    """See the head of the file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str, str], Finding] = {}

    def found(
        self,
        name: str,
        what: str,
        *,
        database: str,
        place: str | None = None,
        route: str | None = None,
        facts: Sequence[str] = (),
        worst: float = 0.0,
    ) -> None:
        """It happened, once more.

        Args:
            name: the kind's.
            what: what happened, in a line.
            database: the name of the database that it is about.
            place: the line to change.
            route: of the request in which it happened.
            facts: what was seen, a line each.
            worst: how bad it is: seconds, or how often.
        """
        kind, now = KINDS[name], time.time()
        facts = tuple(fact[:_FACT] for fact in facts[:20])
        key = (name, database, place or route or what)
        with self._lock:
            known = self._found.pop(key, None)
            if known is None:
                known = Finding(kind, database, place, what, route, facts, now, now, 0)
            self._found[key] = known  # the last one: the first to go is who was not seen for long
            known.count += 1
            known.last = now
            if worst >= known.worst:
                known.what, known.worst, known.facts, known.route = what, worst, facts, route
            first = known.count == 1
            while len(self._found) > _MOST:
                del self._found[next(iter(self._found))]
        if first:
            at = f" at {place}" if place else ""
            lines = "".join(f"\n  {fact}" for fact in facts)
            logger.warning("[%s] %s%s, database %r: %s%s\n  do: %s",
                           kind.code, what, at, database, kind.title, lines, kind.advice[0])  # fmt: skip

    def all(self) -> list[Finding]:
        """All findings, the one that was seen last first."""
        with self._lock:
            return list(self._found.values())[::-1]

    def clear(self) -> None:
        """Forget them."""
        with self._lock:
            self._found.clear()
