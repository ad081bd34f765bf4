"""What all stands have in common: a library with one job on two databases, and a way to have it done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tests.jobs.work import AsyncWork, SyncWork

__all__ = ["NO_FORK", "NO_RETRY", "Outcome", "Stand"]

NO_FORK = "does not fork, or forks before it imports the application"
NO_RETRY = "does not try again"


@dataclass(frozen=True)
class Outcome:
    """What the library thinks of a job.

    Args:
        ok: whether it succeeded.
        error: what the library tells of a failure: it contains the name of the exception's class.
        id: the library's own name for the job.
    """

    ok: bool
    error: str = ""
    id: str = ""


class Stand(ABC):
    """A library with one job, which does ``work.do(what, number)``.

    Args:
        db, other: the databases.
        done: called by the library when it takes a job for done: it acknowledges it, or stores its result.
    """

    name: ClassVar[str]
    kind: ClassVar[str] = "sync"
    missing: ClassVar[dict[str, str]] = {}  #: cases that there cannot be, and why

    def __init__(self, db: Any, other: Any, done: Callable[[], Any]) -> None:
        self.db = db
        self.databases = (db, other)
        self.work: Any = (SyncWork if self.kind == "sync" else AsyncWork)(db, other)
        self.done = done
        self.build()

    @classmethod
    def title(cls) -> str:
        return f"{cls.name}-{cls.kind}"

    @abstractmethod
    def build(self) -> None:
        """The application, with the databases installed."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """For the length of a block it can work."""
        yield

    @abstractmethod
    async def perform(self, what: str, number: int = 1, *, tries: int = 1) -> Outcome:
        """Hand in a job, and wait until the library has done with it."""

    def call(self, what: str) -> Any:
        """Call the job like a function; gives a coroutine where that is one."""
        raise NotImplementedError

    @staticmethod
    def forked(folder: Path, url: str) -> list[list[int]]:
        """Have jobs done in forked children of a process that has used the database.

        Returns:
            who asked, and which of the server's processes answered: the parent before the fork, each job, the parent
            after it.
        """
        raise NotImplementedError
