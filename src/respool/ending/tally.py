"""Several databases in one request: two-phase where they can, and a truthful account where one fails in between."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.engine.default import DefaultDialect

from respool.errors import CommitOutcomeUnknown, ConfigError, PartialCommit

__all__ = ["Tally", "check_twophase"]


def check_twophase(engine: Engine) -> None:
    """Refuse ``twophase=True`` where SQLAlchemy's dialect has no two-phase commit.

    Raises:
        ConfigError: it has none.
    """
    if type(engine.dialect).do_prepare_twophase is DefaultDialect.do_prepare_twophase:
        raise ConfigError(
            f"twophase=True is not accepted: {engine.dialect.name}+{engine.dialect.driver} has no two-phase commit",
            advice=[
                "leave it out: databases are then committed one after the other, and PartialCommit tells if one fails",
                "PostgreSQL has it with psycopg and psycopg2, and max_prepared_transactions above zero",
            ],
            setting="twophase",
        )


class Tally:
    """What became of the databases that had changes to be committed."""

    __slots__ = ("committed", "failed", "rolled_back")

    def __init__(self) -> None:
        self.committed: list[str] = []
        self.failed: str | None = None
        self.rolled_back: list[str] = []

    def note(self, database: str, failure: BaseException | None, *, wrote: bool, committing: bool) -> None:
        """How the last step of a database went.

        Args:
            database: its name.
            failure: why the step failed, if so.
            wrote: whether it has changes that were to be committed.
            committing: whether the step was a COMMIT, not a ROLLBACK for the sake of another database.
        """
        if failure is not None:
            if committing and isinstance(failure, Exception):
                self.failed = self.failed or database
        elif wrote:
            (self.committed if committing else self.rolled_back).append(database)

    def blame(self, failure: BaseException, title: str) -> BaseException:
        """What is to be raised for the first failure: itself, or that it came between two COMMITs."""
        if not self.committed or self.failed is None or not isinstance(failure, Exception):
            return failure
        unknown = isinstance(failure, CommitOutcomeUnknown)
        partial = PartialCommit(
            f"{title}: database {_names(self.committed)} committed, "
            f"database {self.failed!r} {'perhaps: its outcome is unknown' if unknown else 'not: its COMMIT failed'}",
            now=[
                f"committed: {_names(self.committed)}",
                f"{'unknown' if unknown else 'failed'}: {self.failed!r} ({type(failure).__name__})",
                *([f"rolled back because of it: {_names(self.rolled_back)}"] if self.rolled_back else []),
            ],
            advice=[
                "make the databases agree again: take back what was committed, or do the rest once more",
                "what can fail only at its COMMIT belongs first: databases are committed in the order of the middleware",
                "where the engines have it, commit in two phases: Database(url, twophase=True)",
            ],
            committed=tuple(self.committed),
            failed=self.failed,
            rolled_back=tuple(self.rolled_back),
        )
        partial.__cause__ = failure
        return partial


def _names(databases: list[str]) -> str:
    return ", ".join(map(repr, databases))
