"""How scopes end: the rules, written once.

An ``End`` has generators that say what to do with which session, one step after the other, and are told how it went.
Who drives them decides how a step is run: called at once, awaited in a greenlet, or sent to a thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from typing import Any

from respool.ending.conclusion import Conclusion, Stays, run_last_hooks
from respool.ending.tally import Tally
from respool.errors import ConcurrentUse, UncommittedChanges
from respool.scope.guard import ENDING
from respool.scope.policy import Verdict, decide
from respool.scope.scope import ENDED, FINISHING, Scope
from respool.session.changes.losses import logger, report
from respool.session.life import Life, life_of
from respool.session.reads.begin import hears_of_end
from respool.session.session import Session
from respool.session.transaction.hooks import NO_HOOKS

__all__ = ["End", "Stays", "Step", "Steps", "drive", "drive_async", "end_idle"]


@dataclass(frozen=True, slots=True)
class Step:
    """Something to be done with a scope's session, where its driver may block."""

    scope: Scope
    do: Callable[[Session], Any]

    def run(self, session: Session) -> Any:
        """Do it, acting for the scope's end in this thread or task."""
        life = life_of(session)
        life.guard.adopt()
        life.ending = True
        try:
            return self.do(session)
        finally:
            life.ending = False
            if self.scope.state is ENDED:  # the driver gave up waiting meanwhile
                life.end(session)


_flush = methodcaller("flush")

#: What an end is made of: steps out, results in.
Steps = Generator[Step, Any, None]


