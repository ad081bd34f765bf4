"""What can be seen of respool from outside: one snapshot, which everything that shows something reads."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from respool.observe.dashboard import dashboard
    from respool.observe.observation import Observation
    from respool.observe.observing import observe
    from respool.observe.probes.health import DatabaseHealth, Health, health
    from respool.observe.probes.mounted import Answer, Probes
    from respool.observe.snapshots import snapshot

__all__ = [
    "Answer",
    "DatabaseHealth",
    "Health",
    "Observation",
    "Probes",
    "dashboard",
    "health",
    "observe",
    "snapshot",
]

_PLACES = {
    "Answer": "probes.mounted",
    "DatabaseHealth": "probes.health",
    "Health": "probes.health",
    "Observation": "observation",
    "Probes": "probes.mounted",
    "dashboard": "dashboard",
    "health": "probes.health",
    "observe": "observing",
    "snapshot": "snapshots",
}


def __getattr__(name: str) -> Any:
    # Whoever only reads what another process tells, as ``respool top`` does, has no use for SQLAlchemy.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
