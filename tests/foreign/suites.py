"""What is run of SQLAlchemy's suite: which tests, on which databases, with which classes of ours in the stock ones' place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FOLDER", "STOCK", "SUITES", "Job", "Run", "Suite"]

FOLDER = Path(__file__).resolve().parent

#: The mode that leaves SQLAlchemy's own classes in place, to compare with.
STOCK = "stock"


@dataclass(frozen=True)
class Job:
    """What is run on one database.

    Args:
        name: of the database and its driver.
        files: what is run, as patterns.
        left_out: tests that fail with the stock classes too.
    """

    name: str
    files: Sequence[str]
    left_out: Sequence[str] = ()

    @property
    def needs_postgres(self) -> bool:
        return self.name.startswith("postgresql")

    def url(self, server: str) -> str:
        """The database's URL; ``server``: that of the PostgreSQL database, when it is one."""
        return server if self.needs_postgres else f"{self.name}:///suite.db"


@dataclass(frozen=True)
class Suite:
    """A part of the suite, and the classes that it is run with.

    Args:
        name: of what is tested.
        plugin: of pytest, in the folder ``plugins``, that puts our classes in place before the suite is imported.
        modes: what the plugin makes the classes do. In the first they are to do all that the stock ones do.
        jobs: what is run.
    """

    name: str
    plugin: str
    modes: Sequence[str]
    jobs: Sequence[Job]

    def jobs_in(self, mode: str) -> Sequence[Job]:
        """What is run in a mode."""
        return [
            job for job in self.jobs if mode != "far" or "psycopg" in job.name
        ]  # the others cannot send BEGIN along

    @property
    def allowed(self) -> Path:
        """The list of tests that may fail."""
        return FOLDER / "allowed" / f"{self.name}.toml"


@dataclass(frozen=True)
class Run:
    """One run of pytest."""

    suite: Suite
    mode: str
    job: Job

    def __str__(self) -> str:
        return f"{self.suite.name}, {self.mode}, {self.job.name}"

    @property
    def file_name(self) -> str:
        return f"{self.suite.name}-{self.mode}-{self.job.name}"


_ENGINE = [f"test/engine/test_{name}.py" for name in ("reconnect", "logging", "execute", "parseconnect", "transaction")]
_ASYNCIO = ["test/ext/asyncio", "test/base/test_concurrency*.py"]  # the latter's name changed with 2.1
_ORM = [
    f"test/orm/test_{name}.py" for name in ("session", "transaction", "unitofwork", "unitofworkv2", "lazy_relations")
]

POOL = Suite(
    "pool",
    plugin="swap_pool",
    modes=("as_queue_pool", "fair", "far"),
    jobs=[
        Job(
            "sqlite",
            ["test/engine/test_pool.py", *_ENGINE],
            # its own end finds the file locked, by the connection that it has invalidated
            left_out=["test/engine/test_reconnect.py::InvalidateDuringResultTest"],
        ),
        Job("sqlite+aiosqlite", _ASYNCIO),
        Job("postgresql+psycopg", _ENGINE),
        Job("postgresql+asyncpg", [*_ENGINE, *_ASYNCIO]),
        Job("postgresql+psycopg_async", [*_ENGINE, *_ASYNCIO]),
    ],
)

SESSION = Suite(
    "session",
    plugin="swap_session",
    modes=("on_use", "on_write", "together"),
    jobs=[
        Job("sqlite", _ORM),
        Job("postgresql+psycopg", _ORM),
        Job("sqlite+aiosqlite", ["test/ext/asyncio/test_session.py"]),
        Job("postgresql+asyncpg", ["test/ext/asyncio/test_session.py"]),
        Job("postgresql+psycopg_async", ["test/ext/asyncio/test_session.py"]),
    ],
)

SUITES = (POOL, SESSION)
