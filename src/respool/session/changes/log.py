"""What a transaction has changed so far and nobody committed: objects, flushed or not, and statements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect
from sqlalchemy.orm import InstanceState, LoaderCallableStatus, PassiveFlag

from respool.session.changes.statements import Lock, Told, tell
from respool.session.changes.states import column_values, describe, identity, key_now, primary_key, same

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, SessionTransaction

    from respool.scope.scope import Scope

__all__ = ["UNSCOPED", "Change", "ChangeKind", "ChangeLog", "Changes", "Sealed", "Unloaded"]

#: What a session is called that belongs to no scope.
UNSCOPED = "a session without a scope"


class Unloaded(Enum):
    """The old value of an attribute that was overwritten without having been loaded."""

    UNLOADED = "not loaded"

    def __repr__(self) -> str:
        return "<not loaded>"


class ChangeKind(Enum):
    """What happened to an object's row, or will at the next flush."""

    INSERT = "inserted"
    UPDATE = "updated"
    DELETE = "deleted"


@dataclass(slots=True, eq=False)  # frozen, it would take three times as long to make one for each object of a flush
class Change:
    """One object's change. ``str()`` of it names class, primary key and attributes, and no value.

    Attributes:
        kind: what happened.
        state: SQLAlchemy's record of the object.
        key: the row's identity, where it has one; the one it had before, if its primary key was changed.
        attributes: for an update, each changed attribute's value before and after.
    """

    kind: ChangeKind
    state: InstanceState[Any]
    key: Any
    attributes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    held: Any = None  #: the object, where it must not go before somebody was told of it
    known: Mapping[str, Any] | None = None  #: the values at the time of a commit or rollback

    @property
    def object(self) -> Any:
        """The object itself; ``None`` if nobody holds it any more."""
        return self.state.obj() if self.held is None else self.held

    @property
    def model(self) -> type[Any]:
        """The object's class."""
        return self.state.class_

    @property
    def identity(self) -> Mapping[str, Any]:
        """The row's primary key, by attribute; empty if it has none yet."""
        return identity(self.state, self.key)

    @property
    def values(self) -> Mapping[str, Any]:
        """The values of the row's columns, as far as they are known without asking the database."""
        return column_values(self.state) if self.known is None else self.known

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        names = f": {', '.join(self.attributes)}" if self.attributes else ""
        return f"{describe(self.state, self.key)} {self.kind.value}{names}"


@dataclass(frozen=True, slots=True)
class Changes:
    """What would be lost by a rollback now. True if there is anything.

    Attributes:
        inserts, updates, deletes: objects, flushed or not.
        statements: what was executed beside the objects, one line for each.
        locks: the statements that took a lock which is held still, one line for each; a lock is no change.
    """

    inserts: tuple[Change, ...] = ()
    updates: tuple[Change, ...] = ()
    deletes: tuple[Change, ...] = ()
    statements: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.inserts or self.updates or self.deletes or self.statements)

    def __iter__(self) -> Iterator[Change]:
        yield from self.inserts
        yield from self.updates
        yield from self.deletes

    def lines(self) -> list[str]:
        """One line for each object and statement; no values beside primary keys."""
        return [*map(str, self), *self.statements]


class Sealed:
    """What is to be committed with an answer that is made, as long as nothing else was done.

    Args:
        changes: of the moment.
    """

    __slots__ = ("_changes", "_objects", "_values", "lines")

    def __init__(self, changes: Changes) -> None:
        self.lines = changes.lines()
        self._changes = _essence(changes)
        self._objects = [change.state.obj() for change in changes]  # one that is made anew has another state
        self._values = [(change.state, _values(change.state)) for change in changes]

    def is_all(self, changes: Changes) -> bool:
        """Whether these are the same, to the same values; what was flushed, expired or loaded since is no change."""
        return self._changes == _essence(changes) and all(
            same(value, state.dict[key])
            for state, values in self._values
            for key, value in values.items()
            if key in state.dict
        )


