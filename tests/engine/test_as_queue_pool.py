"""``as_queue_pool=True``: who connects. The rest SQLAlchemy's own tests of its pool say; see tests/foreign."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import pytest

from respool.engine import FairPool


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    """Two threads, each of which takes one job."""
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.mark.parametrize("as_queue_pool", [True, False])
def test_a_caller_connects_in_its_own_thread(as_queue_pool: bool) -> None:
    threads: list[int] = []
    pool = FairPool(lambda: threads.append(threading.get_ident()) or Mock(), as_queue_pool=as_queue_pool)
    pool.connect().close()
    assert (threads == [threading.get_ident()]) is as_queue_pool
    pool.dispose()


def test_nobody_connects_for_another(callers: ThreadPoolExecutor) -> None:
    began, may_end = threading.Semaphore(0), threading.Semaphore(0)
    threads: list[int] = []

    def connect() -> Mock:
        threads.append(threading.get_ident())
        began.release()
        may_end.acquire()
        return Mock()

    def take() -> int:
        pool.connect()
        return threading.get_ident()

    pool = FairPool(connect, as_queue_pool=True, max_connecting=1)
    first = callers.submit(take)
    began.acquire()
    second = callers.submit(take)
    while pool.stats().waiting != 2:
        pass
    may_end.release()
    assert first.result() == threads[0]  # though the second connect, which its end has begun, is still under way
    began.acquire()
    assert threads[1] not in (threads[0], threading.get_ident())
    may_end.release()
    second.result()
    pool.dispose()


def test_a_failed_connect_is_its_callers() -> None:
    pool = FairPool(Mock(side_effect=LookupError("no such database")), as_queue_pool=True)
    with pytest.raises(LookupError):
        pool.connect()
    assert pool.stats().total == 0
    with pytest.raises(LookupError):
        pool.connect()
