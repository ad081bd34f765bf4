"""What can be seen of respool from outside: one snapshot, which everything that shows something reads."""

from respool.observe.observation import Observation, observe
from respool.observe.probes.health import DatabaseHealth, Health, health
from respool.observe.probes.mounted import Answer, Probes
from respool.observe.snapshots import snapshot

__all__ = [
    "Answer",
    "DatabaseHealth",
    "Health",
    "Observation",
    "Probes",
    "health",
    "observe",
    "snapshot",
]
