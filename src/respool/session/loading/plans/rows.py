"""How the driver's rows become objects: one generated function for each plan.

It does what SQLAlchemy's ``loading._instance`` does for a mapper of columns, in its order: the key, a look at the identity
map, else a new object with a genuine ``InstanceState``. What a row is to become is not derived from the mapping but read out
of what SQLAlchemy has cached for the statement. Whatever is more than "column i goes under this key" makes no plan.
"""

from __future__ import annotations

import operator
from _weakref import ref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy.orm import InstanceState, interfaces, loading, strategies
from sqlalchemy.orm.instrumentation import ClassManager

from respool.session.loading.plans.refusal import NoPlan

__all__ = ["Rows", "acts_at_access", "columns_of", "new_run"]

#: A number for each load, as SQLAlchemy has it.
new_run: Callable[[], int] = loading._new_runid

#: SQLAlchemy 2.1 has put an underscore before it.
_LazyLoader: Any = getattr(strategies, "_LazyLoader", None) or getattr(strategies, "LazyLoader", None)

_PROCESSED = "    rows = [({processed},) for {names}, in rows]\n"

#: By {braces}: what is put in for each plan.
_SOURCE = """
def objects_of(rows, imap, session_id, run, options):
    known = imap._dict
    back = imap._wr
{process}    found = []
    add = found.append
    for {names}, in rows:
        key = (IDENTITY, ({identity},), None)
        state = known.get(key)
        if state is not None:
            instance = state.obj()
            if instance is not None:
                if state.runid != run:
                    values = instance.__dict__
                    if {incomplete}:
                        complete(state, values, ({names},))
                add(instance)
                continue
        if {missing}:
            add(None)
            continue
        instance = {new}
        state = new(State)
        state.class_ = CLASS
        state.manager = MANAGER
        state.obj = ref(instance, state._cleanup)
        state.committed_state = {{}}
        state.expired_attributes = {expired}
        state.key = key
        state.identity_token = None
        state.session_id = session_id
        state._instance_dict = back
        state.load_options = options
        state.load_path = PATH
        state.runid = run
        known[key] = state
        {marked}
        values = instance.__dict__
{stores}
        add(instance)
    return found
"""


class Rows:
    """Makes the objects of one mapper out of rows of one compiled statement.

    Args:
        entity: SQLAlchemy's record of what is selected.
        getters: what it has cached for it: which column goes where.
        processors: those of the result's columns; ``None`` for a column that is taken as it comes.
        load_path: what objects are marked with: the way on which they were loaded.

    Raises:
        NoPlan: a row would become more, or something else, than the values of its columns.
    """

    __slots__ = ("dispatch", "load_path", "mapper", "objects_of", "props")

    def __init__(
        self,
        entity: Any,
        getters: Any,
        processors: Sequence[Any],
        load_path: Any,
    ) -> None:
        mapper = self.mapper = entity.mapper
        self.load_path = load_path
        _require_plain(mapper)
        populators = getters["cached_populators"]
        for kind in ("new", "existing", "eager", "deferred"):
            for key, _ in populators[kind]:
                raise NoPlan(
                    f"{mapper.class_.__name__}.{key} is loaded or deferred by an option of its own",
                    f"leave the option for {key} out, or say it in the mapping: it is planned there",
                )
        columns = [(key, columns_of(getter)[0]) for key, getter in populators["quick"]]
        identity = columns_of(getters["primary_key_getter"])
        self.dispatch = mapper.class_manager.dispatch
        #: SQLAlchemy makes it anew when something about the mapper has changed.
        self.props = mapper._prop_set
        self.objects_of: Callable[[Sequence[Any], Any, int, int, tuple[Any, ...]], list[Any]] = _generated(
            mapper, columns, identity, tuple(populators["expire"]), processors, load_path
        )

    @property
    def holds(self) -> bool:
        """Whether the mapper is what it was, and its class mapped still."""
        mapper = self.mapper
        return mapper.__dict__.get("_prop_set") is self.props and not mapper._dispose_called


