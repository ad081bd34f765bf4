"""What the doctor has found out, and what it judges: plain values, ready for JSON. Times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from respool.config import PoolConfig

__all__ = ["Facts", "File", "Limit", "Plan", "Proxy", "Setting", "Use"]


@dataclass(slots=True)
class Setting:
    """A time of the server's, as it holds for this user in this database."""

    seconds: float | None  #: ``None``: off
    source: str  #: where it was set, as far as the server tells: ``configuration file``, ``user``


@dataclass(slots=True)
class Limit:
    """How many connections somebody may have."""

    whose: str  #: ``the server``, ``the role shop`` …
    connections: int
    used: int | None  #: of these, now; without the doctor's own
    change: str  #: what raises it


@dataclass(slots=True)
class Use:
    """Who has connections now."""

    user: str
    database: str
    program: str
    connections: int
    idle_in_transaction: int = 0

    def __str__(self) -> str:
        at = f" in {self.database}" if self.database else ""
        by = f" ({self.program})" if self.program else ""
        return f"{self.connections} by {self.user}{at}{by}"


@dataclass(slots=True)
class Proxy:
    """What stands between us and the server."""

    product: str  #: ``PgBouncer 1.18.0`` or ``a proxy``
    mode: str | None  #: ``session``, ``transaction``, ``statement``, or ``None`` where that cannot be told
    signs: list[str]  #: how that is known
    keeps_prepared: bool | None = None  #: whether prepared statements of the driver's survive a change of server
    clients: int | None = None  #: how many may connect to it
    servers: int | None = None  #: how many connections it opens for this user and database
    times: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class File:
    """SQLite's database."""

    path: str | None  #: ``None``: in memory
    journal: str
    busy_timeout: float
    writable: bool
    folder_writable: bool
    threadsafe: int  #: as compiled: 0, 1 or 2


@dataclass(slots=True)
class Facts:
    """All that was found out about one database."""

    product: str
    version: str
    driver: str
    url: str  #: without secrets
    user: str | None = None
    database: str | None = None
    local: bool = False  #: on this machine
    tls: str | None = None
    replica: bool = False
    read_only: str | None = None  #: why it takes no writes
    superuser: bool = False
    isolation: str | None = None
    limits: list[Limit] = field(default_factory=list)
    in_use: list[Use] = field(default_factory=list)
    times: dict[str, Setting] = field(default_factory=dict)
    proxy: Proxy | None = None
    file: File | None = None
    galera: dict[str, str] = field(default_factory=dict)
    trip: float = 0.0  #: median of a round trip
    connect: float = 0.0  #: median of opening a connection

    def seconds(self, name: str) -> float | None:
        """A time of the server's; ``None`` where it is off, or there is none."""
        setting = self.times.get(name)
        return None if setting is None else setting.seconds


@dataclass(frozen=True, slots=True)
class Plan:
    """What is going to use the database."""

    workers: int = 1  #: processes, on all machines together
    config: PoolConfig = field(default_factory=PoolConfig)
    source: str = "the defaults; say --workers and --pool"
    reads_only: bool = False  #: nothing shall be written by this URL
    prepares: bool = True  #: the driver's prepared statements are left on

    @property
    def connections(self) -> int:
        """As many as all processes together may open."""
        return self.workers * self.config.max_size
