"""How a pool tells what happens to it: a protocol whose methods do nothing by default.

Methods are called outside the pool's lock, in the thread or task in which it happened (where time passed: in one of the
pool's own), when all that others wait for has been done.  An exception from one is logged and goes no further; only
KeyboardInterrupt and SystemExit go on in the main thread, where they may come from the handler of a signal.
"""

from __future__ import annotations

__all__ = ["PoolObserver"]


class PoolObserver:
    """Subclass it and override what you want to hear of. Times are in seconds."""

    def connected(self, seconds: float) -> None:
        """A connection was opened; it took so long."""

    def connect_failed(self, error: BaseException) -> None:
        """A connect failed."""

    def recovered(self, seconds: float) -> None:
        """A connect succeeded again after the database had been away for so long."""

    def closed(self, reason: str) -> None:
        """A connection was closed for this reason (see ``CloseReason``)."""

    def leaked(self, holder: object, seconds: float) -> None:
        """A connection has been held for longer than ``leak_after``; ``str(holder)`` says by whom and where."""

    def leak_returned(self, holder: object, seconds: float) -> None:
        """A connection that was reported as leaked was given back after all."""
