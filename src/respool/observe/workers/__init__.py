"""Each process answers on a socket of its own, and whoever shows something puts the workers of an application together."""

from respool.observe.workers.client import Answer, ask, together
from respool.observe.workers.merging import merged
from respool.observe.workers.places import Worker, workers

__all__ = ["Answer", "Worker", "ask", "merged", "together", "workers"]
