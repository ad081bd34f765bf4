"""Which statements are plain reads, provably: run alone in autocommit they give the same rows and leave nothing behind.

The proof is made once for each statement that SQLAlchemy has compiled. Of the statement itself it asks what no text shows;
of the text, types and loader options included, the database's catalogue has to know everything. Whatever is not known
counts as more than a read.

Two others look at SQL, and ask less, since what they miss costs less: ``changes/statements.py`` what a report and
``released()`` have to name, ``engine/pools/staleness.py`` what may be run again on another connection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import SelectBase, TextualSelect, UpdateBase
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import next_value
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from respool.engine.catalogue import Catalogue

__all__ = ["OPTION", "is_plain_read", "is_proved"]

#: The execution option by which a caller says what a statement is: ``True``, a read; ``False``, more than that.
OPTION = "respool_read"

#: The options of a result that is read little by little.
_STREAMS = frozenset({"stream_results", "yield_per"})


def is_plain_read(compiled: Any, options: Mapping[str, Any], catalogue: Catalogue) -> bool:
    """Whether a statement, as SQLAlchemy is about to execute it, is a plain read; or is said to be one.

    Args:
        compiled: the compiled statement, or a text that goes to the driver as it is.
        options: its execution options.
        catalogue: of the engine that it is compiled for; asked when the statement is seen for the first time.
    """
    if options:
        if not _STREAMS.isdisjoint(options):
            return False  # a server-side cursor lives in its transaction
        if OPTION in options:
            return bool(options[OPTION])
    try:
        plain: bool = compiled.respool_plain
    except AttributeError:
        if not isinstance(compiled, SQLCompiler):
            return False
        proof = _prove(compiled, catalogue)
        if proof is None:  # nobody could be asked: the next time, perhaps
            return False
        plain = compiled.respool_plain = proof  # type: ignore[attr-defined]  # SQLAlchemy keeps it for the next time
    return plain


def is_proved(compiled: Any, options: Mapping[str, Any], catalogue: Catalogue) -> bool:
    """The same, whatever the caller has said of it, unless that it is more than a read; of a text, too.

    A text is proved only where somebody says that it reads: else it begins the transaction, as it always has.
    """
    if options.get(OPTION):
        options = {name: value for name, value in options.items() if name != OPTION}
    if isinstance(compiled, SQLCompiler) and compiled.isplaintext and not options.keys() & _STREAMS:
        return OPTION not in options and _is_proved_text(compiled, catalogue)
    return is_plain_read(compiled, options, catalogue)


def _is_proved_text(compiled: Any, catalogue: Catalogue) -> bool:
    try:
        proved: bool = compiled.respool_proved
    except AttributeError:
        proof = catalogue.is_plain(compiled.string)
        if proof is None:
            return False
        proved = compiled.respool_proved = proof
    return proved


def _prove(compiled: SQLCompiler, catalogue: Catalogue) -> bool | None:
    if compiled.isplaintext or compiled.for_executemany:
        return False
    statement = compiled.statement
    if not isinstance(statement, SelectBase) or isinstance(statement, TextualSelect):
        return False
    # what the ORM has made of it: the columns of mapped classes, joins of loaders, criteria of options
    built = getattr(compiled.compile_state, "statement", None)
    if _does_more(statement) or (built is not None and built is not statement and _does_more(built)):
        return False
    for text in _rendered_later(compiled):
        if text is None:
            return False
        if (proof := catalogue.is_plain(text)) is not True:
            return proof
    return catalogue.is_plain(compiled.string)


def _does_more(statement: Any) -> bool:
    """Whether something in a statement locks or writes that some databases have no words for."""
    return any(
        getattr(element, "_for_update_arg", None) is not None or isinstance(element, UpdateBase | next_value)
        for element in visitors.iterate(statement)
    )


def _rendered_later(compiled: SQLCompiler) -> Iterator[str | None]:
    """What is not in the text yet, as texts of their own; ``None`` for what cannot be told.

    Values are put into it as literals by their types, and the elements of lists as parameters, with casts.
    """
    for bind in compiled.literal_execute_params:
        if isinstance(bind.type, TypeDecorator | UserDefinedType):
            yield None
    if compiled.dialect.name == "postgresql":
        for bind in compiled.post_compile_params:
            for kind in getattr(bind.type, "types", [bind.type]):
                yield _cast(compiled, kind)


def _cast(compiled: SQLCompiler, kind: TypeEngine[Any]) -> str | None:
    try:
        return f"SELECT NULL::{compiled.dialect.type_compiler_instance.process(kind)}"
    except SQLAlchemyError:  # it has no name: there is no cast to it
        return "SELECT NULL" if kind._isnull else None
