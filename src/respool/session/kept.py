"""What an answer has decided is not taken back by those who clean up.

When a handler has returned a success, its work is to be saved. Until the first byte leaves much may run that closes
sessions by habit: ``db.session.close()``, ``remove()`` or ``rollback()`` in a teardown, a hook, somebody's middleware.
It means to leave no connection behind, not to take the work back. So it does nothing while nothing was done since. If
something was, it does what it says, and the end of the scope raises: the success would not be true any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from respool.errors import RollbackOnly
from respool.session.places import caller

if TYPE_CHECKING:
    from respool.session.life import Life
    from respool.session.scope import Scope
    from respool.session.session import Session

__all__ = ["Kept", "keep", "require_kept"]


class Kept:
    """The work of a session that is to be saved.

    Args:
        life: the session's.
        session: the session, flushed.
    """

    __slots__ = ("_mark", "taken_back")

    def __init__(self, life: Life, session: Session) -> None:
        self._mark = _mark(life, session)
        self.taken_back: str | None = None  #: by what it was lost, all the same

    def stays(self, life: Life, session: Session, how: str) -> bool:
        """Whether this is only somebody who cleans up, so that nothing is to be done.

        Args:
            life, session: whose work it is.
            how: what was called, which would lose it.
        """
        if life.ending:
            return False
        transaction = session._transaction
        if transaction is not None and transaction.is_active and self._mark == _mark(life, session):
            return True
        if life.losses(session) or (transaction is not None and not transaction.is_active):
            self.taken_back = self.taken_back or f"session.{how} at {caller()}"
        return False


def keep(scope: Scope) -> None:
    """The handler has returned a success: flush, and keep its work until the scope ends.

    Raises:
        Exception: what the flush raises.
    """
    session, life = scope.session, scope.life
    if session is None or life is None or not scope.live or scope.policy == "manual":
        return
    if not session._is_clean():
        session.flush()
    if any(life.log.size):
        life.kept = Kept(life, session)


def require_kept(scope: Scope) -> None:
    """Refuse to commit what is left of work that was taken back after the answer had been decided.

    Raises:
        RollbackOnly: it was.
    """
    kept = scope.life.kept if scope.life is not None else None
    if kept is not None and kept.taken_back is not None:
        raise RollbackOnly(
            f"the work of {scope.title} was taken back after its handler had returned a success: {kept.taken_back}",
            advice=[
                "leave the end to respool: what cleans up need neither roll back nor close",
                'what may fail there belongs into a scope of its own: with db.scope("audit") as session',
            ],
            scope=scope.label,
            reason=kept.taken_back,
            unit=None,
            error=None,
        )


def _mark(life: Life, session: Session) -> tuple[Any, ...]:
    return (session._transaction, session._is_clean(), *life.log.size)
