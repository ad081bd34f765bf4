"""Which statements change data: told from what SQLAlchemy compiled, or from the first words of a text."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["changes_data", "summary"]

#: Words that begin a statement which leaves data as it is. All else counts as a change.
_READS = frozenset(
    {"SELECT", "VALUES", "TABLE", "SHOW", "EXPLAIN", "DESCRIBE", "DESC", "ANALYZE", "PRAGMA", "SET", "RESET", "USE"}
    | {"BEGIN", "START", "SAVEPOINT", "RELEASE", "ROLLBACK", "COMMIT", "END", "LOCK"}
    | {"DECLARE", "FETCH", "MOVE", "CLOSE", "LISTEN", "UNLISTEN", "DISCARD"}
)
_NOISE = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/|\()+", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_]+")
_WRITES_WITHIN = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_TARGET = re.compile(
    r"(INSERT\s+(?:OR\s+\w+\s+)?INTO|REPLACE\s+INTO|UPDATE(?:\s+ONLY)?|DELETE\s+FROM|MERGE\s+INTO"
    r"|TRUNCATE(?:\s+TABLE)?|(?:CREATE|ALTER|DROP)\s+\w+(?:\s+IF\s+(?:NOT\s+)?EXISTS)?)\s+([\w.\"`\[\]]+)",
    re.IGNORECASE,
)


def changes_data(sql: str, context: Any) -> bool:
    """Whether a statement that was sent to the database may have changed data.

    Args:
        sql: the text as it was sent.
        context: SQLAlchemy's execution context of it.
    """
    if context is not None and (context.isinsert or context.isupdate or context.isdelete):
        return True
    head = sql[_leading_noise(sql) :]
    word = match.group().upper() if (match := _WORD.match(head)) else ""
    if word == "WITH" or (word == "EXPLAIN" and "ANALYZE" in head[:40].upper()):
        return _WRITES_WITHIN.search(_LITERAL.sub("", head)) is not None
    return bool(word) and word not in _READS


def summary(sql: str, context: Any) -> str:
    """``UPDATE products (Core statement)``: verb and table, and no value of it."""
    kind = "text" if context is None or getattr(context.compiled, "isplaintext", True) else "Core statement"
    head = sql[_leading_noise(sql) :]
    if match := _TARGET.match(head):
        return f"{' '.join(match.group(1).upper().split())} {match.group(2)} ({kind})"
    word = _WORD.match(head)
    return f"{word.group().upper() if word else 'statement'} ({kind})"


def _leading_noise(sql: str) -> int:
    match = _NOISE.match(sql)
    return match.end() if match else 0
