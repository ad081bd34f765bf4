"""A plan: one compiled statement, where its parameters come from, and what its rows become.

It is learned and not derived. The first execution of a statement goes SQLAlchemy's way; what that leaves in SQLAlchemy's own
caches says everything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import __version__
from sqlalchemy.engine.interfaces import CacheStats
from sqlalchemy.orm import context as orm_context
from sqlalchemy.orm import loading as orm_loading
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import immutabledict

from respool.session.loading.plans.parameters import call_of
from respool.session.loading.plans.refusal import RIGHT, NoPlan
from respool.session.loading.plans.rows import Rows, acts_at_access, columns_of

__all__ = ["Asked", "Load", "Part", "Plan", "SubPlan"]

#: The option by which a loader tells of which load its statement is a part.
_TOP = "sa_top_level_orm_context"
_LOAD_OPTIONS = "_sa_orm_load_options"
#: The options under which SQLAlchemy executes a select of objects; of others a plan knows nothing.
_USUAL_OPTIONS = frozenset({"_result_disable_adapt_to_context", _LOAD_OPTIONS, "prebuffer_rows"})

#: Of those that an engine may have, the ones that change nothing about how rows are fetched, and what they become.
_ENGINE_OPTIONS = frozenset(
    {"isolation_level", "logging_token", "postgresql_readonly", "postgresql_deferrable"}
    | {"preserve_rowcount", "insertmanyvalues_page_size"}
)

#: SQLAlchemy 2.1 has put an underscore before it.
_PostLoad: Any = getattr(orm_loading, "_PostLoad", None) or getattr(orm_loading, "PostLoad", None)

#: What would make a plan of it.
_WHOLE = "select a mapped class and nothing beside: select(Item); of columns and aliases there is no plan"
_CRITERIA = "write the criteria into where(), in place of with_loader_criteria() and with_polymorphic()"

_KEYS = "install SQLAlchemy 2.1, whose loaders select a key as a column" if __version__ < "2.1" else RIGHT

#: What SQLAlchemy notes of a statement that is no part of another.
_TOPLEVEL = {"toplevel_orm"}


class Load(orm_context.QueryContext):
    """SQLAlchemy's record of a load, and what statements were executed for parts of it, while somebody wants to know."""

    __slots__ = ("parts",)

    partials: Any
    parts: list[Part] | None


class Asked(NamedTuple):
    """What a plan is executed with."""

    given: Mapping[str, Any] | None  #: the parameters that were given with the statement
    extracted: Sequence[Any]  #: those that SQLAlchemy has found in it
    statement: Any  #: itself, for who hears of it
    top: Any = None  #: the record of the load that it is a part of


