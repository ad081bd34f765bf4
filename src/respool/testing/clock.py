"""The time of a pool, which a test can move on."""

from __future__ import annotations

from typing import Any

from respool.database.base import DatabaseBase
from respool.engine import FairPool
from respool.errors import ConfigError
from respool.pool.core.entries import Wake
from respool.pool.core.state import PoolState

__all__ = ["PoolClock"]


class _Ahead:
    """A clock that is ahead of another one."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.seconds = 0.0

    def __call__(self) -> float:
        return float(self._clock() + self.seconds)


class PoolClock:
    """Moves the time of a database's pool on: connections rest and grow old, callers have waited for as long.

    ```python
    clock = PoolClock(db)
    clock.advance(301)
    assert db.pool.stats().total == 0  # max_idle=300
    ```

    Args:
        db: the database, with a pool of ours: not inside of ``rolled_back(db)``, whose one connection has no age.

    Raises:
        ConfigError: its engine has another pool.
    """

    def __init__(self, db: DatabaseBase[Any]) -> None:
        if not isinstance(db.pool, FairPool):
            raise ConfigError(
                f"PoolClock(db): the engine of database {db.name!r} has a {type(db.pool).__name__}",
                advice=["only our pools have a clock that can be moved: Database(url), or poolclass=FairPool"],
                setting="db",
            )
        self._pool: FairPool = db.pool

    def advance(self, seconds: float) -> None:
        """Move the time on; what is due by then has been done when this returns, in other event loops soon after.

        Args:
            seconds: how far.
        """
        if seconds < 0:
            raise ValueError(f"a clock cannot go back: advance({seconds!r})")
        for monitor in self._pool.running_monitors():
            ahead = monitor.clock
            if not isinstance(ahead, _Ahead):
                ahead = monitor.clock = _Ahead(ahead)
            ahead.seconds += seconds
            monitor.step(_expire, monitor.state, monitor.state.config.longest_wait)
            monitor.step(monitor.state.tick)


def _expire(state: PoolState, seconds: float) -> None:
    """Wake the callers in line who have waited for so long: they will find that they have."""
    state.todo.extend(Wake(waiter) for waiter in state.line if state.now - waiter.since >= seconds)
