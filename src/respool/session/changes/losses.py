"""What was rolled back at an end and nobody had committed: told, so that no change is lost in silence."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from respool.errors import UncommittedChanges
from respool.session.changes.log import UNSCOPED

if TYPE_CHECKING:
    from respool.scope.scope import Scope

__all__ = ["logger", "report"]

logger = logging.getLogger("respool.session")


def report(scope: Scope | None, lost: Sequence[str], *, how: str = "its end") -> None:
    """Tell that changes were rolled back which nobody committed: one line in the log, and a warning.

    Raises:
        UncommittedChanges: where the warning filters turn it into an error.
    """
    title = scope.title if scope is not None else UNSCOPED
    what = f"{len(lost)} uncommitted change{'s' if len(lost) > 1 else ''}"
    warning = UncommittedChanges(
        f"{title}: {what} rolled back at {how}",
        now=lost,
        advice=[
            "call session.commit() when the work is done, or session.rollback() when it is not wanted",
            'or let every success commit: Database(url, commit="on_success")',
        ],
        scope=title,
        changes=tuple(lost),
        database=scope.database if scope is not None else None,
        place=str(scope.place or scope.asked) if scope is not None and (scope.place or scope.asked) else None,
    )
    logger.warning("%s: %s rolled back at %s: %s", title, what, how, "; ".join(lost))
    # Shown at the line that opened the scope, every time: without a registry nothing counts as shown already.
    file, _, line = scope.place.rpartition(":") if scope is not None and scope.place else (f"<{title}>", "", "1")
    warnings.warn_explicit(warning, UncommittedChanges, file, int(line), module="respool.session")
