"""The pace of connects while the database is away."""

from __future__ import annotations

__all__ = ["Outage"]


class Outage:
    """The database is away: one connect at a time, further and further apart, until one succeeds."""

    FIRST, LONGEST, SHARE = 0.34, 5.0, 0.06

    def __init__(self, now: float) -> None:
        self.since = now
        self.attempts = 0
        self.retry_at = now

    def failed(self, now: float, jitter: float) -> None:
        """Wait a while before the next attempt: a share of the time gone by, within limits, with some chance in it."""
        self.attempts += 1
        pause = min(self.LONGEST, self.SHARE * (now - self.since)) * (1 - 0.1 * jitter)
        self.retry_at = now + max(self.FIRST, pause)
