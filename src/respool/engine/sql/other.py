"""What is known of databases that nobody here asks: what the SQL standard says."""

from __future__ import annotations

from collections.abc import Iterator

from respool.engine.sql.facts import Ask, Effect, Facts, Questions, words
from respool.engine.sql.reading import Reading
from respool.engine.sql.tokens import Grammar

__all__ = ["OtherFacts"]

_SYNTAX = words(
    "ALL AND ANY AS BETWEEN BY CASE CAST DISTINCT ELSE EXCEPT EXISTS FROM GROUP HAVING IN INNER INTERSECT IS JOIN LEFT LIKE "
    "NOT ON OR ORDER OUTER OVER PARTITION RIGHT SELECT SOME THEN UNION USING VALUES WHEN WHERE "
    "CHAR CHARACTER DECIMAL FLOAT NCHAR NUMERIC NVARCHAR VARCHAR VARYING"
)
_HARMLESS = words("COUNT SUM MIN MAX AVG COALESCE NULLIF LOWER UPPER ABS TRIM LENGTH ROW_NUMBER RANK DENSE_RANK")


class OtherFacts(Facts):
    """What is known of any database. Where functions are called without parentheses, nothing is.

    Args:
        plain: the grammar of a text.
        bare: functions are called without parentheses.
    """

    more = words("EXEC EXECUTE FOR NEXTVAL OPTION")

    def __init__(self, plain: Grammar, *, bare: bool) -> None:
        super().__init__(plain)
        self.bare = bare

    def unknown(self, reading: Reading) -> Questions:
        return Questions()

    def learn(self, ask: Ask, questions: Questions) -> None:
        """There is nobody to ask."""

    def judged(self, reading: Reading) -> Iterator[tuple[str, Effect]]:
        for call in reading.calls:
            known = call.schema is None and not call.quoted and call.name.upper() in _SYNTAX | _HARMLESS
            yield f"{call.name}()", Effect.NONE if known else Effect.MORE
        if self.bare or "nextval" in {name.lower() for name in reading.names}:
            yield "", Effect.MORE
