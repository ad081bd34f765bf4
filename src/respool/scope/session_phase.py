"""The phases of a session's life."""

from __future__ import annotations

from enum import Enum

__all__ = ["CLOSED", "COMMITTED", "CREATED", "REMOVED", "ROLLED_BACK", "WORKING", "SessionPhase"]


class SessionPhase(Enum):
    """Where a session is in its life: creation → work → commit or rollback → close → removal."""

    CREATED = "created"  #: nothing was done with it yet
    WORKING = "working"  #: a transaction is open
    COMMITTED = "committed"  #: the last transaction was committed
    ROLLED_BACK = "rolled back"  #: the last transaction was rolled back
    CLOSED = "closed"  #: its connection is back in the pool; usable again in the same scope
    REMOVED = "removed"  #: its scope has ended; it refuses


#: The phases by their names: Python takes three times as long to find a member in its class.
CREATED, WORKING, COMMITTED, ROLLED_BACK, CLOSED, REMOVED = SessionPhase