def _essence(changes: Changes) -> tuple[set[Any], tuple[str, ...]]:
    return {(change.kind, change.state, frozenset(change.attributes)) for change in changes}, changes.statements


def _values(state: InstanceState[Any]) -> dict[str, Any]:
    """An object's values as they are now, whatever is put into its collections later."""
    return {key: copy(value) if isinstance(value, list | set | dict) else value for key, value in state.dict.items()}


#: A change is filed under the row's identity where there is one, else under the object's record.
_Filed = dict[Any, Change]


class ChangeLog:
    """The changes of one session since its last commit or rollback that have reached the database.

    Changes to objects are told by SQLAlchemy's events during a flush, statements by the engine's. What a savepoint
    takes back is forgotten again.

    Args:
        scope: whose session it is.
    """

    holding = False  #: somebody will be told: keep the objects until then

    def __init__(self, scope: Scope | None) -> None:
        self._scope = scope
        self._flushed: _Filed = {}
        self._gone: list[InstanceState[Any]] = []
        self._statements: list[str] = []
        self._locks: list[Lock] = []
        self._marks: dict[SessionTransaction, tuple[_Filed, int, int]] = {}

    @property
    def title(self) -> str:
        """Whose changes these are, in words."""
        return self._scope.title if self._scope is not None else UNSCOPED

    def clear(self) -> None:
        """Forget everything: it was committed, or rolled back."""
        self._flushed = {}
        self._gone = []
        self._statements = []
        self._locks = []
        self._marks = {}

    # -- what happened --------------------------------------------------------------------------------------------

    def inserted(self, state: InstanceState[Any]) -> None:
        _put(self._flushed, Change(ChangeKind.INSERT, state, state.key, held=self._held(state)))

    def updated(self, states: Iterable[InstanceState[Any]]) -> None:
        """Objects were flushed; they are filed under their new primary keys."""
        moved: list[tuple[InstanceState[Any], Change]] = []
        for state in states:
            if attributes := _modified(state):
                change = Change(ChangeKind.UPDATE, state, state.key, attributes, self._held(state))
                if any(name in attributes for name in primary_key(state)):
                    # Two rows may exchange their keys: all leave their places before the first one takes a new one.
                    before = self._flushed.pop(state.key, None)
                    merged = change if before is None else _merged(before, change)
                    if merged is not None:
                        moved.append((state, merged))
                else:
                    _put(self._flushed, change)
        for state, change in moved:
            self._flushed[key_now(state)] = change

    def deleted(self, state: InstanceState[Any]) -> None:
        self._gone.append(state)
        _put(self._flushed, Change(ChangeKind.DELETE, state, state.key, held=self._held(state)))

    def executed(self, context: Any) -> None:
        """A statement was executed on the session's connection."""
        try:
            told: Told | None = context.compiled.respool_told
        except AttributeError:
            told = tell(context)
        if told is not None:
            self._note(told)

    def _note(self, told: Told) -> None:
        if told.change:
            self._statements.append(told.change)
        for release in told.releases:
            self._release(release)
        self._locks += told.locks

    def _release(self, by: str) -> None:
        """A function that releases locks was called: the one that was taken last, or all that it is for."""
        held = [lock for lock in self._locks if by in lock.released_by]
        gone = held if held and by == held[-1].released_by[1] else held[-1:]
        self._locks = [lock for lock in self._locks if not any(lock is one for one in gone)]

    def savepoint(self, transaction: SessionTransaction) -> None:
        self._marks[transaction] = (dict(self._flushed), len(self._statements), len(self._locks))

    def back_to(self, transaction: SessionTransaction) -> None:
        """A savepoint was rolled back."""
        if (mark := self._marks.pop(transaction, None)) is not None:
            self._flushed, statements, locks = mark
            del self._statements[statements:]
            self._locks[locks:] = [lock for lock in self._locks[locks:] if lock.released_by]

    def deleted_states(self) -> list[InstanceState[Any]]:
        """The objects whose rows were deleted by a flush; a savepoint may have brought one back."""
        return [state for state in self._gone if state.deleted] if self._gone else []

    def _held(self, state: InstanceState[Any]) -> Any:
        return state.obj() if self.holding else None

    # -- what it comes to -----------------------------------------------------------------------------------------

    def changes(self, session: Session) -> Changes:
        """Everything that the session would lose by a rollback now, flushed or not."""
        filed = dict(self._flushed)
        for change in _unflushed(session):
            _put(filed, change)
        by_kind = {kind: tuple(c for c in filed.values() if c.kind is kind) for kind in ChangeKind}
        return Changes(
            by_kind[ChangeKind.INSERT],
            by_kind[ChangeKind.UPDATE],
            by_kind[ChangeKind.DELETE],
            tuple(self._statements),
            tuple(lock.line for lock in self._locks),
        )


