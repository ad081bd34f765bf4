"""The parts of a pool's state: an entry is a place, a waiter is a caller in line, and the rest is what is left to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Any, ClassVar, Protocol

__all__ = [
    "MOVES",
    "Alarm",
    "Claim",
    "CloseReason",
    "Closing",
    "EntryState",
    "Look",
    "Open",
    "PoolEntry",
    "Tell",
    "ToDo",
    "Use",
    "Waiter",
    "Wake",
]


class EntryState(Enum):
    CONNECTING = "connecting"
    IDLE = "idle"
    ACQUIRED = "acquired"
    CLOSED = "closed"


CONNECTING, IDLE, ACQUIRED, CLOSED = EntryState

#: The whole machine: the name of a move, where it starts and where it ends. The diagram in the docs is made from it.
MOVES: dict[str, tuple[EntryState, EntryState]] = {
    "opened": (CONNECTING, IDLE),
    "failed": (CONNECTING, CLOSED),
    "take": (IDLE, ACQUIRED),
    "expire": (IDLE, CLOSED),
    "give": (ACQUIRED, IDLE),
    "hand": (ACQUIRED, ACQUIRED),
    "drop": (ACQUIRED, CLOSED),
}


class CloseReason(Enum):
    """Why a connection was closed, or a connect given up."""

    MAX_IDLE = "max_idle"
    MAX_LIFETIME = "max_lifetime"
    BROKEN = "broken"
    FAILED_CHECK = "failed_check"
    FAILED_RESET = "failed_reset"
    DETACHED = "detached"
    EVICTED = "evicted"
    SHRUNK = "shrunk"
    POOL_CLOSED = "pool_closed"
    SERVER_CLOSED = "server_closed"


class Use(Protocol):
    """What is noted of one use of a connection, from taking it to giving it back."""

    def over(self, seconds: float) -> None:
        """It is given back, or lost, after so long. The pool is locked: note it, and do nothing else."""

    def leased(self) -> None:
        """It was for one plain read, which had a transaction of its own."""


class PoolEntry:
    """One place of the pool, and the connection in it."""

    __slots__ = (
        "acquired_at",
        "check_at",
        "created_at",
        "doubted",
        "expires_at",
        "forgotten",
        "generation",
        "holder",
        "idle_since",
        "leaked",
        "number",
        "resource",
        "rested",
        "started",
        "state",
        "use",
        "uses",
    )

    def __init__(self, number: int, now: float, generation: int) -> None:
        self.number = number
        self.state = CONNECTING
        self.resource: Any = None
        self.created_at = now
        self.expires_at = inf
        self.generation = generation
        self.idle_since = now
        self.acquired_at = now
        self.check_at = inf  #: from here on a checkout looks twice: the rest was long, or the life is over
        self.rested = False  #: it lay idle before it was acquired
        self.doubted = False  #: another one was found dead while this one rested
        self.uses = 0
        self.started: object = None  #: who is opening its connection
        self.holder: Any = None  #: who has it, for people
        self.forgotten = False  #: it belongs to the process that forked this one
        self.leaked = False  #: held for so long that it has been reported
        self.use: Use | None = None  #: what is noted of its present use, where somebody takes notes

    def end_use(self, now: float) -> None:
        """Tell whoever takes notes that the present use is over."""
        use, self.use = self.use, None
        if use is not None:
            use.over(now - self.acquired_at)

    def __repr__(self) -> str:
        return f"<PoolEntry {self.number} {self.state.value}>"


class Claim:
    """What a caller has, or waits for, from before anything has changed for it until it is given back.

    An exception may come out of nowhere between any two instructions.  So whatever a step does for a caller it writes
    down here, in the same step; the caller keeps its claim at hand, and lets go of it whatever happens.
    """

    __slots__ = ("_entry", "_monitor", "_waiter", "_who")

    def __init__(self) -> None:
        self._monitor: Any = None  #: the pool that it is made on
        self._entry: PoolEntry | None = None
        self._who: Any = None  #: the holder of that entry, as long as it is this one: a second give is none
        self._waiter: Waiter | None = None


class Waiter:
    """A caller in line. It ends with an ``entry``, with an ``error``, or by leaving the line itself."""

    __slots__ = ("entry", "error", "left", "patient", "signal", "since", "who")

    def __init__(self, now: float, who: Any, signal: Any) -> None:
        self.since = now
        self.who = who
        self.signal = signal  #: the driver's own means of waking the caller
        self.entry: PoolEntry | None = None
        self.error: BaseException | None = None
        self.left = False
        self.patient = True  #: it waits for more than the connect that is made for it

    @property
    def waiting(self) -> bool:
        return self.entry is None and self.error is None and not self.left


@dataclass(slots=True)
class Wake:
    """To do: wake this caller; its entry or error is set."""

    rank: ClassVar[int] = 0  #: what is to do is done in this order: first what others wait for, telling last
    waiter: Waiter


@dataclass(slots=True)
class Open:
    """To do: open a connection for this place, and report ``opened`` or ``failed``."""

    rank: ClassVar[int] = 1
    entry: PoolEntry


@dataclass(slots=True)
class Closing:
    """To do: close this connection; it is no longer part of the pool."""

    rank: ClassVar[int] = 3
    entry: PoolEntry
    reason: CloseReason
    begun: bool = False


@dataclass(slots=True)
class Look:
    """To do: see whether the other end has closed these, and report ``found_closed``."""

    rank: ClassVar[int] = 2
    entries: list[PoolEntry]


@dataclass(slots=True)
class Alarm:
    """To do: call ``tick`` at this time."""

    rank: ClassVar[int] = 0
    at: float


@dataclass(slots=True)
class Tell:
    """To do: tell the observer."""

    rank: ClassVar[int] = 4
    event: str
    facts: tuple[Any, ...]


ToDo = Wake | Open | Closing | Look | Alarm | Tell