class End:
    """The end of the scopes of one request or block: decide, commit or roll back, give every connection back.

    All databases are flushed before the first COMMIT, so that what can fail fails before anything is saved. Whatever
    happens, after the last step every scope has ended and no session has a connection.

    Args:
        scopes: what ends, in the order in which the databases are to be committed.
        status: the response's status; ``None`` outside of HTTP.
        error: the exception that escaped, if any.
        stays: whether the scopes can still be used afterwards. After a failure all that they do is rolled back.
    """

    def __init__(
        self,
        scopes: Sequence[Scope],
        status: int | None = None,
        error: BaseException | None = None,
        stays: Stays = Stays.NEVER,
    ) -> None:
        self.scopes = scopes
        self.status = status
        self.error = error
        self.stays = stays
        self.committing = False  #: whether a COMMIT was asked of any database
        self.late: Exception | None = None  #: what is told of it since it was given up
        self.saved = False  #: whether a COMMIT of something has succeeded
        self._open: list[Scope] = []  #: taken out of use, and neither over nor given back yet
        self._verdicts: dict[Scope, Verdict] = {}
        self._first: BaseException | None = None  #: of what has failed
        self._tally = Tally()
        self._cut: BaseException | None = None  #: it was given up
        self.hooked: list[Scope] = []  #: settled, and not over before their hooks have run: see :meth:`afterwards`

    @property
    def failure(self) -> BaseException | None:
        """Why it failed, so far."""
        return self.late or self._first

    def begin(self) -> bool:
        """Take the scopes out of use, and decide. Whether there are steps to be taken: any session to be seen to."""
        for outer in self.scopes:
            for scope in outer.family() if outer.children else (outer,):
                if self._begins(scope):
                    self._verdicts[scope] = Verdict.ROLLBACK
        try:
            for scope in self._verdicts:
                if scope.taken is not None and self.error is None:
                    raise scope.taken
                error = self.error or scope.failure
                verdict = decide(scope.policy, self.status, error, scope.doomed, scope.method)
                if verdict is Verdict.COMMIT and scope not in self.scopes:
                    verdict = Verdict.LEAVE  # a fork whose block is still open has not done its work
                self._verdicts[scope] = verdict
        except BaseException as problem:
            self._fails(problem)
        return bool(self._verdicts) or self._first is not None

    def flushes(self) -> Steps:
        """The steps before the first COMMIT. They are work like the user's own: it may take its time, or be cancelled."""
        for scope, verdict in self._verdicts.items():
            if verdict is Verdict.COMMIT and self._first is None and _unflushed(scope):
                try:
                    yield Step(scope, _flush)
                except BaseException as problem:
                    self._fails(problem)

    def conclusions(self) -> Steps:
        """The last steps. They have to be taken, whatever becomes of the caller.

        Raises:
            PartialCommit: a COMMIT failed after another database had been committed.
            Exception: a flush or COMMIT failed, and nothing was saved.
            UncommittedChanges: something was left uncommitted, and the warning filters make that an error.
        """
        lost: list[tuple[Scope, list[str]]] = []
        writing = self._writing() if len(self._verdicts) > 1 else []  # with one there is nothing to agree on
        prepared = [s for s in writing if len(writing) > 1 and s.session is not None and s.session.twophase]
        for scope in prepared:
            if self._first is None:
                try:
                    yield Step(scope, Session.prepare)
                except BaseException as problem:
                    self._fails(problem)
        # What is prepared comes last: its COMMIT can hardly fail any more, and until then it can be taken back.
        for scope in sorted(self._verdicts, key=prepared.__contains__):
            if _is_idle(scope):
                continue
            wanted = self._verdicts[scope]
            verdict = wanted if self._first is None else Verdict.ROLLBACK
            commits = verdict is Verdict.COMMIT
            self.committing = self.committing or commits
            in_doubt = len(self._verdicts) > 1 or self._first is not None
            conclusion = Conclusion(verdict, self.stays, in_doubt=in_doubt)
            here: BaseException | None = None
            try:
                lost.append((scope, (yield Step(scope, conclusion))))
                self.saved = self.saved or conclusion.saved
            except BaseException as problem:
                self._fails(problem)
                here = problem
            self._tally.note(scope.database, here, wrote=scope in writing, committing=commits)
            if scope.life is not None and scope.life.hooks is not NO_HOOKS and scope.life.hooks.due:
                self.hooked.append(scope)
        for scope, lines in lost:
            if lines:
                try:
                    report(scope, lines)
                except BaseException as problem:
                    self._fails(problem)
        yield from self._completions()
        self._raise()

    def afterwards(self) -> Steps:
        """The hooks, when every database has had its last step and no session has a connection. Then the scopes are over.

        What hooks raise is logged; they cannot change what was answered to them.
        """
        try:
            for scope in self.hooked:
                lines = yield Step(scope, partial(run_last_hooks, stays=self._goes_on(scope)))
                if lines:
                    with suppress(UncommittedChanges):  # an error by the filters; it comes too late to be one here
                        report(scope, lines, how="the end of its hooks")
        finally:
            for scope in self.hooked:
                self._complete(scope)

    def cut_off(self) -> None:
        """Discard the connections of sessions whose last step was never begun. After a full end there are none."""
        self._cut = _CutOff()
        for scope in self._open.copy():
            if scope.life is None or not scope.life.ending:
                self._complete(scope)
        self.stays = Stays.NEVER  # for those whose step is still under way

    def _begins(self, scope: Scope) -> bool:
        """Take the scope out of use; whether its session is there to be seen to."""
        session, life = scope.session, scope.life
        if not scope.live:
            scope.end()
            return False
        if self.stays is Stays.ALWAYS and (session is None or life is None or not _has_begun(session, life)):
            scope.failure = scope.failure or self.error
            return False
        if session is None or life is None:
            if self.stays is Stays.NEVER:
                scope.end()
            else:
                self._take(scope)
            return False
        if self.stays is Stays.NEVER and end_idle((scope,)):
            return False
        if life.guard.seize():
            self._take(scope)
            return True
        if self.stays is Stays.ALWAYS:  # the end itself will tell who it is
            return False
        inside = life.guard.inside
        scope.end()  # before the second attempt: who leaves the session after this cleans up
        life.last_one_out(session)
        self._first = self._first or ConcurrentUse(
            f"{scope.title} ended while {inside or 'somebody'} was inside its session",
            advice=["await or join everything that uses the session before the end"],
            scope=scope.label,
            owner=str(inside),
            intruder=ENDING,
        )
        return False

    def _take(self, scope: Scope) -> None:
        scope.state = FINISHING
        self._open.append(scope)

    def _goes_on(self, scope: Scope) -> bool:
        failed = self._first is not None or self._cut is not None
        return scope in self.scopes and (self.stays is Stays.ALWAYS or (failed and self.stays is Stays.ON_FAILURE))

    def _completions(self) -> Steps:
        for scope in self._open.copy():
            if scope in self.hooked:
                continue
            life = scope.life
            if (
                life is not None and life.own is not None and not (life.over or self._goes_on(scope))
            ):  # may take its time
                try:
                    yield Step(scope, life.end)
                except BaseException as problem:
                    self._fails(problem)
            self._complete(scope)

    def _complete(self, scope: Scope) -> None:
        """The scope is over, or can be used again. Nothing is asked of a database."""
        self._open.remove(scope)
        session, life = scope.session, scope.life
        settled = session is None or session._transaction is None
        if self._goes_on(scope):
            scope.go_on(self._first or self.error or self._cut, anew=not settled)
        else:
            scope.end()
        if session is not None and life is not None:
            if settled and scope.state is ENDED:
                life.guard.adopt()
                life.end(session)
            elif not settled:  # the last step was cut off
                life.abandon(session)
            life.guard.release()

    def _writing(self) -> list[Scope]:
        """The scopes that have changes to be committed, if there are several."""
        committing = [scope for scope, verdict in self._verdicts.items() if verdict is Verdict.COMMIT]
        return [scope for scope in committing if _has_changes(scope)] if len(committing) > 1 else []

    def _fails(self, problem: BaseException) -> None:
        """The first failure is remembered, and the end goes on; unless it is its driver that goes."""
        if isinstance(problem, GeneratorExit):
            raise problem
        self._first = self._first or problem

    def _raise(self) -> None:
        failure = self._first
        if failure is None:
            return
        if self.error is not None and isinstance(failure, Exception):  # the first error goes on
            logger.error("ending %s failed after %r", self.scopes[0].title, self.error, exc_info=failure)
            return
        raise self._tally.blame(failure, self.scopes[0].title)


