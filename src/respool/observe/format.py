"""The snapshot's form: plain values only, ready for JSON. Whatever shows something reads this and nothing else.

``format`` counts changes that a reader has to know of; keys that are added are none.  Times are in seconds, moments are of
``time.time()``.  The keys that may be missing are those of a view of several processes: see :class:`Merged`.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

__all__ = [
    "FORMAT",
    "Connection",
    "Database",
    "Event",
    "Finding",
    "Merged",
    "Obstacle",
    "Plans",
    "Process",
    "Request",
    "Route",
    "Scope",
    "Setting",
    "Silent",
    "Snapshot",
    "Statement",
    "Waiter",
    "Worker",
]

FORMAT = 1


class Setting(TypedDict):
    """One setting of a pool."""

    name: str
    value: float | str | None
    source: str  #: where the value came from: ``default``, ``argument``, a variable's name


class Connection(TypedDict):
    """One connection of a pool."""

    number: int
    state: str  #: ``connecting``, ``idle`` or ``acquired``
    seconds: float  #: for how long it has been in this state
    age: float
    uses: int
    holder: str | None  #: the request, and the thread or task, that has it
    place: str | None  #: ``file:line in function()`` where the holder is now
    note: str | None  #: what the driver says: ``in transaction``, ``idle in transaction``
    # what follows is known of observed databases only
    route: str | None
    label: str | None  #: what the holder's work is called: ``GET /orders/3``
    taken_at: str | None  #: ``file:line`` where it was taken
    executing: bool  #: whether a statement is being executed now
    idle: float | None  #: for how long it has been held with nothing being executed
    sql: str | None  #: the last statement, without its parameters
    statements: int  #: how many were executed in this use
    in_sql: float  #: seconds of this use that were spent in the database
    pid: NotRequired[int]


class Waiter(TypedDict):
    """One caller in line for a connection."""

    seconds: float
    who: str
    place: str | None
    pid: NotRequired[int]


class Scope(TypedDict):
    """A request or block that has a session now."""

    label: str
    state: str
    phase: str
    age: float
    holds_connection: bool
    place: str | None  #: of a ``db.scope()`` block
    handler: str | None
    route: str | None
    objects: dict[str, int]  #: how many model objects it tracks, by state
    statements: int
    waited: float
    held: float
    in_sql: float
    waiting: float | None  #: for how long it has been in line now
    pid: NotRequired[int]


class Event(TypedDict):
    """One step on a request's timeline."""

    kind: str  #: ``wait``, ``hold``, ``sql`` or ``commit``
    start: float  #: since the request's beginning
    seconds: float
    sql: str | None
    place: str | None


class Request(TypedDict):
    """A request or block that is over and has used the database."""

    label: str
    route: str
    method: str | None
    status: int | None
    began: float
    seconds: float
    waited: float
    held: float
    in_sql: float
    idle: float  #: holding a connection with nothing being executed
    statements: int
    leases: int
    outcome: str  #: ``committed``, ``failed``, ``unknown`` or ``none``
    events: list[Event]
    dropped: int  #: steps that are not among the events
    pid: NotRequired[int]


class Route(TypedDict):
    """The figures of one route since the process began; times are sums."""

    route: str
    requests: int
    statements: int
    leases: int
    outcomes: dict[str, int]
    seconds: float
    waited: float
    held: float
    in_sql: float
    idle: float
    slowest: float
    most_idle: float


class Finding(TypedDict):
    """Something wrong, in one place."""

    code: str
    kind: str
    title: str
    what: str
    database: str
    place: str | None
    route: str | None
    facts: list[str]
    advice: list[str]
    count: int
    worst: float
    first: float
    last: float
    pids: NotRequired[list[int]]


class Obstacle(TypedDict):
    """Something that stands in the way of all planned reads of a database."""

    what: str
    stops: bool  #: no read goes by a plan; else they do, but through SQLAlchemy's connection, which takes longer
    advice: str


class Statement(TypedDict):
    """A statement that was executed once by a session, and whether it is planned."""

    kind: str  #: ``get``, ``lazy load``, ``select``, or ``part of a load``: a loader's, as of ``selectinload``
    text: str  #: without its parameters
    planned: bool
    why: str | None  #: it is not; or it is, but goes through SQLAlchemy's connection
    advice: str | None  #: what to do about that
    pids: NotRequired[list[int]]


class Plans(TypedDict):
    """Which reads of a database go from the driver's rows to objects by plans."""

    on: bool
    advice: str | None  #: how they are switched on
    known: int  #: statements
    planned: int  #: of these
    obstacles: list[Obstacle]  #: the worst first
    statements: list[Statement]  #: those without a plan first


class Database(TypedDict):
    """One database."""

    name: str
    url: str  #: without secrets
    asynchronous: bool
    observed: bool
    pool: dict[str, Any]  #: the numbers of ``pool.stats()``
    settings: list[Setting]
    connections: list[Connection]
    waiters: list[Waiter]
    scopes: list[Scope]
    requests: list[Request]  #: the latest first
    routes: list[Route]
    plans: Plans


class Process(TypedDict):
    """The process that a snapshot is of."""

    pid: int
    application: str  #: the same in all workers of one
    command: str
    started: float
    python: str
    sqlalchemy: str


class Snapshot(TypedDict):
    """One moment of one or more databases of a process."""

    format: int
    version: str  #: of respool
    time: str  #: UTC, ISO 8601
    process: Process
    verdict: str  #: the state of things in a sentence
    databases: list[Database]
    findings: list[Finding]  #: the one that was seen last first


class Worker(Process):
    """A process of a merged view."""

    time: str
    verdict: str
    pools: dict[str, dict[str, Any]]  #: the numbers of its pools, by the database's name


class Silent(TypedDict):
    """A process that has given no answer, or none that can be understood."""

    pid: int
    error: str


class Merged(Snapshot):
    """One moment of all processes of an application: pools are added up, each row has the ``pid`` of its process.

    ``process`` is the first of them; of requests there are as many as in one snapshot, the latest.
    """

    processes: list[Worker]
    silent: list[Silent]
