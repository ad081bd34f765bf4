"""Which statements are plain reads, provably: run alone in autocommit they give the same rows and leave nothing behind.

The proof is about the SQL text that SQLAlchemy has compiled, types and loader options included, and is made once for
each text.  It knows what a plain read may be made of; whatever it does not know counts as more than a read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import SelectBase, TextualSelect
from sqlalchemy.sql.compiler import SQLCompiler

__all__ = ["OPTION", "is_plain_read", "is_proved"]

#: The execution option by which a caller says what a statement is: ``True``, a read; ``False``, more than that.
OPTION = "respool_read"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: What may stand before a parenthesis and calls nothing.
_SYNTAX = _words(
    "ALL AND ANY ARRAY AS BETWEEN BY CASE CAST COLLATE CROSS DISTINCT ELSE END EXCEPT EXISTS EXTRACT FILTER FROM FULL "
    "GROUP HAVING ILIKE IN INNER INTERSECT INTERVAL IS JOIN LATERAL LEFT LIKE LIMIT MATERIALIZED NOT OFFSET ON OR ORDER "
    "OUTER OVER PARTITION RIGHT ROW SELECT SETS SOME THEN UNION USING VALUES WHEN WHERE WITHIN "
    # types with a length
    "BINARY BIT CHAR CHARACTER DATETIME DECIMAL FLOAT NCHAR NUMERIC NVARCHAR TIME TIMESTAMP VARBINARY VARCHAR VARYING"
)
#: Functions that every database which has them computes from their arguments and nothing else, or from the clock.
_FUNCTIONS = _words(
    "COUNT SUM MIN MAX AVG TOTAL STDDEV STDDEV_POP STDDEV_SAMP VARIANCE VAR_POP VAR_SAMP CORR MODE PERCENTILE_CONT "
    "PERCENTILE_DISC BOOL_AND BOOL_OR EVERY BIT_AND BIT_OR ARRAY_AGG STRING_AGG GROUP_CONCAT GROUPING CUBE ROLLUP "
    "ROW_NUMBER RANK DENSE_RANK PERCENT_RANK CUME_DIST NTILE LAG LEAD FIRST_VALUE LAST_VALUE NTH_VALUE "
    "COALESCE NULLIF IFNULL ISNULL NVL IIF IF GREATEST LEAST CONVERT TYPEOF "
    "ABS CEIL CEILING FLOOR ROUND TRUNC TRUNCATE MOD POW POWER SQRT EXP LN LOG LOG2 LOG10 SIGN PI "
    "LOWER UPPER INITCAP LENGTH CHAR_LENGTH CHARACTER_LENGTH OCTET_LENGTH TRIM LTRIM RTRIM BTRIM SUBSTR SUBSTRING "
    "REPLACE TRANSLATE OVERLAY CONCAT CONCAT_WS LPAD RPAD REPEAT REVERSE POSITION STRPOS INSTR LOCATE SPLIT_PART "
    "ASCII CHR HEX UNHEX QUOTE MD5 FORMAT TO_CHAR TO_NUMBER REGEXP_REPLACE REGEXP_MATCH REGEXP_LIKE REGEXP_COUNT GLOB "
    "NOW CURDATE CURTIME CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP LOCALTIME LOCALTIMESTAMP UTC_TIMESTAMP "
    "DATE STRFTIME JULIANDAY UNIXEPOCH DATE_TRUNC DATE_PART DATE_BIN DATE_FORMAT DATE_ADD DATE_SUB DATEDIFF AGE "
    "YEAR MONTH DAY HOUR MINUTE SECOND TO_DATE TO_TIMESTAMP MAKE_DATE MAKE_INTERVAL FROM_UNIXTIME UNIX_TIMESTAMP "
    "UNNEST CARDINALITY ARRAY_LENGTH ARRAY_POSITION ARRAY_TO_STRING STRING_TO_ARRAY GENERATE_SERIES "
    "JSON JSON_AGG JSONB_AGG JSON_OBJECT_AGG JSONB_OBJECT_AGG JSON_OBJECT JSON_ARRAY JSON_BUILD_OBJECT "
    "JSONB_BUILD_OBJECT JSON_BUILD_ARRAY JSONB_BUILD_ARRAY JSON_EXTRACT JSON_VALUE JSON_QUERY JSON_QUOTE JSON_UNQUOTE "
    "JSON_TYPE JSON_TYPEOF JSONB_TYPEOF JSON_CONTAINS JSON_ARRAY_LENGTH JSONB_ARRAY_LENGTH JSON_LENGTH JSON_EACH "
    "JSONB_EACH JSON_ARRAY_ELEMENTS JSONB_ARRAY_ELEMENTS JSON_ARRAY_ELEMENTS_TEXT JSONB_ARRAY_ELEMENTS_TEXT "
    "JSON_EXTRACT_PATH JSON_EXTRACT_PATH_TEXT JSONB_EXTRACT_PATH JSONB_EXTRACT_PATH_TEXT JSONB_PATH_QUERY "
    "JSONB_PATH_EXISTS TO_JSON TO_JSONB ROW_TO_JSON "
    "TO_TSVECTOR TO_TSQUERY PLAINTO_TSQUERY PHRASETO_TSQUERY WEBSEARCH_TO_TSQUERY TS_RANK TS_RANK_CD SIMILARITY MATCH "
    "AGAINST"
)
_HARMLESS = _SYNTAX | _FUNCTIONS

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`")
#: Comments, escapes and the like, after which a text can no longer be read word by word.
_UNREADABLE = re.compile(r"--|/\*|\\|\$\$|;|:=|#")
_BEGINNING = re.compile(r"[\s(]*(?:SELECT|WITH)\b", re.IGNORECASE)
_WRITES_OR_LOCKS = re.compile(
    r"(?<![.\w])(?<!\bAS )(?:INSERT|UPDATE|DELETE|MERGE|INTO|CALL|NEXT\s+VALUE|FOR\s+(?:KEY\s+)?SHARE|IN\s+SHARE\s+MODE)\b",
    re.IGNORECASE,
)
#: ``AS name (a, b)`` and ``WITH name(a, b) AS (``: a table is named, not a function called.
_NAMED = re.compile(
    r"\bAS\s+[\w¤]+\s*\([\w\s,¤]*\)|(?:\bWITH|\bRECURSIVE|,)\s+[\w¤]+\s*\([\w\s,¤]*\)\s+AS\b", re.IGNORECASE
)
_CALLED = re.compile(r"([\w.¤]+)\s*\(")


def is_plain_read(compiled: Any, options: Mapping[str, Any]) -> bool:
    """Whether a statement, as SQLAlchemy is about to execute it, is a plain read; or is said to be one.

    Args:
        compiled: the compiled statement, or a text that goes to the driver as it is.
        options: its execution options.
    """
    if "stream_results" in options or "yield_per" in options:
        return False  # a server-side cursor lives in its transaction
    if OPTION in options:
        return bool(options[OPTION])
    try:
        plain: bool = compiled.respool_plain
    except AttributeError:
        plain = _is_plain(compiled)
        if isinstance(compiled, SQLCompiler):  # SQLAlchemy keeps it for the next time
            compiled.respool_plain = plain  # type: ignore[attr-defined]
    return plain


def is_proved(compiled: Any, options: Mapping[str, Any]) -> bool:
    """The same, whatever the caller has said of it, unless that it is more than a read."""
    if options.get(OPTION):
        options = {name: value for name, value in options.items() if name != OPTION}
    return is_plain_read(compiled, options)


def _is_plain(compiled: Any) -> bool:
    if not isinstance(compiled, SQLCompiler) or compiled.isplaintext:
        return False
    statement: Any = compiled.statement
    if not isinstance(statement, SelectBase) or isinstance(statement, TextualSelect):
        return False
    if getattr(statement, "_for_update_arg", None) is not None:  # SQLite has no words for it, and means it all the same
        return False
    return _reads_only(compiled.string)


@lru_cache(maxsize=4096)
def _reads_only(sql: str) -> bool:
    bare = _QUOTED.sub("¤", sql)
    if _UNREADABLE.search(bare) or not _BEGINNING.match(bare) or _WRITES_OR_LOCKS.search(bare):
        return False
    called = _CALLED.findall(_NAMED.sub(" AS ", bare))
    return all(name.upper() in _HARMLESS for name in called)