class Part(NamedTuple):
    """A statement that a loader has made for objects of another one."""

    plan: Plan
    extracted: Sequence[Any]  #: the parameters that SQLAlchemy has found in it


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
        "after",
        "alone",
        "attributes",
        "batches",
        "call",
        "compiled",
        "entities",
        "entity",
        "execution_options",
        "extracted",
        "labels",
        "leading",
        "metadata",
        "rows",
        "statement",
    )

    kind: ClassVar[str] = "select"  #: of read, in words
    usual_options: ClassVar[frozenset[str]] = _USUAL_OPTIONS

    def __init__(self, result: Any, given: Collection[str], engine_options: Mapping[str, Any]) -> None:
        context = _context_of(result)
        compiled: Any = context.compiled
        self._require_known_options(context.execution_options, engine_options)
        state, leading, entity = self._entities_of(compiled)
        metadata = compiled._cached_metadata
        if metadata is None or metadata._tuplefilter is not None or metadata._translated_indexes is not None:
            raise NoPlan("its columns are not kept by their places")
        getters = entity.path.get(state.attributes, ("getters", entity.mapper), None)
        if getters is None:
            raise NoPlan("SQLAlchemy keeps nothing about its rows")
        self.rows = Rows(entity, getters, metadata._processors, _load_path(state, entity))
        #: columns that come before the object in a row of the result, with what processes them
        self.leading = [(i, metadata._processors[i]) for each in leading for i in _column_of(result.raw, each)]
        self.entity = entity
        self.compiled = compiled
        self.statement = context.invoked_statement
        self.extracted = context.extracted_parameters
        self.execution_options = context.execution_options
        self.labels = [each._label_name for each in (*leading, entity)]
        self.entities = [each._extra_entities for each in (*leading, entity)]
        self.attributes = result._attributes
        self.metadata: Any = None  #: of its results, once there is one
        #: what makes what the driver is given; ``None`` where that is left to SQLAlchemy's execution context.
        self.call = call_of(compiled, frozenset(given), context.dialect)
        self.alone = False  #: known to be a plain read
        #: properties that are loaded when the objects are there; ``None`` where nothing but columns is asked for.
        self.after = _after(self, getters["todo"])
        #: by what loads them: how; ``False`` where that is left to SQLAlchemy.
        self.batches: dict[Any, Any] = {}

    def _require_known_options(self, options: Mapping[str, Any], engine_options: Mapping[str, Any]) -> None:
        for name, value in options.items():
            if name in self.usual_options:
                continue
            if name not in _ENGINE_OPTIONS:
                raise NoPlan(f"it has the execution option {name}", f"leave {name} out")
            if not (name in engine_options and engine_options[name] is value):
                raise NoPlan(f"it has the execution option {name}", f"leave {name} out, or give it to the engine")
        if "schema_translate_map" in engine_options or "compiled_cache" in engine_options:
            raise NoPlan(
                "its engine does not keep statements as they are",
                "make the engine without schema_translate_map and compiled_cache",
            )

    def _entities_of(self, compiled: Any) -> tuple[Any, list[Any], Any]:
        """What SQLAlchemy knows of the statement, what is selected beside a mapped class, and that."""
        state: Any = compiled.compile_state
        entities: Any = getattr(state, "_entities", ())
        if len(entities) != 1:
            raise NoPlan("it does not select one mapped class", _WHOLE)
        _require_alone(state, entities[0])
        return state, [], entities[0]

    def query_context(self, session: Any, statement: Any, given: Any, top: Any = None) -> Load:
        """SQLAlchemy's record of a load, as far as loaders of other properties ask for it.

        Args:
            session: that loads.
            statement: as the user has written it.
            given: the parameters that were given with it.
            top: the record of the load that this one is a part of.
        """
        state, options = self.compiled.compile_state, self.execution_options
        context = Load(state, statement, statement, given or {}, session, _load_options(top), options)
        context.post_load_paths = top.post_load_paths if top is not None else {}
        context.partials = {}
        context.parts = None
        return context

    def begin_loaders(self, context: Any) -> Any:
        """Have SQLAlchemy's loaders of other properties register themselves; returns what collects objects for them."""
        entity, mapper, populators = self.entity, self.rows.mapper, _populators()
        for prop in self.after or ():
            prop.create_row_processor(context, entity, entity.path, mapper, None, None, populators)
        return _PostLoad.for_context(context, self.rows.load_path, None)

    def may_stand_alone(self) -> bool:
        """Whether it was proved to be a plain read, when it was last looked at, and nobody else has to make its text."""
        self.alone = self.call is not None and getattr(self.compiled, "respool_plain", False) is True
        return self.alone

    def call_with(self, asked: Asked) -> tuple[str, Any] | None:
        """What the driver is given, of a plan that may stand alone; ``None`` where SQLAlchemy has to tell of an error."""
        call: Any = self.call
        try:
            return call(asked.given, asked.extracted)  # type: ignore[no-any-return]
        except Exception:
            try:
                call(asked.given, asked.extracted)
            except Exception:
                return None
            raise  # it does not come of the values: a time limit that has been reached here

    def context(self, connection: Any, cursor: Any, asked: Asked) -> Any:
        """SQLAlchemy's record of an execution, as it would have made it.

        Args:
            connection: that it was executed on.
            cursor: by which; ``None`` if there is none.
            asked: with what.
        """
        context: Any = connection.dialect.execution_ctx_cls._init_compiled(
            connection.dialect, connection, _Executed(cursor), *self.arguments(asked)
        )
        context._dbapi_connection = connection._dbapi_connection
        return context

    def execute(self, connection: Any, asked: Asked) -> Any:
        """Execute it on a connection of SQLAlchemy's, as that would, but for what is known already; returns the result."""
        dialect = connection.dialect
        options, compiled, parameters, *rest = self.arguments(asked)
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

    def arguments(self, asked: Asked) -> tuple[Any, ...]:
        """What SQLAlchemy has to know of an execution beside the connection."""
        parameters, options = [asked.given] if asked.given else [], self.execution_options
        if asked.top is not None:
            options = options.union({_TOP: asked.top, _LOAD_OPTIONS: _load_options(asked.top)})
        return options, self.compiled, parameters, asked.statement, asked.extracted, CacheStats.CACHE_HIT


