"""Ctrl-C in the midst of waiting for a connection leaves nothing behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from respool.pool import ConnectionPool


class Connection:
    def close(self) -> None: ...


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests were started in the background, which has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system cannot signal a thread")
def test_promise_07_ctrl_c_while_waiting_gives_up_the_place_in_line() -> None:
    pool = ConnectionPool(Connection, max_size=1)
    held = pool.acquire()
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        while not pool.stats().waiting:
            pass
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        pool.acquire()
    thread.join()
    assert pool.stats().waiting == 0
    held.release()
    with pool.acquire(timeout=0):
        assert pool.stats().acquired == 1
    pool.close()


def test_promise_07_who_asks_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that is thrown into a thread may hit one that it is just starting: whoever waits for its start hangs."""
    starters = []
    start = threading.Thread.start

    def note(thread: threading.Thread) -> None:
        starters.append(threading.get_ident())
        start(thread)

    checked: list[Connection] = []
    with ConnectionPool(Connection, check=checked.append, check_after=0.0) as pool:
        with pool.acquire():  # the keeper's thread may begin here
            pass
        monkeypatch.setattr(threading.Thread, "start", note)
        with pool.acquire():
            pass
    assert len(checked) == 1
    assert threading.get_ident() not in starters
