"""What a pool tells: its log and its observer.  Both are somebody else's code, and whatever they do is their own affair."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from respool.pool.entries import Tell
from respool.pool.holders import Holder
from respool.pool.observer import PoolObserver
from respool.pool.words import words_of

__all__ = ["Telling"]

logger = logging.getLogger("respool.pool")

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

        What ends a program goes on where it may have come from outside: out of the handler of a signal, which runs in the
        main thread.  The pool has nothing more to do there by then but to tell.
        """
        try:
            function(*args, **kwargs)
        except BaseException as error:
            if failure is not None:
                self.say(logging.ERROR, f"pool %r: {failure}", failed=True)
            ends = isinstance(error, KeyboardInterrupt | SystemExit)
            if ends and not self._ends_here():
                raise

    def _ends_here(self) -> bool:
        """Whether even what ends a program ends where it is told."""
        return threading.current_thread() is not threading.main_thread()
