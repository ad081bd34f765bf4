"""What is to be done after a transaction: calls that wait for its outcome, and run when its connection is given back.

One mechanism for all that follows a commit, whoever asks for it: users by ``session.on_commit(fn)``, our own rooms by
``session.hooks.add(Hook(...))``. The life of a hook:

1. *waiting*: :meth:`Hooks.add`, at any time in the transaction, also from a listener of SQLAlchemy's ``after_commit``.
   A hook belongs to the innermost savepoint that is open. What a savepoint takes back, :meth:`Hooks.back_to` drops.
2. *due*: the outermost transaction has ended; :meth:`Hooks.ended` keeps what waited for this outcome, in order.
3. *run*: :meth:`Hooks.run`. Within a scope that is at once, before ``commit()`` returns. At a scope's end it is after the
   last database of the request has been committed, and before the answer leaves.

By then the session has no transaction and no connection. A hook that fails is logged; it changes nothing of what was
committed, and keeps no other hook from running.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any

from respool.errors import HookFailed
from respool.session.changes.log import UNSCOPED

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, SessionTransaction

    from respool.scope.scope import Scope

__all__ = ["NO_HOOKS", "Hook", "Hooks", "Outcome", "savepoints"]

logger = logging.getLogger("respool.session")


class Outcome(Enum):
    """How a transaction ended."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    UNKNOWN = "unknown"  #: the connection broke during the COMMIT
    OPEN = "open"  #: it had only read, and ended to give its connection back: what waits goes on waiting


@dataclass(frozen=True, slots=True)
class Hook:
    """A call that waits for an outcome.

    Attributes:
        call: without arguments; it may return an awaitable where :attr:`Hooks.wait` is set.
        after: the outcome that it waits for.
        name: what logs call it.
        place: ``file:line`` where it was asked for, if that is known.
    """

    call: Callable[[], Any]
    after: Outcome
    name: str
    place: str | None = None

    def __str__(self) -> str:
        return f"on_{'commit' if self.after is Outcome.COMMITTED else 'rollback'} hook {self.name}" + (
            f" ({self.place})" if self.place else ""
        )


class Hooks:
    """The hooks of one session.

    Args:
        scope: whose session it is.
        wait: how an awaitable is awaited, where it can be.
    """

    __slots__ = ("_due", "_marks", "_running", "_scope", "_wait", "_waiting")

    def __init__(self, scope: Scope | None, wait: Callable[[Awaitable[Any]], Any] | None = None) -> None:
        self._scope = scope
        self._wait = wait
        self._waiting: list[Hook] = []
        self._marks: dict[SessionTransaction, int] = {}
        self._due: deque[Hook] = deque()
        self._running = False

    @property
    def title(self) -> str:
        """Whose session it is, in words."""
        return self._scope.title if self._scope is not None else UNSCOPED

    @property
    def present(self) -> bool:
        """Whether there is any hook."""
        return bool(self._waiting or self._due)

    @property
    def due(self) -> bool:
        """Whether there is something to :meth:`run`."""
        return bool(self._due)

    def unheard(self) -> list[str]:
        """The hooks that wait for a commit, one line each: what is lost if none comes."""
        return [f"{hook} not run" for hook in self._waiting if hook.after is Outcome.COMMITTED]

    # -- what happens to the transaction --------------------------------------------------------------------------

    def add(self, hook: Hook) -> None:
        """Let a hook wait for the end of the outermost transaction."""
        self._waiting.append(hook)

    def savepoint(self, transaction: SessionTransaction) -> None:
        """One was opened: hooks that come from here on are its own."""
        self._marks[transaction] = len(self._waiting)

    def back_to(self, transaction: SessionTransaction) -> None:
        """A savepoint was rolled back: its hooks for that are due at the outermost end, however that goes."""
        if (mark := self._marks.pop(transaction, None)) is not None:
            self._due.extend(hook for hook in self._waiting[mark:] if hook.after is Outcome.ROLLED_BACK)
            del self._waiting[mark:]

    def ended(self, outcome: Outcome) -> None:
        """The outermost transaction ended, and its connection is given back; or there was none to roll back."""
        if outcome is Outcome.OPEN:
            return
        if outcome is Outcome.UNKNOWN and self._waiting:
            names = "; ".join(map(str, self._waiting))
            logger.warning("%s: not run, for nobody knows whether the COMMIT came through: %s", self.title, names)
        self._due.extend(hook for hook in self._waiting if hook.after is outcome)
        self._waiting.clear()
        self._marks.clear()

    # -- running them ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run what is due, in order; also what becomes due meanwhile. Errors are logged.

        Raises:
            BaseException: what is no ``Exception`` (a cancellation, Ctrl-C); the rest is logged as not run.
        """
        if self._running:  # a hook committed something: whoever runs it goes on with what that made due
            return
        self._running = True
        try:
            while self._due:
                self._run(self._due.popleft())
        finally:
            self._running = False
            if self._due:
                logger.error("%s: interrupted; not run: %s", self.title, "; ".join(map(str, self._due)))
                self._due.clear()

    def _run(self, hook: Hook) -> None:
        try:
            result = hook.call()
            if isawaitable(result):
                self._await(result)
        except Exception as error:
            failed = HookFailed(
                f"{hook} failed; {self.title} stays {hook.after.value}",
                now=[f"{type(error).__name__}: {error}"],
                advice=[
                    "what must not be lost belongs into the transaction: a row in a table of things to do",
                    "let the hook handle its own errors, or hand its work to a queue that tries again",
                ],
                scope=self.title,
                hook=hook.name,
                place=hook.place,
            )
            logger.error("%s", failed, exc_info=error)

    def _await(self, result: Awaitable[Any]) -> None:
        if self._wait is None:
            if iscoroutine(result):
                result.close()  # or it would complain, later and elsewhere, that nobody awaited it
            raise TypeError("it returned an awaitable, and nothing awaits in a sync session: use AsyncDatabase")
        self._wait(result)


class _NoHooks(Hooks):
    """Those of a session that has none, and never will."""

    __slots__ = ()

    def savepoint(self, transaction: SessionTransaction) -> None: ...


#: For sessions that have none.
NO_HOOKS = _NoHooks(None)


def savepoints(session: Session) -> Iterator[SessionTransaction]:
    """The savepoints that are open, the innermost first."""
    transaction = session.get_nested_transaction()
    while transaction is not None:
        if transaction.nested:
            yield transaction
        transaction = transaction.parent
