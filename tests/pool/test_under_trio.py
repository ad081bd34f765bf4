"""Under trio: a lesson, in place of "no running event loop"."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from respool.errors import ConfigError
from respool.pool import AsyncConnectionPool
from tests.pool.test_interrupts import AsyncCounted


def test_promise_11_under_trio(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = AsyncConnectionPool(AsyncCounted().connect_async)
    acquiring = pool.acquire().__await__()
    with pytest.raises(RuntimeError, match="no running event loop"):
        acquiring.send(None)
    monkeypatch.setitem(sys.modules, "trio", SimpleNamespace(lowlevel=SimpleNamespace(in_trio_run=lambda: True)))
    acquiring = pool.acquire().__await__()
    with pytest.raises(ConfigError, match="trio") as lesson:
        acquiring.send(None)
    assert "backend='asyncio'" in str(lesson.value)