def acts_at_access(prop: Any) -> bool:
    """Whether a property does nothing at a load: SQLAlchemy's method is the empty one, or a lazy loader of a whole class."""
    if not isinstance(prop, interfaces.StrategizedProperty):
        return type(prop).create_row_processor is interfaces.MapperProperty.create_row_processor
    strategy: Any = prop.strategy
    if type(strategy).create_row_processor is interfaces.LoaderStrategy.create_row_processor:
        return True
    return type(strategy) is _LazyLoader and bool(strategy.is_class_level)


def _require_plain(mapper: Any) -> None:
    manager, name = mapper.class_manager, mapper.class_.__name__
    if mapper.inherits or mapper.polymorphic_map or mapper.with_polymorphic or mapper.polymorphic_on is not None:
        raise NoPlan(f"{name} is part of an inheritance")
    if mapper.always_refresh:
        raise NoPlan(f"{name} is refreshed by every row", "leave always_refresh out of its mapping")
    if type(manager) is not ClassManager or manager._state_constructor is not InstanceState:
        raise NoPlan(f"{name} is instrumented in a way of its own")
    if not mapper.class_.__dictoffset__:
        raise NoPlan(f"{name} has no dictionary", "write __dict__ among its __slots__, or leave those out")


def columns_of(getter: Any) -> tuple[int, ...]:
    """Which columns an ``itemgetter`` takes."""
    if type(getter) is not operator.itemgetter:
        raise NoPlan("a column is not taken by its place")
    items = getter.__reduce__()[1]
    if len(items) == 1 and isinstance(items[0], slice):
        return tuple(range(items[0].start or 0, items[0].stop))
    if not all(type(item) is int and item >= 0 for item in items):
        raise NoPlan("a column is not taken by its place")
    return tuple(items)


def _generated(
    mapper: Any,
    columns: list[tuple[str, int]],
    identity: tuple[int, ...],
    expire: tuple[tuple[str, bool], ...],
    processors: Sequence[Any],
    load_path: Any,
) -> Any:
    cls = mapper.class_
    names = [f"r{i}" for i in range(len(processors))]
    flagged = [key for key, flag in expire if flag]
    plain = cls.__new__ is object.__new__
    source = _SOURCE.format(
        names=", ".join(names),
        process=_PROCESSED.format(names=", ".join(names), processed=", ".join(_processed(processors)))
        if any(processor is not None for processor in processors)
        else "",
        identity=", ".join(names[i] for i in identity),
        incomplete="True" if flagged else "state.expired or not values.keys() >= ATTRIBUTES",
        missing=(" and " if mapper.allow_partial_pks else " or ").join(f"{names[i]} is None" for i in identity),
        new="new(CLASS)" if plain else "CLASS.__new__(CLASS)",
        expired=f"{{{', '.join(map(repr, flagged))}}}" if flagged else "set()",
        marked="instance._sa_instance_state = state"
        if cls.__setattr__ is object.__setattr__
        else "MANAGER._state_setter(instance, state)",
        stores="\n".join(f"        values[{key!r}] = r{i}" for key, i in columns),
    )
    scope: dict[str, Any] = {
        "CLASS": cls,
        "IDENTITY": mapper._identity_class,
        "MANAGER": mapper.class_manager,
        "ATTRIBUTES": frozenset(mapper.class_manager),
        "PATH": load_path,
        "State": InstanceState,
        "new": object.__new__,
        "ref": ref,
        "complete": _completing(tuple(columns), expire),
        **{f"p{i}": processor for i, processor in enumerate(processors) if processor is not None},
    }
    exec(source, scope)
    return scope["objects_of"]


def _processed(processors: Sequence[Any]) -> Iterator[str]:
    for i, processor in enumerate(processors):
        yield f"r{i}" if processor is None else f"p{i}(r{i})"


def _completing(
    columns: tuple[tuple[str, int], ...], expire: tuple[tuple[str, bool], ...]
) -> Callable[[Any, dict[str, Any], Sequence[Any]], None]:
    """What becomes of an object that is there already: it gets what it has not; SQLAlchemy's ``_populate_partial``."""

    def complete(state: Any, values: dict[str, Any], row: Sequence[Any]) -> None:
        unloaded = state.unloaded
        if not unloaded:
            return
        for key, i in columns:
            if key in unloaded:
                values[key] = row[i]
        for key, flag in expire:
            if key in unloaded and flag:
                state.expired_attributes.add(key)
        state._commit(values, unloaded)

    return complete
