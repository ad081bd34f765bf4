"""A plan: one compiled statement, where its parameters come from, and what its rows become.

It is learned and not derived. The first execution of a statement goes SQLAlchemy's way; what that leaves in SQLAlchemy's own
caches says everything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy.engine.interfaces import CacheStats
from sqlalchemy.orm import context as orm_context
from sqlalchemy.sql.compiler import SQLCompiler

from respool.session.loading.plans.refusal import NoPlan
from respool.session.loading.plans.rows import Rows

__all__ = ["Absent", "Plan"]

#: The options under which SQLAlchemy executes a select of objects; of others a plan knows nothing.
_USUAL_OPTIONS = frozenset({"_result_disable_adapt_to_context", "_sa_orm_load_options", "prebuffer_rows"})

#: What SQLAlchemy notes of a statement that is no part of another.
_TOPLEVEL = {"toplevel_orm"}

#: What is given, what SQLAlchemy has found in the statement → what goes to the driver.
Values = Callable[[Mapping[str, Any] | None, Sequence[Any]], Any]


class Absent(Exception):
    """A parameter has no value: SQLAlchemy has its own words for that."""


class Plan:
    """See the head of the file.

    Args:
        result: what SQLAlchemy has made of the statement, executed.
        given: the names of the parameters that were given with it.
        engine_options: the execution options of its engine.

    Raises:
        NoPlan: something about the statement is not understood.
    """

    __slots__ = (
        "attributes",
        "compiled",
        "entities",
        "execution_options",
        "extracted",
        "label",
        "rows",
        "sql",
        "statement",
        "values",
    )

    def __init__(self, result: Any, given: Collection[str], engine_options: Mapping[str, Any]) -> None:
        context = _context_of(result)
        compiled: Any = context.compiled
        _require_known_options(context.execution_options, engine_options)
        state, entity = _entity_of(compiled)
        metadata = compiled._cached_metadata
        if metadata is None or metadata._tuplefilter is not None or metadata._translated_indexes is not None:
            raise NoPlan("its columns are not kept by their places")
        getters = entity.path.get(state.attributes, ("getters", entity.mapper), None)
        if getters is None:
            raise NoPlan("SQLAlchemy keeps nothing about its rows")
        self.rows = Rows(entity, getters, metadata._processors, _load_path(state, entity))
        self.compiled = compiled
        self.sql: str = compiled.string
        self.statement = context.invoked_statement
        self.extracted = context.extracted_parameters
        self.execution_options = context.execution_options
        self.label: str = entity._label_name
        self.entities = entity._extra_entities
        self.attributes = result._attributes
        #: ``None`` where lists are put into the text each time: that is left to SQLAlchemy's execution context.
        self.values: Values | None = None
        if not (compiled.literal_execute_params or compiled.post_compile_params):
            self.values = _values_of(compiled, frozenset(given), context.dialect)

    @property
    def is_plain(self) -> bool:
        """Whether it was proved to be a plain read, when it was last looked at, and its text is always the same."""
        return self.values is not None and getattr(self.compiled, "respool_plain", False) is True

    def context(self, connection: Any, given: Mapping[str, Any] | None, extracted: Sequence[Any]) -> Any:
        """SQLAlchemy's record of an execution, as it would have made it.

        Args:
            connection: that it is executed on.
            given: parameters that were given with the statement.
            extracted: what SQLAlchemy has found in the statement.
        """
        return connection.dialect.execution_ctx_cls._init_compiled(
            connection.dialect, connection, connection._dbapi_connection, *self.arguments(given, extracted)
        )

    def execute(self, connection: Any, given: Mapping[str, Any] | None, extracted: Sequence[Any]) -> Any:
        """Execute it on a connection of SQLAlchemy's, as that would, but for what is known already; returns the result."""
        dialect = connection.dialect
        options, compiled, parameters, *rest = self.arguments(given, extracted)
        return connection._execute_context(
            dialect,
            dialect.execution_ctx_cls._init_compiled,
            compiled,
            parameters,
            options,
            compiled,
            parameters,
            *rest,
        )

    def arguments(self, given: Mapping[str, Any] | None, extracted: Sequence[Any]) -> tuple[Any, ...]:
        """What SQLAlchemy has to know of an execution beside the connection."""
        parameters = [given] if given else []
        return self.execution_options, self.compiled, parameters, self.statement, extracted, CacheStats.CACHE_HIT


