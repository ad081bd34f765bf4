"""Threads that are hard to come by."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

__all__ = ["thread_with_the_number_of"]


@contextmanager
def thread_with_the_number_of(ended: threading.Thread) -> Iterator[threading.Thread]:
    """For the length of a block a thread runs that has the number of one that has ended, and nothing to do with it."""
    over, started = threading.Event(), []
    try:
        for _ in range(64):  # the system gives the latest number first, as a rule
            thread = threading.Thread(target=over.wait, name="a stranger")
            thread.start()
            started.append(thread)
            if thread.ident == ended.ident:
                break
        else:
            pytest.skip("this system does not give a thread's number again")
        yield started[-1]
    finally:
        over.set()
        for thread in started:
            thread.join()
