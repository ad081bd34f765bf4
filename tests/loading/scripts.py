"""What is done with a session, step by step, and all that can be seen after each step."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import bindparam, event, inspect, orm, select

from tests.loading.mappings import Mapping
from tests.loading.statements import collections, statement_of

__all__ = ["STEPS", "Step", "play", "scripts"]

Step = tuple[str, int]


def sync_of(session: Any) -> Any:
    """The session itself: a script's may be the face of an async one."""
    return getattr(session, "sync_session", session)


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
        {name: _value(value) for name, value in sorted(vars(instance).items()) if name != "_sa_instance_state"},
        list(vars(state)) if not state.modified else None,
        {name: repr(value) for name, value in held.items() if name not in ("_strong_obj", "load_options", "callables")},
        (state.persistent, state.pending, state.detached, state.deleted, state.modified, state.expired),
        sorted(state.expired_attributes),
        {name: _value(value) for name, value in state.committed_state.items()},
        sorted(state.unloaded),
        repr(state.load_path),
        [(type(option).__name__, getattr(option, "payload", None)) for option in state.load_options],
        sorted(state.callables),
        state.session is sync_of(session),
        {
            a.key: repr(_history(a))
            for a in state.attrs
            if a.key in vars(instance) and not isinstance(a.value, list | set | dict)
        },
    )


def _history(attribute: Any) -> Any:
    return [[_value(each) for each in part] for part in attribute.history]


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(each) for each in value]
    if isinstance(value, set):
        return sorted(repr(_value(each)) for each in value)
    if isinstance(value, dict):
        return {key: _value(each) for key, each in value.items()}
    state = inspect(value, raiseerr=False)
    return (type(value).__name__, state.key) if isinstance(state, orm.InstanceState) else repr(value)


def everything(session: Any) -> Any:
    """All that can be told of a session."""
    return (
        sorted((view(instance, session) for instance in session.identity_map.values()), key=repr),
        len(session.new),
        len(session.deleted),
        len(session.dirty),
        session.in_transaction(),
    )


def _seen(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: _seen(value) for key, value in found.items()}
    if isinstance(found, list | tuple) or type(found).__name__ == "Row":
        return [_seen(each) for each in found]
    return _value(found)


