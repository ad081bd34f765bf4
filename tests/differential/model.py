"""A program: how the engine is made, who listens, what a session does, and how it ends.

Programs are data.  ``text(program)`` is Python: it reads as a list of what is done, and makes the same program again.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any

__all__ = [
    "Act",
    "Add",
    "Begin",
    "Block",
    "Close",
    "Commit",
    "Connect",
    "Delete",
    "Execute",
    "Expire",
    "ExpireAll",
    "Expunge",
    "Flush",
    "Get",
    "Invalidate",
    "Lazy",
    "Listen",
    "Listener",
    "Merge",
    "Modify",
    "Nested",
    "NoAutoflush",
    "Other",
    "Program",
    "Query",
    "Read",
    "Refresh",
    "Reset",
    "Rest",
    "Rollback",
    "Setup",
    "Step",
    "flat",
    "kills",
    "text",
]


@dataclass(frozen=True)
class Setup:
    """The engine, its pool, and how the session is made.

    Args:
        face: ``"hand"``: a session by hand; ``"scope"``: one of ``Database.scope()``, which commits on success;
            ``"connection"``: a session by hand that is bound to a connection.
        begin: what ours is told; ``None``: nothing.
        pool: ``"ours"`` (stock: a QueuePool), ``"queue"``, ``"null"`` or ``"static"``.
        size: of the pool.
        reset: ``reset_on_return``.
        isolation: where and which: ``("engine", "SERIALIZABLE")``, ``("options", …)``, ``("server", …)``.
        autocommit: the driver is put into autocommit, by ``connect_args`` where it knows that.
        prepare: psycopg's ``prepare_threshold``; ``0`` is at once. asyncpg: ``0``: names of the user's, ``None``: no cache.
        tenant: a setting that the connection comes with.
        expire_on_commit, autoflush, autobegin: the session's.
        stream: the engine's execution option ``stream_results``.
        second: isolation level of the second engine.
        journal: SQLite's ``journal_mode``.
        recipe: SQLAlchemy's recipe for SQLite: isolation_level None, and a listener that sends BEGIN.
    """

    face: str = "hand"
    begin: str | None = "on_write"
    pool: str = "ours"
    size: int = 2
    reset: str | None = "rollback"
    isolation: tuple[str, str] | None = None
    autocommit: bool = False
    prepare: int | None = 5
    tenant: bool = False
    expire_on_commit: bool = False
    autoflush: bool = True
    autobegin: bool = True
    stream: bool = False
    second: str | None = None
    journal: str = "delete"
    recipe: bool = False


@dataclass(frozen=True)
class Act:
    """What a listener does.

    Args:
        what: ``"nothing"``, ``"look"``, ``"info"``, ``"raise"``, ``"autocommit"``, ``"commit"``, or one of ``SQL``.
        via: ``"exec_driver_sql"``, ``"execute"``, ``"cursor"``.
        commit: whether the transaction is committed after it (on the driver's connection).
        once: only the first time that it is called.
    """

    what: str = "nothing"
    via: str = "cursor"
    commit: bool = False
    once: bool = False


@dataclass(frozen=True)
class Listener:
    """Somebody who listens to an event.

    Args:
        target: ``"engine"``, ``"pool"``, ``"dialect"``, ``"session"``; ``"engines"``, ``"sessions"``: all of them.
        event: which.
        act: what it does.
        declared: its author has declared that it only looks; it does.
    """

    target: str
    event: str
    act: Act = field(default_factory=Act)
    declared: bool = False


class Step:
    """Something that a program does."""


@dataclass(frozen=True)
class Get(Step):
    model: str
    id: int
    into: str = "a"
    lock: bool = False
    fresh: bool = False  #: populate_existing


@dataclass(frozen=True)
class Execute(Step):
    """Run a statement of the catalogue.

    Args:
        statement: its name.
        how: what is done with the result: ``"all"``, ``"first"``, ``"scalar"``, ``"scalars"``, ``"nothing"``, ``"some"``
            (the first two rows; the rest stays, for :class:`Rest`).
        into: where the first object of it goes.
        on: ``"session"``, ``"connection"`` (the session's), ``"second"`` (another engine, by ``bind_arguments``).
        options: execution options.
    """

    statement: str
    how: str = "all"
    into: str | None = None
    on: str = "session"
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Query(Step):
    """The legacy way."""

    model: str
    how: str = "all"
    into: str | None = None


@dataclass(frozen=True)
class Rest(Step):
    """The rest of the last result that was read in part."""

    how: str = "all"


@dataclass(frozen=True)
class Lazy(Step):
    slot: str = "a"
    into: str | None = None


@dataclass(frozen=True)
class Read(Step):
    slot: str = "a"
    attribute: str = "name"


@dataclass(frozen=True)
class Refresh(Step):
    slot: str = "a"


@dataclass(frozen=True)
class Expire(Step):
    slot: str = "a"


@dataclass(frozen=True)
class Expunge(Step):
    slot: str = "a"


@dataclass(frozen=True)
class Add(Step):
    model: str
    name: str = "new"
    into: str = "a"
    parent: int | None = None


@dataclass(frozen=True)
class Modify(Step):
    slot: str = "a"
    value: str = "changed"


@dataclass(frozen=True)
class Delete(Step):
    slot: str = "a"


@dataclass(frozen=True)
class Flush(Step):
    pass


@dataclass(frozen=True)
class ExpireAll(Step):
    pass


@dataclass(frozen=True)
class Merge(Step):
    """``session.merge()`` of an object from elsewhere."""

    id: int = 1
    name: str = "merged"
    into: str = "a"


@dataclass(frozen=True)
class Reset(Step):
    pass


@dataclass(frozen=True)
class Invalidate(Step):
    pass


@dataclass(frozen=True)
class Commit(Step):
    pass


@dataclass(frozen=True)
class Rollback(Step):
    pass


@dataclass(frozen=True)
class Close(Step):
    pass


@dataclass(frozen=True)
class Begin(Step):
    pass


@dataclass(frozen=True)
class Connect(Step):
    """Ask for the session's connection, with an isolation level perhaps."""

    level: str | None = None


@dataclass(frozen=True)
class Nested(Step):
    """Steps inside a savepoint; ``fails``: an exception comes out of it."""

    steps: tuple[Step, ...] = ()
    fails: bool = False


@dataclass(frozen=True)
class Block(Step):
    """Steps inside ``with session.begin()``."""

    steps: tuple[Step, ...] = ()
    fails: bool = False


@dataclass(frozen=True)
class NoAutoflush(Step):
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Other(Step):
    """What somebody else does meanwhile, in autocommit; ``"kill"``: hang up on the program's connections."""

    what: str


@dataclass(frozen=True)
class Listen(Step):
    """Somebody begins to listen."""

    listener: Listener


@dataclass(frozen=True)
class Program:
    """See the head of the file.

    Args:
        setup: the engine and the session.
        listeners: who listens from the beginning.
        steps: what is done.
        end: ``"commit"``, ``"rollback"``, ``"close"``, ``"raise"``, ``"interrupt"`` (asyncio: the task is cancelled).
        times: how often all of it is done, each time with a session of its own, on the same engine.
        warm: its reads of objects have been done before, when nobody listened: ours are answered by plans.
    """

    setup: Setup = field(default_factory=Setup)
    listeners: tuple[Listener, ...] = ()
    steps: tuple[Step, ...] = ()
    end: str = "close"
    times: int = 1
    warm: bool = False

    @property
    def heard_by(self) -> list[Listener]:
        """Who listens, from the beginning or from a step on."""
        return [*self.listeners, *(step.listener for step in flat(self.steps) if isinstance(step, Listen))]


def flat(steps: tuple[Step, ...]) -> list[Step]:
    """All steps, those inside of blocks too, in the order in which they are done."""
    found: list[Step] = []
    for step in steps:
        found += [step, *flat(getattr(step, "steps", ()))]
    return found


def kills(program: Program) -> bool:
    """Whether a program hangs up on connections."""
    return any(isinstance(step, Other) and step.what == "kill" for step in flat(program.steps))


def text(value: Any, indent: str = "") -> str:
    """A program as Python text, without what is as usual."""
    inner = indent + "    "
    if isinstance(value, tuple) and value and isinstance(value[0], Step | Listener):
        return "(\n" + "".join(f"{inner}{text(item, inner)},\n" for item in value) + f"{indent})"
    if not is_dataclass(value):
        return repr(value)
    said = []
    for each in fields(value):
        now = getattr(value, each.name)
        usual = each.default if each.default_factory is MISSING else each.default_factory()
        if now != usual:
            said.append((each.name, text(now, inner if isinstance(value, Program) else indent)))
    if isinstance(value, Program):
        return "Program(\n" + "".join(f"{inner}{name}={what},\n" for name, what in said) + f"{indent})"
    return f"{type(value).__name__}({', '.join(f'{name}={what}' for name, what in said)})"
