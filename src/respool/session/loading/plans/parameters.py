"""What the driver is given for a statement: its text, and its values, as SQLAlchemy's execution context makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from respool.session.loading.plans.refusal import NoPlan

__all__ = ["Absent", "Call", "call_of"]

#: What is given, what SQLAlchemy has found in the statement → the text and the values that go to the driver.
Call = Callable[[Mapping[str, Any] | None, Sequence[Any]], tuple[str, Any]]

#: How many texts of one statement with lists are kept, by how long the lists are.
_TEXTS = 32


class Absent(Exception):
    """A parameter has no value: SQLAlchemy has its own words for that."""


def call_of(compiled: Any, given: frozenset[str], dialect: Any) -> Call | None:
    """The function that makes the text and the values of a statement.

    Args:
        compiled: the statement.
        given: the names of the parameters that are given with it.
        dialect: for which it is compiled.

    Returns:
        ``None`` where only SQLAlchemy's execution context can.

    Raises:
        NoPlan: a parameter comes from elsewhere.
    """
    if compiled.literal_execute_params:
        return None
    if compiled.post_compile_params:
        return _Lists(compiled, given, dialect) if _has_simple_lists(compiled, dialect) else None
    sources = _Sources(compiled, given)
    names: list[str] = compiled.positiontup if compiled.positional else list(compiled.bind_names.values())
    if compiled.positional:
        items = "".join(f"{sources.processed(name)}, " for name in names)
        made = f"({items})" if dialect.execute_sequence_format is tuple else f"made([{items}])"
    else:
        escaped = compiled.escaped_bind_names or {}
        made = f"{{{', '.join(f'{escaped.get(name, name)!r}: {sources.processed(name)}' for name in names)}}}"
    call: Call = sources.function(f"sql, {made}", sql=compiled.string, made=dialect.execute_sequence_format)
    return call


class _Sources:
    """Expressions for the values of parameters, and what they need."""

    def __init__(self, compiled: Any, given: frozenset[str]) -> None:
        same = compiled._cache_key_bind_match[0]  # a parameter in the statement → what became of it in the compiled one
        self._places = {id(each): i for i, bind in enumerate(compiled.cache_key.bindparams) for each in same[bind]}
        self._compiled, self._given = compiled, given
        self._scope: dict[str, Any] = {"value_of": _value_of}

    def raw(self, name: str) -> str:
        """The value as it was given."""
        bind = self._compiled.binds[name]
        if bind.key in self._given:
            return f"given[{bind.key!r}]"
        if name in self._given:
            return f"given[{name!r}]"
        if id(bind) in self._places:
            return f"value_of(extracted[{self._places[id(bind)]}])"
        if bind.callable is None and not bind.required:  # put there by the compiler: SQLite's OFFSET
            return self._named(bind.value)
        raise NoPlan("a parameter comes from elsewhere", "write its value into the statement, or give it by its name")

    def processed(self, name: str) -> str:
        """The value as the driver takes it."""
        processor = self._compiled._bind_processors.get(name)
        if processor is None:
            return self.raw(name)
        if not callable(processor):
            raise NoPlan("a parameter is made of several", "compare single columns in place of tuples")
        return f"{self._named(processor)}({self.raw(name)})"

    def function(self, expression: str, **more: Any) -> Any:
        """A function of what is given and extracted that gives this."""
        exec(f"def made_of(given, extracted): return {expression}", scope := {**self._scope, **more})
        return scope["made_of"]

    def _named(self, value: Any) -> str:
        name = f"v{len(self._scope)}"
        self._scope[name] = value
        return name


class _Lists:
    """The same for a statement with lists: each value of a list has a place of its own in the text.

    SQLAlchemy makes that text anew each time. It is the same for lists of the same length.
    """

    __slots__ = ("_compiled", "_lists", "_made", "_texts", "_values")

    def __init__(self, compiled: Any, given: frozenset[str], dialect: Any) -> None:
        sources, items = _Sources(compiled, given), []
        self._lists: list[tuple[str, Callable[[Any], Any] | None]] = []
        for name in compiled.bind_names.values():
            if compiled.binds[name] in compiled.post_compile_params:
                self._lists.append((name, compiled._bind_processors.get(name)))
                items.append(f"{name!r}: {sources.raw(name)}")
            else:
                items.append(f"{name!r}: {sources.processed(name)}")
        self._values = sources.function(f"{{{', '.join(items)}}}")
        self._made = dialect.execute_sequence_format
        self._compiled = compiled
        self._texts: dict[tuple[int, ...], Any] = {}

    def __call__(self, given: Mapping[str, Any] | None, extracted: Sequence[Any]) -> tuple[str, Any]:
        values = self._values(given, extracted)
        lengths = tuple([len(values[name]) for name, _ in self._lists])
        text = self._texts.get(lengths) or self._text(lengths, values)
        for name, process in self._lists:
            of_list = values.pop(name)
            if process is not None:
                of_list = map(process, of_list)
            values.update(zip(text.parameter_expansion[name], of_list, strict=True))
        if text.positiontup is None:
            return text.statement, values
        return text.statement, self._made([values[name] for name in text.positiontup])

    def _text(self, lengths: tuple[int, ...], values: Mapping[str, Any]) -> Any:
        text = self._compiled._process_parameters_for_postcompile(dict(values))
        if len(self._texts) >= _TEXTS:
            self._texts.clear()
        self._texts[lengths] = text._replace(parameters={}, processors={})  # not the values of this time
        return text


def _has_simple_lists(compiled: Any, dialect: Any) -> bool:
    """Whether all that is put into the text are lists of single values."""
    if compiled.escaped_bind_names:
        return False
    for bind in compiled.post_compile_params:
        inner = bind.type._unwrapped_dialect_impl(dialect)
        if not bind.expanding or bind.literal_execute or inner._is_tuple_type or inner._isnull:
            return False
        processor = compiled._bind_processors.get(compiled.bind_names[bind])
        if not (processor is None or callable(processor)):
            return False
    return True


def _value_of(bind: Any) -> Any:
    if bind.required:
        raise Absent
    return bind.value if bind.callable is None else bind.effective_value
