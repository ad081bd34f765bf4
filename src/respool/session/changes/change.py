"""The change set: what one transaction has changed, handed to observers with its commit or rollback."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from respool.session.changes.log import Change, Changes

if TYPE_CHECKING:
    from respool.scope.scope import Scope

__all__ = ["ChangeSet"]


@dataclass(frozen=True, slots=True)
class ChangeSet(Changes):
    """All changes of one transaction, with their values as they were at that moment. True if there is anything.

    ``str()`` and ``repr()`` name classes, primary keys and attributes, and no other values: safe to be logged.

    Attributes:
        scope: label of the request or scope; ``None`` for a session that has none.
        database: name of the database; ``None`` likewise.
    """

    scope: str | None = None
    database: str | None = None

    @classmethod
    def of(cls, changes: Changes, scope: Scope | None) -> ChangeSet:
        """What a session of the scope has changed since its last commit or rollback."""
        return cls(
            _frozen(changes.inserts),
            _frozen(changes.updates),
            _frozen(changes.deletes),
            changes.statements,
            changes.locks,
            scope=scope.label if scope is not None else None,
            database=scope.database if scope is not None else None,
        )

    def __str__(self) -> str:
        return "; ".join(self.lines()) or "no changes"

    def __repr__(self) -> str:
        return f"<ChangeSet of {self.scope!r}: {self}>"


def _frozen(changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(replace(change, known=change.values) for change in changes)
