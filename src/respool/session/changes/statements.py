"""Which statements change data, or lock: told from what SQLAlchemy compiled, from first words, and by the catalogue.

It is about what a report names, after the fact. What may run without a transaction is proved, in ``reads/plain.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.sql.compiler import SQLCompiler

from respool.engine.catalogue import Ask, Effect, asking, catalogue_of

__all__ = ["Lock", "Told", "changes_data", "summary", "tell"]

#: Words that begin a statement which leaves data as it is. All else counts as a change.
_READS = frozenset(
    {"SELECT", "VALUES", "TABLE", "SHOW", "EXPLAIN", "DESCRIBE", "DESC", "ANALYZE", "PRAGMA", "SET", "RESET", "USE"}
    | {"BEGIN", "START", "SAVEPOINT", "RELEASE", "ROLLBACK", "COMMIT", "END", "LOCK", "UNLOCK"}
    | {"DECLARE", "FETCH", "MOVE", "CLOSE", "LISTEN", "UNLISTEN", "DISCARD"}
)
#: Of these, the ones behind which there may be more than a read.
_MAY_DO_MORE = frozenset({"SELECT", "WITH", "VALUES", "TABLE", "EXPLAIN", "DECLARE", ""})
_NOISE = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/|\()+", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_]+")
_WRITES_WITHIN = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_TARGET = re.compile(
    r"(INSERT\s+(?:OR\s+\w+\s+)?INTO|REPLACE\s+INTO|UPDATE(?:\s+ONLY)?|DELETE\s+FROM|MERGE\s+INTO"
    r"|TRUNCATE(?:\s+TABLE)?|(?:CREATE|ALTER|DROP)\s+\w+(?:\s+IF\s+(?:NOT\s+)?EXISTS)?"
    r"|LOCK(?:\s+TABLES?)?)\s+([\w.\"`\[\]]+)",
    re.IGNORECASE,
)
#: Locks that a rollback to a savepoint leaves, by the function that takes them: what releases one, and what all.
_ADVISORY = ("pg_advisory_unlock", "pg_advisory_unlock_all")
_NAMED = ("release_lock", "release_all_locks")
_TABLES = ("", "unlock tables")
_OUTLASTING = {
    **dict.fromkeys(("pg_advisory_lock", "pg_try_advisory_lock"), _ADVISORY),
    **dict.fromkeys(
        ("pg_advisory_lock_shared", "pg_try_advisory_lock_shared"),
        ("pg_advisory_unlock_shared", "pg_advisory_unlock_all"),
    ),
    "get_lock": _NAMED,
}


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that a statement took.

    Attributes:
        line: for people.
        released_by: the function that releases one, and the one that releases all; empty if it ends with its savepoint.
    """

    line: str
    released_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What is to be told of a statement.

    Attributes:
        change: the line of a change; empty if there was none.
        locks: the locks that it took.
        releases: the functions by which it released some.
    """

    change: str = ""
    locks: tuple[Lock, ...] = ()
    releases: tuple[str, ...] = ()


def tell(context: Any) -> Told | None:
    """What a statement that was executed on a session's connection has changed or locked; ``None`` if nothing.

    The answer stays with the compiled statement, as ``respool_told``. The first time it may ask the database, on the
    connection that the statement was executed on.

    Args:
        context: SQLAlchemy's execution context of it.
    """
    compiled, sql = context.compiled, context.statement
    told: Told | None
    if context.isinsert or context.isupdate or context.isdelete or _first_word(sql) not in _MAY_DO_MORE:
        told = _told_by_the_head(sql, context)
    else:
        catalogue = catalogue_of(context.engine)
        effects = catalogue.told(sql)
        if effects is None:
            effects = catalogue.through(_ask(context)).effects(sql, idle=_READS)
        if effects is None:  # nobody knows; the next time, perhaps
            return Told(summary(sql, context)) if changes_data(sql, context) else None
        told = _told_by_effects(sql, context, effects) if effects else None
    if isinstance(compiled, SQLCompiler):
        compiled.respool_told = told  # type: ignore[attr-defined]
    return told


def _told_by_the_head(sql: str, context: Any) -> Told | None:
    if changes_data(sql, context):
        return Told(summary(sql, context))
    word = _first_word(sql)
    if word == "LOCK":
        return Told(locks=(Lock(summary(sql, context), _TABLES if context.dialect.name != "postgresql" else ()),))
    return Told(releases=("unlock tables",)) if word == "UNLOCK" else None


def _told_by_effects(sql: str, context: Any, effects: Mapping[str, Effect]) -> Told | None:
    head, kind = _first_word(sql) or "SELECT", _kind(context)
    writing = [what for what, effect in effects.items() if Effect.WRITES in effect]
    change = ", ".join(what for what in writing if what not in _STATEMENTS)
    locks = tuple(
        Lock(f"{head} {what} ({kind})", _OUTLASTING.get(what.removesuffix("()").lower(), ()))
        for what, effect in effects.items()
        if Effect.LOCKS in effect
    )
    releases = tuple(what.removesuffix("()").lower() for what, effect in effects.items() if Effect.UNLOCKS in effect)
    if not (writing or locks or releases):
        return None
    return Told(" ".join(filter(None, (head, change, f"({kind})"))) if writing else "", locks, releases)


#: What is not repeated behind a first word that says no more than that there is something behind it.
_STATEMENTS = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})


def _ask(context: Any) -> Ask:
    connection = context.root_connection._dbapi_connection.dbapi_connection
    return asking(connection, within_transaction=True)


def changes_data(sql: str, context: Any) -> bool:
    """Whether a statement that was sent to the database may have changed data, as far as its words tell.

    Args:
        sql: the text as it was sent.
        context: SQLAlchemy's execution context of it.
    """
    if context is not None and (context.isinsert or context.isupdate or context.isdelete):
        return True
    head = sql[_leading_noise(sql) :]
    word = _first_word(sql)
    if word == "WITH" or (word == "EXPLAIN" and "ANALYZE" in head[:40].upper()):
        return _WRITES_WITHIN.search(_LITERAL.sub("", head)) is not None
    return bool(word) and word not in _READS


def summary(sql: str, context: Any) -> str:
    """``UPDATE products (Core statement)``: verb and table, and no value of it."""
    head = sql[_leading_noise(sql) :]
    if match := _TARGET.match(head):
        return f"{' '.join(match.group(1).upper().split())} {match.group(2)} ({_kind(context)})"
    return f"{_first_word(sql) or 'statement'} ({_kind(context)})"


def _kind(context: Any) -> str:
    return "text" if context is None or getattr(context.compiled, "isplaintext", True) else "Core statement"


def _first_word(sql: str) -> str:
    match = _WORD.match(sql, _leading_noise(sql))
    return match.group().upper() if match else ""


def _leading_noise(sql: str) -> int:
    match = _NOISE.match(sql)
    return match.end() if match else 0
