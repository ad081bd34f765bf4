"""The same as in FastAPI's tutorial: handlers commit, and the dependency closes the session, after the answer."""

from __future__ import annotations

from typing import Any

from fastapi import Depends

from benchmarks.applications.frameworks import with_dependency
from benchmarks.applications.peers.stock import closing, stock
from benchmarks.applications.sessions import AsyncSessionWork


def make(url: str, size: int) -> Any:
    app, sessions = stock(url, size)
    with_dependency(app, AsyncSessionWork(commits=True), Depends(closing(sessions)))
    return app
