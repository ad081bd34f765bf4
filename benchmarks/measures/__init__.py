"""The measurements, one file each, in the order of the report."""

from __future__ import annotations

from benchmarks.measures import (
    engine,
    fairness,
    holding,
    instructions,
    memory,
    raw,
    reads,
    recovery,
    sessions,
    shrink,
    timeouts,
    waiters,
)
from benchmarks.measures.base import Column, Measurement, Target

__all__ = ["MEASUREMENTS", "Column", "Measurement", "Target"]

MEASUREMENTS: list[Measurement] = [
    fairness.MEASUREMENT,
    timeouts.MEASUREMENT,
    raw.MEASUREMENT,
    engine.MEASUREMENT,
    waiters.MEASUREMENT,
    memory.MEASUREMENT,
    recovery.MEASUREMENT,
    shrink.MEASUREMENT,
    holding.MEASUREMENT,
    sessions.MEASUREMENT,
    reads.MEASUREMENT,
    instructions.MEASUREMENT,
]
