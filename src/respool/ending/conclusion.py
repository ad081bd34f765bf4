"""The last step of a session at the end of its scope: commit or not, then give the connection back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from sqlalchemy import orm

from respool.scope.policy import Verdict
from respool.session import unloaded
from respool.session.changes.losses import logger
from respool.session.life import Life, life_of
from respool.session.transaction.connection import discard
from respool.session.transaction.hooks import NO_HOOKS, Outcome

if TYPE_CHECKING:
    from respool.session.session import Session

__all__ = ["Conclusion", "Stays", "run_last_hooks"]

_Theirs = orm.Session


class Stays(Enum):
    """Whether the scopes can still be used afterwards."""

    NEVER = "never"
    ON_FAILURE = "on failure"  #: an error page may have to read
    ALWAYS = "always"  #: it is not the end yet: what was done so far is committed, or rolled back


@dataclass(slots=True)
class Conclusion:
    """Called with a session, it is its last step. Returns what was lost, in lines.

    Args:
        verdict: what becomes of its changes.
        stays: whether its scope can still be used afterwards.
        in_doubt: whether the end has failed already, or may still fail by another session.
        saved: afterwards: there was something to be committed, and it was.
    """

    verdict: Verdict
    stays: Stays
    in_doubt: bool
    saved: bool = False

    def __call__(self, session: Session) -> list[str]:
        life = life_of(session)
        stays = self.stays is Stays.ALWAYS or (self.in_doubt and self.stays is Stays.ON_FAILURE)
        try:
            if self.verdict is Verdict.COMMIT:
                holds = life.holds_connection
                _commit(life, session)
                self.saved = holds
            lost = life.losses(session) if self.verdict is Verdict.LEAVE else []
            stays = stays or (bool(lost) and self.stays is Stays.ON_FAILURE)  # where a warning is an error
            return lost
        except BaseException:
            stays = self.stays is not Stays.NEVER
            raise
        finally:
            _settle(life, session, stays=stays)


def run_last_hooks(session: Session, *, stays: bool) -> list[str]:
    """Run the hooks of the scope's end, then close for good. Returns what the hooks left uncommitted, in lines.

    Args:
        session: the session.
        stays: it is to be used again.
    """
    life = life_of(session)
    life.hooks.run()
    lost = life.losses(session)
    _settle(life, session, stays=stays)
    life.hooks.run()
    if not stays:
        life.end(session)
    return lost


def _commit(life: Life, session: Session) -> None:
    """Commit at the scope's end, as the user's class does it."""
    if session._transaction is None and not session.autobegin:
        if life.own is None and not life.hooks.present:
            return  # nobody has begun anything, and SQLAlchemy would refuse
        session.begin()
    if life.work.broken and life.changes(session):  # somebody has caught a statement's error
        life.work.doubtful = True
    if life.own is not None and life.own.commit is not None:
        life.own.commit(session)
    else:
        session.commit()


def _settle(life: Life, session: Session, *, stays: bool) -> None:
    """The scope's end is decided: give the connection back, and close for good unless hooks are to be run first."""
    hooked = life.hooks is not NO_HOOKS
    if hooked and life.hooks.present:
        try:
            _Theirs.rollback(session)
        except Exception:
            logger.warning("rolling %s back failed; its connection was discarded", life.title, exc_info=True)
            discard(life.owned)
        life.hooks.ended(Outcome.ROLLED_BACK)
    if hooked and life.hooks.due:
        return
    if stays:
        _start_over(life, session)
    else:
        life.end(session)


def _start_over(life: Life, session: Session) -> None:
    """Roll back, and give the connection back; the session can be used again."""
    try:
        if session._transaction is None:
            return
        if life.changes(session) and not life.asynchronous:
            _Theirs.rollback(session)  # what was loaded is loaded once more where somebody asks for it
        else:  # where nobody could await that, objects keep what they have loaded
            life.close(session, lambda: _Theirs.close(session), unloaded.END)
    except Exception:
        logger.warning("rolling %s back failed; its connection was discarded", life.title, exc_info=True)
        discard(life.owned)
