"""When a unit of work is done once more: which failures, how often, after which pause, and what forbids it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from respool.errors import CommitNotSent, ConfigError

if TYPE_CHECKING:
    from respool.scope.scope import Scope

__all__ = ["Attempts", "Retry", "transient"]

#: serialization_failure and deadlock_detected: the transaction was rolled back, and would have succeeded alone.
_SQLSTATES = frozenset({"40001", "40P01"})
#: The same of MySQL and MariaDB: a deadlock, and a lock that was not had in time.
_MYSQL = frozenset({1213, 1205})


@dataclass(frozen=True, slots=True)
class Retry:
    """How a unit is repeated that lost against another one.

    The n-th pause is a random part of ``first * 2**n``: those that collided do not collide again in step ("full jitter",
    Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    Args:
        times: how often at most it is done once more.
        first: seconds, the longest first pause.
        longest: seconds, the longest pause of all.

    Raises:
        ConfigError: a value is out of range.
    """

    times: int = 3
    first: float = 0.05
    longest: float = 2.0

    def __post_init__(self) -> None:
        if self.times < 0 or self.first < 0 or self.longest < self.first:
            raise ConfigError(
                f"{self!r} is not accepted",
                advice=["write how often to repeat, and pauses in seconds: Retry(times=3, first=0.05, longest=2)"],
                setting="retry",
            )

    @classmethod
    def of(cls, given: Retry | int | None) -> Retry:
        """A number is how often; nothing is never."""
        return given if isinstance(given, Retry) else cls(times=given or 0)

    def pause(self, repeated: int, chance: float) -> float:
        """Seconds to wait.

        Args:
            repeated: how often it was repeated before.
            chance: between 0 and 1.
        """
        return chance * min(self.longest, self.first * 2.0**repeated)


def transient(error: BaseException) -> str | None:
    """The code of a failure that another attempt may not have: SQLSTATE 40001 or 40P01, MySQL's 1213 or 1205, our S015."""
    if isinstance(error, CommitNotSent):
        return error.code
    if not isinstance(error, DBAPIError) or error.orig is None:
        return None
    original: Any = error.orig
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    if state in _SQLSTATES:
        return str(state)
    number = original.args[0] if original.args else None
    if number in _MYSQL and not isinstance(number, bool) and state is None:
        return str(number)
    number = getattr(original, "errno", None)  # mysql-connector
    return str(number) if number in _MYSQL else None


class Attempts:
    """The attempts at one unit.

    Args:
        retry: how it is repeated.
        around: the scope around all attempts, if there is one.
    """

    __slots__ = ("_around", "_chance", "_retry", "repeated", "scope", "wait")

    def __init__(self, retry: Retry, around: Scope | None = None, chance: Callable[[], float] = random.random) -> None:
        self.scope: Scope | None = None  #: of the attempt that is under way
        self.repeated = 0
        self.wait = 0.0
        self._retry = retry
        self._around = around
        self._chance = chance

    @contextmanager
    def one(self) -> Iterator[None]:
        """An attempt. Its failure is swallowed if there is to be another one, after :attr:`wait` seconds."""
        try:
            yield
        except Exception as error:
            pause = self.pause(error)
            if pause is None:
                raise
            self.wait = pause

    def pause(self, error: BaseException) -> float | None:
        """Seconds until the next attempt; ``None`` if there is none: then the error says why, if that is of interest."""
        code = transient(error)
        if code is None or self._retry.times == 0:
            return None
        if (reason := self._irreversible()) is not None:
            error.add_note(f"not repeated after {code}: {reason}")
            return None
        if self.repeated == self._retry.times:
            error.add_note(f"given up after {code} in each of {self.repeated + 1} attempts")
            return None
        self.repeated += 1
        return self._retry.pause(self.repeated - 1, self._chance())

    def _irreversible(self) -> str | None:
        if self._around is not None and not self._around.live:
            return f"{self._around.title} ended meanwhile"
        return self.scope.irreversible if self.scope is not None else None