def _error(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return type(error).__name__, str(error)


FETCHES: list[Callable[[Any], Any]] = [
    lambda result: result.all(),
    lambda result: result.first(),
    lambda result: _error(result.one),
    lambda result: _error(result.one_or_none),
    lambda result: result.unique().all(),
    lambda result: [*result.partitions(2)],
    lambda result: [result.fetchmany(2), result.fetchmany(1), result.all()],
    lambda result: [*result.yield_per(2)],
    lambda result: [next(result), next(result, None), result.close()],
    lambda result: [*result.freeze()()],
    lambda result: [*result],
    lambda result: _error(lambda: [*result.unique().yield_per(2)]),
    lambda result: [result.closed, result.all(), _error(result.all), result.closed],
    lambda result: _error(lambda: [[*result.keys()], result.mappings().all()]),
    lambda result: _error(lambda: result.columns(0).fetchmany(3)),
    lambda result: [_error(lambda: result.scalar_one_or_none()), _error(result.all)],
    lambda result: [result.unique(lambda each: type(each)).all(), _error(result.first)],
    lambda result: _error(lambda: [row._fields for row in result.tuples()]),
    lambda result: _error(lambda: result.merge(result.freeze()()).all()),
]


class Player:
    """Does the steps of one script.

    Args:
        session: on which.
        mapping: with what.
        time: how often it was done before: statements have other values each time.
    """

    def __init__(self, session: Any, mapping: Mapping, time: int) -> None:
        self.session, self.mapping, self.time = session, mapping, time
        self.kept: list[Any] = []
        self.savepoints: list[Any] = []

    def do(self, name: str, n: int) -> Any:
        """One step; what comes of it."""
        return STEPS[name](self, n)

    def statement(self, n: int) -> Any:
        return statement_of(self.mapping, n, self.time)

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
        things = owner.things
        return sorted(map(repr, map(_value, things.values() if isinstance(things, dict) else things)))

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

    def trace(self, n: int) -> Any:
        """From now on somebody hears of what is executed, with SQLAlchemy's record of it."""

        def executed(connection: Any, cursor: Any, sql: str, values: Any, context: Any, many: bool) -> None:
            statement = context.invoked_statement
            given = None if statement is None else repr(_error(lambda: statement.compile().params))
            noted = sql, repr(values), given, repr(context.compiled_parameters), sorted(context.execution_options)
            self.mapping.heard.append(("executed", *noted, context.isinsert, context.root_connection is connection))

        event.listen(sync_of(self.session).get_bind(), "after_cursor_execute", executed)

    def listen(self, n: int) -> Any:
        name = ("do_orm_execute", "loaded_as_persistent")[n % 2]
        event.listen(sync_of(self.session), name, lambda *args: self.mapping.heard.append((name, len(args))))

    def select(self, n: int) -> Any:
        """Some statement, and some way to fetch from it."""
        statement, given = self.statement(n)
        result = self.session.execute(statement, given) if n % 2 else self.session.scalars(statement, given)
        found = FETCHES[n % len(FETCHES)](result)
        self.kept.append(found)
        return _seen(found)

    def collection(self, n: int) -> Any:
        """Objects, and what was loaded with each."""
        statements = collections(self.mapping, n, f"thing {1 + (n + self.time) % 5}")
        if not statements:
            return None
        found = self.session.scalars(statements[n % len(statements)]).all()
        self.kept.append(found)
        return _seen([(each, {name: _seen(value) for name, value in vars(each).items()}) for each in found])

    def related(self, n: int) -> Any:
        """What a thing leads to, one after the other."""
        thing = self.thing(n)
        return [_seen(getattr(thing, name)) for name in ("parent", "children", "tags") if hasattr(type(thing), name)]

    def select_again(self, n: int) -> Any:
        """The same statement, twice, with what is held in between."""
        statement, given = self.statement(n)
        return [_seen(self.session.scalars(statement, given).all()) for _ in (1, 2)]

    def named(self, n: int) -> Any:
        """Statements that differ in the names of their parameters only."""
        thing, found = self.mapping.Thing, []
        for first, second in (("a", "a"), ("a", "b"), ("b", "a"), ("a", "a"))[n % 3 :]:
            criteria = (
                thing.name > bindparam(first, f"thing {(n + self.time) % 3}"),
                thing.kind >= bindparam(second, "a"),
            )
            found.append(_seen(self.session.scalars(select(thing).where(*criteria).order_by(thing.name)).all()))
        return found

    def scalar(self, n: int) -> Any:
        return _seen(self.session.scalar(*self.statement(n)))

    def late(self, n: int) -> Any:
        """What was executed is fetched when the session has gone on."""
        result = self.session.scalars(*self.statement(n))
        self.do(("expunge_all", "rollback", "change", "expire_all", "flush", "close", "delete", "get")[n], n)
        return _seen(result.all())

    def anew(self, n: int) -> Any:
        """Over what is there already."""
        options = ({"populate_existing": True}, {"yield_per": 2}, {"autoflush": False})[n % 3]
        statement, given = self.statement(n)
        return _seen(self.session.scalars(statement, given, execution_options=options).all())

    def get_anew(self, n: int) -> Any:
        found = self.session.get(self.mapping.Thing, self.mapping.key(n % 8), populate_existing=True)
        self.kept.append(found)
        return None if found is None else view(found, self.session)

    def locked(self, n: int) -> Any:
        found = self.session.get(self.mapping.Thing, self.mapping.key(n % 8), with_for_update=bool(n % 2) or None)
        self.kept.append(found)
        return _seen(found)

    def move(self, n: int) -> Any:
        """To another owner, by the key, before and after the owner is known."""
        thing = self.thing(n)
        before = self.lazy(n) if n % 2 else None
        thing.owner_id = n % 3
        after = _error(lambda: self.lazy(n))
        return before, after, _error(self.session.flush), _error(lambda: self.lazy(n))

    def give(self, n: int) -> Any:
        """To another owner, by the relationship."""
        thing, owner = self.thing(n), self.session.get(self.mapping.Owner, n % 2 + 1)
        if hasattr(type(thing), "owner"):
            thing.owner = owner
        self.kept.append(owner)
        return _error(lambda: self.lazy_many(n))

    def expire_owner(self, n: int) -> Any:
        owner = self.session.get(self.mapping.Owner, n % 2 + 1)
        if owner is not None:
            self.session.expire(owner)
        return self.lazy(n)

    def no_autoflush(self, n: int) -> Any:
        with self.session.no_autoflush:
            return self.get(n)


def _call(name: str) -> Callable[[Player, int], Any]:
    return lambda player, n: getattr(player.session, name)()


STEPS: dict[str, Callable[[Player, int], Any]] = {
    **{
        name: method
        for name, method in vars(Player).items()
        if name not in ("__init__", "do", "thing", "statement") and callable(method)
    },
    **{name: _call(name) for name in ("flush", "commit", "rollback", "expire_all", "expunge_all", "close")},
}
_OFTEN = (
    "get",
    "get",
    "get",
    "get_owner",
    "change",
    "expire",
    "lazy",
    "read",
    "select",
    "select",
    "select_again",
    "collection",
    "collection",
)


def _steps(names: Any) -> Any:
    return names.flatmap(
        lambda name: st.tuples(
            st.just(name),
            st.integers(0, 322 if name == "select" else 25 if name.startswith(("select", "scalar", "coll")) else 7),
        )
    )


@st.composite
def scripts(draw: Any) -> Sequence[Step]:
    """A few steps."""
    names = st.sampled_from([*_OFTEN, *STEPS])
    return draw(st.lists(_steps(names), min_size=2, max_size=9))


def play(session: Any, mapping: Mapping, script: Sequence[Step], time: int) -> list[Any]:
    """Do it; what was seen at each step. See :class:`Player`."""
    player, seen = Player(session, mapping, time), []
    mapping.heard.clear()
    for name, n in script:
        try:
            came: Any = player.do(name, n)
        except Exception as error:
            came = (type(error).__name__, str(error).partition("(Background")[0])
        seen.append((name, n, came, everything(session), list(mapping.heard)))
    return seen