def _put(filed: _Filed, change: Change) -> None:
    row = change.key or change.state
    if row not in filed:
        filed[row] = change
    elif (merged := _merged(filed.pop(row), change)) is not None:
        filed[row] = merged


def _merged(before: Change, after: Change) -> Change | None:
    """Two changes to one row as one: inserted and deleted is nothing, inserted and updated is inserted."""
    if after.kind is ChangeKind.DELETE:
        return None if before.kind is ChangeKind.INSERT else replace(after, key=before.key)
    if before.kind is ChangeKind.INSERT:
        return replace(before, state=after.state, key=key_now(after.state), held=after.held)
    if before.kind is ChangeKind.DELETE:
        return _replaced(before, after)
    values = dict(before.attributes)
    for name, (old, new) in after.attributes.items():
        values[name] = (values[name][0] if name in values else old, new)
    return _update(after, before.key, {name: pair for name, pair in values.items() if not same(*pair)})


def _replaced(before: Change, after: Change) -> Change | None:
    """A row was deleted, and another object inserted in its place."""
    if before.object is None or after.object is None:  # nobody knows any more what is different
        return Change(ChangeKind.UPDATE, after.state, after.key, held=after.held)
    old = before.values
    values = {name: (old.get(name, Unloaded.UNLOADED), new) for name, new in after.values.items()}
    return _update(after, before.key, {name: pair for name, pair in values.items() if not same(*pair)})


def _update(change: Change, key: Any, attributes: Mapping[str, tuple[Any, Any]]) -> Change | None:
    return Change(ChangeKind.UPDATE, change.state, key, attributes, change.held) if attributes else None


def _unflushed(session: Session) -> Iterator[Change]:
    for state in map(_state, session.new):
        yield Change(ChangeKind.INSERT, state, None)
    for state in map(_state, session.dirty):
        if attributes := _modified(state):
            yield Change(ChangeKind.UPDATE, state, state.key, attributes)
    for state in map(_state, session.deleted):
        yield Change(ChangeKind.DELETE, state, state.key)


def _state(obj: object) -> InstanceState[Any]:
    state: InstanceState[Any] = inspect(obj)
    return state


def _modified(state: InstanceState[Any]) -> dict[str, tuple[Any, Any]]:
    """Each attribute with a net change, as its value before and after; nothing is loaded for it."""
    changed: dict[str, tuple[Any, Any]] = {}
    committed, manager = state.committed_state, state.manager
    for name in manager if committed else ():
        if name not in committed:
            continue
        if committed[name] is LoaderCallableStatus.PASSIVE_NO_RESULT:
            # a relationship replaced without having been loaded: to ask for its history would load it
            changed[name] = (Unloaded.UNLOADED, state.dict.get(name))
            continue
        history = state.get_history(name, PassiveFlag.PASSIVE_NO_INITIALIZE)
        if not history.has_changes():
            continue
        if manager[name].impl.collection:
            kept = list(history.unchanged or ())
            changed[name] = ([*kept, *history.deleted], [*kept, *history.added])
        else:
            old = history.deleted[0] if history.deleted else Unloaded.UNLOADED
            changed[name] = (old, history.added[0] if history.added else None)
    return changed
