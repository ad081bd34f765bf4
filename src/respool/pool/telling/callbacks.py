"""What a pool tells: its log and its observer.  Both are somebody else's code, and whatever they do is their own affair."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from respool.pool.core.entries import Tell
from respool.pool.core.messages import words_of
from respool.pool.telling.observer import PoolObserver
from respool.whereabouts import Holder

__all__ = ["Telling", "is_for_the_caller"]

logger = logging.getLogger("respool.pool")

_GREENLETS = ("greenlet", "gevent", "eventlet")

_WORDS = {
    "recovered": "pool %r: the database is back after %.1f s",
    "leaked": "pool %r: a connection is not given back by %s, after %.1f s",
    "leak_returned": "pool %r: the connection of %s was given back after all, after %.1f s",
}


class Telling:
    """See the head of the file.

    Args:
        name: the pool's, for people.
        observer: hears what happens.
    """

    #: Whether even what is meant for the caller ends where it is told.
    ends_here = False

    def __init__(self, name: str, observer: PoolObserver) -> None:
        self.name = name
        self.observer = observer

    def say(self, level: int, text: str, *facts: Any, failed: bool = False) -> None:
        """Write a line into the log.

        Args:
            text: with a place for the pool's name, and one for each of the ``facts``.
            failed: with the exception at hand.
        """
        self._contain(None, logger.log, level, text, self.name, *facts, exc_info=failed)

    def name_stragglers(self, lines: list[str]) -> None:
        """Say what was still held when the time for closing was over."""
        for line in lines:
            self.say(logging.WARNING, "pool %r is closed, and still: %s", line)

    def tell_all(self, told: list[Tell], *, first: bool) -> None:
        """Tell the log and the observer what has happened; ``first``: a failed connect is the first of an outage."""
        for item in told:
            self._tell(item.event, *item.facts, first=first)

    def _tell(self, event: str, *facts: Any, first: bool) -> None:
        if event == "connect_failed" and first:
            self.say(logging.WARNING, "pool %r: connect failed, trying again: %s", words_of(facts[0]))
        elif event in _WORDS:
            if event in ("leaked", "leak_returned"):
                facts = (Holder(*facts[0]), *facts[1:])
            self.say(logging.WARNING, _WORDS[event], *facts)
        self._contain(f"the observer failed on {event!r}", getattr(self.observer, event), *facts)

    def _contain(self, failure: str | None, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call somebody else's code; its failure goes into the log, if that can be.

        What is meant for the caller goes on.  The pool has nothing more to do there by then but to tell.
        """
        try:
            function(*args, **kwargs)
        except BaseException as error:
            if failure is not None:
                self.say(logging.ERROR, f"pool %r: {failure}", failed=True)
            if is_for_the_caller(error) and not self.ends_here:
                raise


def is_for_the_caller(error: BaseException) -> bool:
    """Whether it came from elsewhere and only happened to meet a function of somebody's: a time limit, a signal.

    A signal's handler runs in the main thread; the time limits of greenlets are theirs, and no ``Exception``.
    """
    if isinstance(error, Exception):
        return False
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return threading.current_thread() is threading.main_thread()
    return any(kind.__module__.partition(".")[0] in _GREENLETS for kind in type(error).__mro__)
