"""What a database says of the functions, operators, types and relations that a statement names; asked once for each name.

One catalogue belongs to one engine. It is asked when a statement is seen for the first time, for everything in it that is
not known yet, in one question; so the statements of a running application cost nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Sequence
from copy import copy
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import TimeoutError as PoolWait

from respool.engine.dialects.signs import transaction_state
from respool.engine.pools import leases
from respool.engine.sql.facts import Ask, Effect, Facts, Questions
from respool.engine.sql.mysql import MySQLFacts
from respool.engine.sql.other import OtherFacts
from respool.engine.sql.postgresql import PostgreSQLFacts
from respool.engine.sql.reading import Reading, read, statements
from respool.engine.sql.sqlite import SQLiteFacts
from respool.engine.sql.tokens import Grammar, Unreadable, grammar, tokenize
from respool.errors import PoolError

__all__ = ["Ask", "Catalogue", "Effect", "asking", "catalogue_of"]

#: Where a dialect keeps the catalogue of its engine.
_CATALOGUE = "_respool_catalogue"
_READS = frozenset({"SELECT", "WITH", "VALUES", "TABLE"})
#: How many questions are left out, at most, after one that failed for the umpteenth time in a row.
_PAUSE = 1023
#: How deep views are looked into.
_DEEP = 50
#: Of how many texts the effects are remembered: of those that go to the driver as they are, since nobody keeps them.
_TEXTS = 500


class Catalogue:
    """What is known of one database.

    Args:
        dialect: the engine's.
        ask: executes one text without parameters on a connection of the engine's, and returns its rows. It may raise:
            then nothing is known, and it is asked again.
    """

    def __init__(self, dialect: Any, ask: Ask) -> None:
        self.dialect = dialect
        self._ask = ask
        self._facts = _facts(dialect.name)
        self._failures = self._left_out = 0
        self._told: dict[str, dict[str, Effect]] = {}

    def through(self, ask: Ask) -> Catalogue:
        """The same catalogue, for who has a connection and must not wait for another one.

        Args:
            ask: asks in place of this one's.
        """
        catalogue = copy(self)
        catalogue._ask = ask
        return catalogue

    def is_plain(self, sql: str) -> bool | None:
        """Whether a text, executed alone in autocommit, gives the rows that it gives anywhere and leaves nothing behind.

        Args:
            sql: as SQLAlchemy has compiled it.

        Returns:
            ``None`` if the database could not be asked.
        """
        try:
            text = tokenize(sql, self._grammar())
        except Unreadable:
            return False
        if text.commented or text.doubtful:
            return False
        reading = read(text.tokens, self._facts.plain)
        if reading.begins not in _READS:
            return False
        found = self._effects(reading)
        return None if found is None else not found

    def effects(self, sql: str, ask: Ask | None = None, *, idle: Collection[str] = _READS) -> dict[str, Effect] | None:
        """What the reads in a text do beyond reading, by what does it: ``{"charge()": Effect.WRITES}``.

        Of views it knows only those that :meth:`is_plain` has met, since their definitions cannot be asked for without
        a lock on them.

        Args:
            sql: one statement, or several.
            idle: the first words of statements that leave data as they are.

        Returns:
            ``None`` if the database could not be asked.
        """
        found = self._effects_of_all(sql, idle)
        if found is not None:
            if len(self._told) >= _TEXTS:
                self._told.clear()
            self._told[sql] = found
        return found

    def told(self, sql: str) -> dict[str, Effect] | None:
        """What :meth:`effects` has said of this text not long ago; ``None`` if nothing."""
        return self._told.get(sql)

    def _effects_of_all(self, sql: str, idle: Collection[str]) -> dict[str, Effect] | None:
        try:
            tokens = self._tokens(sql)
        except Unreadable:
            return {}
        found: dict[str, Effect] = {}
        for statement in statements(tokens):
            reading = read(statement, self._facts.plain)
            if reading.begins in _READS or _executes_a_read(reading):
                more = self._effects(reading, relations=False)
                if more is None:
                    return None
                found.update(more)
            elif reading.begins not in idle:
                found[reading.begins] = Effect.WRITES
        return found

    # -- what is known --------------------------------------------------------------------------------------------

    def _grammar(self) -> Grammar:
        return grammar(self.dialect.name, self.dialect.paramstyle)

    def _tokens(self, sql: str) -> Sequence[Any]:
        try:
            return tokenize(sql, self._grammar()).tokens
        except Unreadable:
            return tokenize(sql, self._facts.plain).tokens  # without parameters there are no placeholders

    def _effects(self, reading: Reading, *, relations: bool = True) -> dict[str, Effect] | None:
        """What a statement does, and the views that it reads from, and those that they read from."""
        facts = self._facts
        for _ in range(_DEEP):
            readings = _with_definitions(reading, facts)
            questions = Questions()
            for each in readings:
                if each is not None:
                    questions |= facts.unknown(each)
            if not relations:
                questions.relations.clear()
            if not questions:
                break
            if not self._learn(questions):
                return None
        else:
            return None
        found: dict[str, Effect] = {}
        for each in readings:
            for what, effect in facts.effects(each) if each is not None else [("", Effect.MORE)]:
                if effect:
                    found[what] = found.get(what, Effect.NONE) | effect
        return found

    def _learn(self, questions: Questions) -> bool:
        if self._left_out:
            self._left_out -= 1
            return False
        try:
            self._facts.learn(self._ask, questions)
        except (PoolError, PoolWait):
            raise  # who has no connection for the question has none for the statement
        except Exception:
            # somebody may not ask at all: each time in a row it is left alone for twice as long
            self._failures += 1
            self._left_out = min(2 ** (self._failures - 1) - 1, _PAUSE)
            return False
        self._failures = 0
        return True


def _facts(name: str) -> Facts:
    plain = grammar(name, None)
    if plain.family == "postgresql":
        return PostgreSQLFacts(plain)
    if plain.family == "mysql":
        return MySQLFacts(plain)
    if plain.family == "sqlite":
        return SQLiteFacts(plain)
    return OtherFacts(plain, bare=name == "oracle")


def _executes_a_read(reading: Reading) -> bool:
    """Whether there is a read behind another word, and it is executed."""
    return (reading.begins == "EXPLAIN" and not reading.words.isdisjoint({"ANALYZE", "ANALYSE"})) or (
        reading.begins == "DECLARE"
    )


def _with_definitions(reading: Reading, facts: Facts) -> list[Reading | None]:
    """A statement and everything that it is made of; ``None`` for what cannot be judged."""
    found: list[Reading | None] = [reading]
    for each in found:
        if each is not None:
            found.extend(one for one in facts.definitions(each) if one is None or one not in found)
    return found


# -- asking ------------------------------------------------------------------------------------------------------------


def catalogue_of(engine: Engine) -> Catalogue:
    """The catalogue of an engine, which its options and its async face share."""
    catalogue: Catalogue | None = getattr(engine.dialect, _CATALOGUE, None)
    if catalogue is None:
        catalogue = Catalogue(engine.dialect, _asking_the_pool(engine))
        setattr(engine.dialect, _CATALOGUE, catalogue)
    return catalogue


def asking(connection: Any, *, within_transaction: bool = False) -> Ask:
    """Ask on a connection.

    Args:
        connection: the driver's, or the pool's.
        within_transaction: there may be one of somebody's, which a question that fails must not doom, and one that is over
            must not be followed by another: then there is no answer.
    """

    def ask(sql: str) -> Sequence[Sequence[Any]]:
        cursor = connection.cursor()
        try:
            cursor.execute(sql)
            return list(cursor.fetchall())
        finally:
            cursor.close()

    def ask_within(sql: str) -> Sequence[Sequence[Any]]:
        note, certain = transaction_state(connection)
        if certain and note is None:
            raise LookupError("a question would begin a transaction")
        cursor = connection.cursor()
        try:
            cursor.execute("SAVEPOINT respool_question")
            try:
                return ask(sql)
            except BaseException:
                cursor.execute("ROLLBACK TO SAVEPOINT respool_question")
                raise
            finally:
                cursor.execute("RELEASE SAVEPOINT respool_question")
        finally:
            cursor.close()

    return ask_within if within_transaction and getattr(connection, "autocommit", True) is False else ask


def _asking_the_pool(engine: Engine) -> Ask:
    """Ask on a connection of the engine's own, taken as for a plain read."""
    root: Callable[[], Any] = weakref.ref(getattr(engine, "_proxied", engine))

    def ask(sql: str) -> Sequence[Sequence[Any]]:
        engine = root()
        pool, dialect = engine.pool, engine.dialect
        connection = leases.take(pool, dialect)
        if connection is None:
            raise LookupError("no connection that can be asked alone")
        try:
            return asking(connection)(sql)
        except BaseException:
            leases.after_failure(connection, dialect)
            raise
        finally:
            leases.give_back(connection, pool, dialect)

    return ask
