"""What can be seen of respool from outside: one snapshot, which everything that shows something reads."""

from respool.observe.observation import Observation, observe
from respool.observe.snapshots import snapshot

__all__ = ["Observation", "observe", "snapshot"]
