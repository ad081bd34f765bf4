"""FastAPI's ``Depends`` with a stock ``AsyncSession``, which the dependency commits after its ``yield``.

In the default scope that is after the answer.
"""

from __future__ import annotations

from typing import Any

from fastapi import Depends

from benchmarks.applications.frameworks import with_dependency
from benchmarks.applications.peers.stock import committing, stock
from benchmarks.applications.sessions import AsyncSessionWork


def make(url: str, size: int) -> Any:
    app, sessions = stock(url, size)
    with_dependency(app, AsyncSessionWork(commits=False), Depends(committing(sessions)))
    return app