def _context_of(result: Any) -> Any:
    context: Any = getattr(getattr(result, "raw", None), "context", None)
    compiled: Any = getattr(context, "compiled", None)
    if not isinstance(compiled, SQLCompiler) or compiled.isplaintext or compiled.for_executemany:
        raise NoPlan("it is no select that SQLAlchemy has compiled")
    if compiled.cache_key is None or context.extracted_parameters is None:
        raise NoPlan("SQLAlchemy does not keep it")
    if compiled.schema_translate_map:
        raise NoPlan("its text is made anew each time")
    return context


def _require_known_options(options: Mapping[str, Any], engine_options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if name not in _USUAL_OPTIONS and not (name in engine_options and engine_options[name] is value):
            raise NoPlan(f"it has the execution option {name}")
    if "schema_translate_map" in engine_options or "compiled_cache" in engine_options:
        raise NoPlan("its engine does not keep statements as they are")


def _entity_of(compiled: Any) -> tuple[Any, Any]:
    """What is selected: one mapped class, by itself."""
    state: Any = compiled.compile_state
    entities: Any = getattr(state, "_entities", ())
    if len(entities) != 1 or not isinstance(entities[0], orm_context._MapperEntity):
        raise NoPlan("it does not select one mapped class")
    entity: Any = entities[0]
    statement = state.select_statement
    if not entity.entity_zero.is_mapper or entity._with_polymorphic_mappers or entity._get_entity_clauses(state):
        raise NoPlan("its class is aliased, or selected together with others")
    if state.multi_row_eager_loaders or state.eager_joins or state.compound_eager_adapter is not None:
        raise NoPlan("something is joined to it")
    if statement._with_options or statement._for_update_arg is not None or not statement.is_select:
        raise NoPlan("it has options")
    if any(isinstance(key, tuple) and key[0] == "loader" for key in state.attributes):
        raise NoPlan("it has options")
    if state.global_attributes.keys() - _TOPLEVEL:
        raise NoPlan("it has options")
    if state.compile_options._only_load_props or state.compile_options._for_refresh_state:
        raise NoPlan("it loads a part of its objects")
    return state, entity


def _load_path(state: Any, entity: Any) -> Any:
    return state.current_path + entity.path if state.current_path.path else entity.path


# -- parameters -------------------------------------------------------------------------------------------------------


def _values_of(compiled: Any, given: frozenset[str], dialect: Any) -> Values:
    """The function that makes what the driver is given, as SQLAlchemy's execution context does."""
    names: list[str] = compiled.positiontup if compiled.positional else list(compiled.bind_names.values())
    places = {bind.key: i for i, bind in enumerate(compiled.cache_key.bindparams)}
    escaped = compiled.escaped_bind_names or {}
    scope: dict[str, Any] = {"value_of": _value_of, "made": dialect.execute_sequence_format}
    items = []
    for number, name in enumerate(names):
        bind = compiled.binds[name]
        if bind.key in given:
            item = f"given[{bind.key!r}]"
        elif name in given:
            item = f"given[{name!r}]"
        elif bind.key in places:
            item = f"value_of(extracted[{places[bind.key]}])"
        elif bind.callable is None and not bind.required:  # put there by the compiler: SQLite's OFFSET
            scope[f"v{number}"] = bind.value
            item = f"v{number}"
        else:
            raise NoPlan("a parameter comes from elsewhere")
        if (processor := compiled._bind_processors.get(name)) is not None:
            if not callable(processor):
                raise NoPlan("a parameter is made of several")
            scope[f"p{number}"] = processor
            item = f"p{number}({item})"
        items.append(item if compiled.positional else f"{escaped.get(name, name)!r}: {item}")
    if not compiled.positional:
        made = f"{{{', '.join(items)}}}"
    elif dialect.execute_sequence_format is tuple:
        made = f"({''.join(item + ', ' for item in items)})"
    else:
        made = f"made([{', '.join(items)}])"
    exec(f"def values(given, extracted): return {made}", scope)
    values: Values = scope["values"]
    return values


def _value_of(bind: Any) -> Any:
    if bind.required:
        raise Absent
    return bind.value if bind.callable is None else bind.effective_value
