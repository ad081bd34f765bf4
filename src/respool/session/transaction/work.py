"""What a session does in its transactions, as their connections see it: what was changed, and what is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from respool.session.changes.log import ChangeLog

if TYPE_CHECKING:
    from respool.scope.scope import Scope
    from respool.session.reads.rows import Fetch

__all__ = ["Work"]


class Work:
    """Made with a session's first transaction; it holds no connection.

    Args:
        scope: whose session it is.
    """

    # What begins with the same value in every session stands here: each attribute less makes one cheaper.
    after_reads = False  #: the transaction's first statement comes after reads that were leased
    saving = False  #: a SAVEPOINT is next, before which SQLite has to begin
    flushing = False  #: what is executed belongs to a flush
    committing = False  #: a COMMIT is under way
    unknown = False  #: nobody knows what became of it
    broken = False  #: PostgreSQL may have given the transaction up, and would roll back at a COMMIT
    doubtful = False  #: that would be a failure: it is to be asked for before
    cut_off = False  #: it was not sent, for the server had hung up
    fetch: Fetch | None = None  #: how results of the session's connection are read

    def __init__(self, scope: Scope | None) -> None:
        self.log = ChangeLog(scope)

    def clear(self) -> None:
        """The transaction is over: it was committed, or rolled back."""
        self.log.clear()
        self.committing = self.broken = self.doubtful = False