class _Executed:
    """Stands for a connection that has executed already: one that is lost since would give no other cursor."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def cursor(self) -> Any:
        return self._cursor


class SubPlan(Plan):
    """The plan of a statement by which a loader loads for the objects of another one: keys, and objects."""

    __slots__ = ()

    kind = "part of a load"
    usual_options: ClassVar[frozenset[str]] = _USUAL_OPTIONS | {_TOP}

    def __init__(self, result: Any, given: Collection[str], engine_options: Mapping[str, Any]) -> None:
        super().__init__(result, given, engine_options)
        options = {name: value for name, value in self.execution_options.items() if name not in (_TOP, _LOAD_OPTIONS)}
        self.execution_options = immutabledict(options)  # without the load that it was a part of

    def _entities_of(self, compiled: Any) -> tuple[Any, list[Any], Any]:
        state: Any = compiled.compile_state
        *leading, entity = getattr(state, "_entities", None) or [None]
        if not leading or any(getattr(each, "_fetch_column", None) is None for each in leading):
            raise NoPlan("it does not select keys and a mapped class", _KEYS)
        _require_alone(state, entity)
        return state, leading, entity


def _load_options(top: Any) -> Any:
    options: Any = orm_context.QueryContext.default_load_options
    return options if top is None else options + {"_sa_top_level_orm_context": top}


def _context_of(result: Any) -> Any:
    context: Any = getattr(getattr(result, "raw", None), "context", None)
    compiled: Any = getattr(context, "compiled", None)
    if not isinstance(compiled, SQLCompiler) or compiled.isplaintext or compiled.for_executemany:
        raise NoPlan("it is no select that SQLAlchemy has compiled")
    if compiled.cache_key is None or context.extracted_parameters is None:
        raise NoPlan("SQLAlchemy does not keep it", "set cache_ok on its types, and leave query_cache_size=0 out")
    if compiled.schema_translate_map:
        raise NoPlan("its text is made anew each time", "leave schema_translate_map out")
    return context


def _require_alone(state: Any, entity: Any) -> None:
    """Refuse a class that is not selected by itself, or only in part."""
    statement = state.select_statement
    kind: Any = orm_context._MapperEntity
    if not isinstance(entity, kind) or not entity.entity_zero.is_mapper:
        raise NoPlan("it does not select one mapped class", _WHOLE)
    if entity._with_polymorphic_mappers or entity._get_entity_clauses(state):
        raise NoPlan("its class is selected with others, or with criteria", _CRITERIA)
    if state.multi_row_eager_loaders or state.eager_joins or state.compound_eager_adapter is not None:
        raise NoPlan("something is joined to it", "write selectinload() in place of joinedload()")
    if statement._for_update_arg is not None or not statement.is_select:
        raise NoPlan("it locks what it reads")
    if state.global_attributes.keys() - _TOPLEVEL:
        raise NoPlan("it has criteria of its options", _CRITERIA)
    if state.compile_options._only_load_props or state.compile_options._for_refresh_state:
        raise NoPlan("it loads a part of its objects")


def _populators() -> dict[str, list[Any]]:
    return {kind: [] for kind in ("new", "quick", "deferred", "expire", "existing", "eager")}


def _after(plan: Plan, todo: Sequence[Any]) -> tuple[Any, ...] | None:
    """What is loaded after the objects, by a statement of its own: those loaders do nothing to a row."""
    options = plan.compiled.compile_state.select_statement._with_options
    if not options and all(acts_at_access(prop) for prop in todo):
        return None
    context = plan.query_context(None, plan.statement, None)
    entity, populators = plan.entity, _populators()
    for prop in todo:
        row = (context, entity, entity.path, plan.rows.mapper, None, None, populators)
        try:
            prop.create_row_processor(*row)
        except Exception:
            try:
                prop.create_row_processor(*row)
            except Exception:  # it asks for the session, or for rows, before anything is loaded: subqueryload does
                is_one_more = False
            else:
                raise  # it does not come of the loader: a time limit that has been reached here
        else:
            is_one_more = not any(populators.values())
        if not is_one_more:
            reason = f"{prop} is loaded together with its object, or in a way of its own"
            raise NoPlan(reason, "write selectinload() for it, or leave it to be loaded when it is asked for")
    return tuple(todo)


def _column_of(raw: Any, entity: Any) -> tuple[int, ...]:
    return columns_of(raw._getter(entity._fetch_column))


def _load_path(state: Any, entity: Any) -> Any:
    return state.current_path + entity.path if state.current_path.path else entity.path