class _CutOff(Exception):
    """The end of a scope took too long."""


def end_idle(scopes: Sequence[Scope]) -> bool:
    """The door to the end: end scopes at once, if there is nothing to be decided in any, and no connection to wait for.

    Returns:
        whether all are over; else there has to be an :class:`End`.
    """
    for scope in scopes:
        if not _is_idle(scope):
            return False
    over = True
    for scope in scopes:
        session, life = scope.session, scope.life
        if session is None or life is None:
            scope.end()
        elif life.guard.seize():
            if life.observers.all:
                life.guard.adopt()  # who is told of it and uses the session is told that its scope is over
            scope.end()
            life.end(session)
            life.guard.release()
        else:  # somebody is inside of its session, or another end is under way
            over = False
    return over


def _is_idle(scope: Scope) -> bool:
    """Whether there is nothing to be decided at the end of a scope."""
    session, life = scope.session, scope.life
    if scope.children:
        return False
    if session is None or life is None:
        return True
    if _has_begun(session, life) or scope.taken is not None:
        return False
    if life.own is not None:  # what its class does at an end may take its time
        return False
    return not hears_of_end(session, commits=scope.policy != "manual")


def _has_begun(session: Session, life: Life) -> bool:
    """Whether there is anything that can be rolled back."""
    return session._transaction is not None or (life.hooks is not NO_HOOKS and life.hooks.present)


def _unflushed(scope: Scope) -> bool:
    session = scope.session
    return session is not None and not session._is_clean()


def _has_changes(scope: Scope) -> bool:
    session, life = scope.session, scope.life
    return session is not None and life is not None and bool(life.changes(session))


def drive(end: End) -> None:
    """End scopes here and now."""
    if end.begin():
        if len(end.scopes) > 1:  # else the COMMIT's own flush comes early enough
            _drive(end.flushes())
        try:
            _drive(end.conclusions())
        finally:
            if end.hooked:
                _drive(end.afterwards())


def _drive(steps: Steps) -> None:
    try:
        step = next(steps)
        while True:
            try:
                assert step.scope.session is not None
                result = step.run(step.scope.session)
            except BaseException as problem:
                step = steps.throw(problem)
            else:
                step = steps.send(result)
    except StopIteration:
        return


async def drive_async(steps: Steps, perform: Callable[[Step], Awaitable[Any]]) -> None:
    """Take the steps, awaiting each."""
    try:
        step = next(steps)
        while True:
            try:
                result = await perform(step)
            except BaseException as problem:
                step = steps.throw(problem)
            else:
                step = steps.send(result)
    except StopIteration:
        return
