"""What is done with a session, step by step, and all that can be seen after each step."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import event, inspect, orm

from tests.loading.mappings import Mapping

__all__ = ["STEPS", "play", "scripts"]

Step = tuple[str, int]


def view(instance: Any, session: Any) -> Any:
    """All that can be told of an object."""
    state = inspect(instance)
    held = {
        k: v for k, v in vars(state).items() if k not in ("_instance_dict", "session_id", "runid", "key", "manager")
    }
    held.pop("parents", None)
    held.pop("respool_note", None)
    return (
        type(instance).__name__,
        state.key,
        {name: _value(value) for name, value in vars(instance).items() if name != "_sa_instance_state"},
        list(vars(state)) if not state.modified else None,
        {name: repr(value) for name, value in held.items() if name not in ("_strong_obj", "load_options", "callables")},
        (state.persistent, state.pending, state.detached, state.deleted, state.modified, state.expired),
        sorted(state.expired_attributes),
        {name: _value(value) for name, value in state.committed_state.items()},
        sorted(state.unloaded),
        repr(state.load_path),
        [type(option).__name__ for option in state.load_options],
        sorted(state.callables),
        state.session is session,
        {a.key: repr(_history(a)) for a in state.attrs if a.key in vars(instance) and not isinstance(a.value, list)},
    )


def _history(attribute: Any) -> Any:
    return [[_value(each) for each in part] for part in attribute.history]


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(each) for each in value]
    state = inspect(value, raiseerr=False)
    return (type(value).__name__, state.key) if isinstance(state, orm.InstanceState) else repr(value)


def everything(session: Any) -> Any:
    """All that can be told of a session."""
    return (
        sorted((view(instance, session) for instance in session.identity_map.values()), key=repr),
        len(session.new),
        len(session.deleted),
        len(session.dirty),
    )


class Player:
    """Does the steps of one script.

    Args:
        session: on which.
        mapping: with what.
    """

    def __init__(self, session: Any, mapping: Mapping) -> None:
        self.session, self.mapping = session, mapping
        self.kept: list[Any] = []
        self.savepoints: list[Any] = []

    def do(self, name: str, n: int) -> Any:
        """One step; what comes of it."""
        return STEPS[name](self, n)

    def get(self, n: int) -> Any:
        found = self.session.get(self.mapping.Thing, self.mapping.key(n % 8))
        self.kept.append(found)
        return None if found is None else view(found, self.session)

    def get_owner(self, n: int) -> Any:
        found = self.session.get(self.mapping.Owner, n % 3)
        self.kept.append(found)
        return None if found is None else view(found, self.session)

    def thing(self, n: int) -> Any:
        found = self.session.get(self.mapping.Thing, self.mapping.key(n % self.mapping.ROWS + 1))
        self.kept.append(found)
        return found

    def change(self, n: int) -> Any:
        self.thing(n).name = f"changed {n}"

    def add(self, n: int) -> Any:
        made = self.mapping.Thing.__new__(self.mapping.Thing)
        self.mapping.Thing._sa_class_manager.setup_instance(made)
        key = self.mapping.key(20 + n)
        if self.mapping.shape.key == "pair":
            made.a, made.b = key
        else:
            made.id = key
        made.name, made.kind = "new", "thing"
        self.session.add(made)
        self.kept.append(made)

    def expire(self, n: int) -> Any:
        self.session.expire(self.thing(n), ["name"] if n % 2 else None)

    def refresh(self, n: int) -> Any:
        self.session.refresh(self.thing(n))

    def delete(self, n: int) -> Any:
        self.session.delete(self.thing(n))

    def expunge(self, n: int) -> Any:
        self.session.expunge(self.thing(n))

    def forget(self, n: int) -> Any:
        self.kept.clear()
        gc.collect()

    def savepoint(self, n: int) -> Any:
        self.savepoints.append(self.session.begin_nested())

    def back(self, n: int) -> Any:
        if self.savepoints:
            self.savepoints.pop().rollback()

    def read(self, n: int) -> Any:
        thing = self.thing(n)
        return [_value(getattr(thing, name)) for name in sorted(inspect(thing).mapper.column_attrs.keys())]

    def lazy(self, n: int) -> Any:
        thing = self.thing(n)
        return _value(thing.owner) if hasattr(type(thing), "owner") else None

    def lazy_many(self, n: int) -> Any:
        owner = self.session.get(self.mapping.Owner, n % 2 + 1)
        self.kept.append(owner)
        if self.mapping.shape.many in (None, "write_only", "dynamic"):
            return None
        return sorted(map(repr, map(_value, owner.things)))

    def pickle(self, n: int) -> Any:
        state = inspect(self.thing(n)).__getstate__()
        return {name: repr(value) for name, value in state.items() if name not in ("instance", "manager", "parents")}

    def merge(self, n: int) -> Any:
        made = self.mapping.Thing.__new__(self.mapping.Thing)
        self.mapping.Thing._sa_class_manager.setup_instance(made)
        key = self.mapping.key(n % 8)
        if self.mapping.shape.key == "pair":
            made.a, made.b = key
        else:
            made.id = key
        made.name, made.kind = f"merged {n}", "thing"
        self.kept.append(self.session.merge(made))

    def listen(self, n: int) -> Any:
        name = ("do_orm_execute", "loaded_as_persistent")[n % 2]
        event.listen(self.session, name, lambda *args: self.mapping.heard.append((name, len(args))))

    def no_autoflush(self, n: int) -> Any:
        with self.session.no_autoflush:
            return self.get(n)


def _call(name: str) -> Callable[[Player, int], Any]:
    return lambda player, n: getattr(player.session, name)()


STEPS: dict[str, Callable[[Player, int], Any]] = {
    **{
        name: method
        for name, method in vars(Player).items()
        if name not in ("__init__", "do", "thing") and callable(method)
    },
    **{name: _call(name) for name in ("flush", "commit", "rollback", "expire_all", "expunge_all", "close")},
}
_OFTEN = ("get", "get", "get", "get_owner", "change", "expire", "lazy", "read")


@st.composite
def scripts(draw: Any) -> Sequence[Step]:
    """A few steps."""
    names = st.sampled_from([*_OFTEN, *STEPS])
    return draw(st.lists(st.tuples(names, st.integers(0, 7)), min_size=2, max_size=9))


def play(session: Any, mapping: Mapping, script: Sequence[Step]) -> list[Any]:
    """Do it; what was seen at each step."""
    player, seen = Player(session, mapping), []
    mapping.heard.clear()
    for name, n in script:
        try:
            came: Any = player.do(name, n)
        except Exception as error:
            came = (type(error).__name__, str(error).partition("(Background")[0])
        seen.append((name, n, came, everything(session), list(mapping.heard)))
    return seen
