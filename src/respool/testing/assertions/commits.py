"""What was committed, and what was rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from respool.database.base import DatabaseBase
from respool.session.changes.change import ChangeSet
from respool.session.transaction.observers import SessionObserver

__all__ = ["Commits", "assert_committed", "assert_nothing_committed", "watch_commits"]


class Commits(SessionObserver):
    """What became of the changes of sessions, in order; commits of nothing are left out."""

    def __init__(self) -> None:
        self.committed_changes: list[ChangeSet] = []  #: one for each COMMIT
        self.rolled_back_changes: list[ChangeSet] = []  #: one for each rollback that lost something

    def committed(self, session: Any, changes: ChangeSet) -> None:
        """See :class:`~respool.session.transaction.observers.SessionObserver`."""
        if changes:
            self.committed_changes.append(changes)

    def rolled_back(self, session: Any, lost: ChangeSet) -> None:
        """See :class:`~respool.session.transaction.observers.SessionObserver`."""
        if lost:
            self.rolled_back_changes.append(lost)

    def lines(self) -> list[str]:
        """All of it in words."""
        return [
            *(f"committed by {changes.scope}: {changes}" for changes in self.committed_changes),
            *(f"rolled back in {changes.scope}: {changes}" for changes in self.rolled_back_changes),
        ]

    def __str__(self) -> str:
        return "\n".join(f"  {line}" for line in self.lines()) or "  no session changed anything"


@contextmanager
def watch_commits(db: DatabaseBase[Any]) -> Iterator[Commits]:
    """See what the sessions of a database commit and roll back in a block, in whatever thread.

    Args:
        db: the database. What is done by ``db.engine`` is done by no session, and not seen.

    Yields:
        what has become of changes so far.
    """
    commits = Commits()
    end = db.observe(commits)
    try:
        yield commits
    finally:
        end()


@contextmanager
def assert_committed(db: DatabaseBase[Any]) -> Iterator[Commits]:
    """A session commits changes in this block.

    Args:
        db: as for :func:`watch_commits`.

    Raises:
        AssertionError: none does; it says what was rolled back.
    """
    with watch_commits(db) as commits:
        yield commits
    if not commits.committed_changes:
        raise AssertionError(f"nothing was committed in database {db.name!r}:\n{commits}")


@contextmanager
def assert_nothing_committed(db: DatabaseBase[Any]) -> Iterator[Commits]:
    """No session commits changes in this block.

    Args:
        db: as for :func:`watch_commits`.

    Raises:
        AssertionError: one does; it says what.
    """
    with watch_commits(db) as commits:
        yield commits
    if commits.committed_changes:
        raise AssertionError(f"something was committed in database {db.name!r}:\n{commits}")
