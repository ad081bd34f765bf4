"""Jobs: functions whose every run has scopes of its own. The rules, for ``db.job`` and for the libraries of ``respool.jobs``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from respool.database.run import name_of
from respool.ending.aio import end_async
from respool.ending.end import End, drive
from respool.ending.workers import perform
from respool.errors import ConfigError
from respool.whereabouts import definition

if TYPE_CHECKING:
    from respool.scope.contracts import Owner
    from respool.scope.policy import CommitPolicy
    from respool.scope.scope import Scope

__all__ = ["HasJobs", "Job", "JobKind", "as_job", "is_async"]

P = ParamSpec("P")
R = TypeVar("R")


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine."""
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


class Job:
    """One run: a scope of each database, in force for the length of a block and over with it.

    The end comes before the block is left, so that whoever called the function hears of a COMMIT that failed.
    """

    __slots__ = ("_held", "scopes")

    def __init__(self, scopes: Sequence[Scope]) -> None:
        self.scopes = scopes
        self._held = False

    def hold(self) -> None:
        """Put the scopes in force here, before the block and after it, until :meth:`leave`."""
        self._held = True
        self._enter()

    def leave(self) -> None:
        """Put back in force what was before."""
        for scope in self.scopes:
            scope.leave()

    async def end(self, error: BaseException | None = None) -> None:
        """Commit or roll back, and give every connection back; a second call does nothing."""
        await end_async(self._end(error), perform)

    def _enter(self) -> None:
        for scope in self.scopes:
            scope.enter()

    def _end(self, error: BaseException | None) -> End:
        return End([scope for scope in self.scopes if scope.live], error=error)

    def __enter__(self) -> Self:
        if not self._held:
            self._enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            drive(self._end(error))
        finally:
            if not self._held:
                self.leave()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.end(error)
        finally:
            if not self._held:
                self.leave()


@dataclass(frozen=True, slots=True)
class JobKind:
    """What all runs of one function have in common.

    Attributes:
        databases: those that it can use: in a function that is no coroutine function, those with a sync driver.
        place: ``file:line`` of the function.
        commit: what happens to uncommitted changes at the end; each database's own rule by default.
        nested: whether a run is a block within the scope around it, whose session it may use as well. Otherwise it has
            nothing to do with what is in force where it happens to be started.
    """

    databases: Sequence[Owner]
    place: str
    commit: CommitPolicy | None = None
    nested: bool = False

    @classmethod
    def of(cls, function: Callable[..., Any], databases: Iterable[Owner], **options: Any) -> Self:
        """The kind of a function.

        Raises:
            ConfigError: it is a generator function.
        """
        if isgeneratorfunction(function) or isasyncgenfunction(function):
            raise ConfigError(
                f"{name_of(function)} is a generator function: its job would be over before its first line runs",
                advice=[
                    "make it a function that returns a list",
                    'or open the scope inside of it: with db.scope("job")',
                ],
                setting="function",
            )
        awaits = is_async(function)
        usable = tuple(d for d in databases if awaits or not d.asynchronous)
        return cls(usable, definition(function) or "unknown place", **options)

    def begin(self, label: str) -> Job:
        """A run."""
        scopes = [database.new_scope(label, place=self.place, commit=self.commit) for database in self.databases]
        for scope in scopes:
            scope.parent = scope.parent if self.nested else None
        return Job(scopes)


def as_job(function: Callable[P, R], run_of: Callable[P, Job | None]) -> Callable[P, R]:
    """The function, with each call a job.

    Args:
        function: sync, or a coroutine function; what comes back is of the same kind.
        run_of: called with the function's arguments; gives the run, or ``None`` where a call is only a call.
    """
    call: Any = function

    @wraps(function)
    def run(*args: P.args, **keywords: P.kwargs) -> Any:
        if (job := run_of(*args, **keywords)) is None:
            return call(*args, **keywords)
        with job:
            return call(*args, **keywords)

    @wraps(function)
    async def run_async(*args: P.args, **keywords: P.kwargs) -> Any:
        if (job := run_of(*args, **keywords)) is None:
            return await call(*args, **keywords)
        async with job:
            return await call(*args, **keywords)

    wrapper: Any = run_async if is_async(function) else run
    return wrapper  # type: ignore[no-any-return]


class HasJobs:
    """The decorator of a database."""

    def job(
        self, label: str | None = None, *, commit: CommitPolicy | None = None
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Give each call of a function a scope: a command, a job, a thread's work. Used as ``@db.job("nightly")``.

        Inside, ``db.session`` is the session of the call. The scope is over, and committed if that is the rule, before
        the caller has the result: a COMMIT that fails is an exception out of the call. An exception rolls back and
        goes on; so does one that only means the end of a command, such as ``SystemExit``.

        Args:
            label: what errors and pages call it; the function's name by default.
            commit: what happens to uncommitted changes at its end, as for the database, whose rule is the default.

        Returns:
            a decorator for functions, and for coroutine functions.

        Raises:
            ConfigError: it was given a function, a generator function, or on an ``AsyncDatabase`` a sync one.
        """
        if label is not None and not isinstance(label, str):
            raise ConfigError(
                f"job() got {label!r} for a label",
                advice=["call it before it decorates: @db.job()", 'or with the name of the job: @db.job("nightly")'],
                setting="label",
            )
        database: Any = self

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            kind = JobKind.of(function, [database], commit=commit, nested=True)
            if not kind.databases:
                raise ConfigError(
                    f"{name_of(function)} is no coroutine function, and database {database.name!r} needs asyncio",
                    advice=["make it one: async def", "or use a Database with a sync driver"],
                    setting="function",
                )
            title = label or name_of(function)
            return as_job(function, lambda *args, **keywords: kind.begin(title))

        return decorate
