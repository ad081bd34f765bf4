"""The same with a bound on the line, which respool's documents recommend for whoever expects more than can be served."""

from __future__ import annotations

from typing import Any

from benchmarks.applications.peers import respool_flask


def make(url: str, size: int) -> Any:
    return respool_flask.make(url, size, max_waiting=10)
