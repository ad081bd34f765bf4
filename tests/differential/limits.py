"""How long a program may take.  One that does not come to its end on SQLAlchemy shows nothing; on ours alone, a difference."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["OURS", "STOCK", "TookTooLong", "limit"]

#: Seconds for a whole program.  Pools wait for seconds, and what is slow on one side only by chance is no difference.
STOCK, OURS = 20.0, 90.0


class TookTooLong(BaseException):
    """Raised out of whatever the main thread waits for."""


@contextmanager
def limit(seconds: float, calm: Callable[[], object] = lambda: None) -> Iterator[None]:
    """A block that is interrupted when it takes longer; once more for as long as somebody hides that.

    Args:
        seconds: for the block, in the main thread.
        calm: called before that. What ends no finalizer, which Python goes on from, may end what calls one after the other.

    Raises:
        TookTooLong: it has.
    """
    over, taken, main = threading.Event(), threading.Event(), threading.main_thread()
    assert threading.current_thread() is main

    def watch() -> None:
        while not over.wait(seconds):
            signal.pthread_kill(main.ident or 0, signal.SIGUSR1)

    def interrupt(*_: Any) -> None:
        if not over.is_set():
            taken.set()
            calm()
            raise TookTooLong(f"over {seconds:g} s")

    before = signal.signal(signal.SIGUSR1, interrupt)
    watcher = threading.Thread(target=watch, name="limit", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        signal.signal(signal.SIGUSR1, before)
        if taken.is_set():  # an error from a block that it went through may have hidden it
            raise TookTooLong(f"over {seconds:g} s")
