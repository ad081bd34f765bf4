"""What a database says of the names in a statement, as far as it was asked: the part that is the same for all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Any

from respool.engine.sql.reading import Reading, read
from respool.engine.sql.tokens import Grammar, Unreadable, tokenize

__all__ = ["Ask", "Effect", "Facts", "Questions", "askable", "literals", "words"]

#: Executes one text that has no parameters, and returns its rows.
Ask = Callable[[str], Sequence[Sequence[Any]]]


class Effect(Flag):
    """What something does beyond reading."""

    NONE = 0
    MORE = auto()  #: it depends on the connection, or leaves something with it; no rollback takes anything away
    WRITES = auto()  #: it may change data, or whatever else a rollback takes back
    LOCKS = auto()
    UNLOCKS = auto()


@dataclass(slots=True)
class Questions:
    """Names of which nothing is known yet."""

    functions: set[str] = field(default_factory=set)
    relations: set[str] = field(default_factory=set)
    symbols: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.functions or self.relations or self.symbols)

    def __ior__(self, other: Questions) -> Questions:
        self.functions |= other.functions
        self.relations |= other.relations
        self.symbols |= other.symbols
        return self


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


#: Words of statements that write or lock; as names of columns they stand in quotes, or behind the name of their table.
_WRITING = words("INSERT UPDATE DELETE MERGE INTO CALL")
#: How many names of a kind are remembered; a program that makes up names would otherwise fill the memory.
_MANY = 20_000


class Facts(ABC):
    """What is known of a database's names. What it does not know it lists; :meth:`learn` asks for all of it at once.

    Args:
        plain: the grammar of a definition, as the database gives it out.
    """

    #: Words beside ours that make a statement more than a read.
    more: frozenset[str] = frozenset()

    def __init__(self, plain: Grammar) -> None:
        self.plain = plain
        #: What a relation is defined by: nothing for a table, ``None`` for what cannot be judged.
        self.relations: dict[str, tuple[Reading | None, ...]] = {}

    @abstractmethod
    def unknown(self, reading: Reading) -> Questions:
        """What has to be asked for, to judge this."""

    @abstractmethod
    def learn(self, ask: Ask, questions: Questions) -> None:
        """Ask the database.

        Raises:
            Exception: whatever ``ask`` raises; then nothing was learned.
        """

    @abstractmethod
    def judged(self, reading: Reading) -> Iterator[tuple[str, Effect]]:
        """What the names in a statement do, each with how people call it."""

    def effects(self, reading: Reading) -> Iterator[tuple[str, Effect]]:
        """What a statement does by itself, whatever it reads from."""
        if reading.odd or not (_WRITING | self.more).isdisjoint(reading.words):
            yield "", Effect.MORE
        if reading.writes:
            yield reading.writes, Effect.WRITES
        elif "INTO" in reading.words and self.plain.family != "mysql":  # MySQL's goes to variables and files
            yield f"INTO {reading.target}".rstrip(), Effect.WRITES
        if reading.locks:
            yield reading.locks, Effect.LOCKS
        yield from self.judged(reading)

    def definitions(self, reading: Reading) -> Iterator[Reading | None]:
        """The definitions of what a statement reads from."""
        for name in reading.relations:
            yield from self.relations.get(name, ())

    def unknown_relations(self, reading: Reading) -> set[str]:
        """What the statement reads from and nobody has asked for."""
        return reading.relations.keys() - self.relations.keys()

    def remembered(self, relations: dict[str, tuple[Reading | None, ...]]) -> None:
        """Take down what is known of relations."""
        self.relations = {**(self.relations if len(self.relations) < _MANY else {}), **relations}

    def answered(self, relations: Iterable[str]) -> dict[str, tuple[Reading | None, ...]]:
        """What is true of relations that no answer is about: they are tables, or nothing, or cannot be asked for."""
        return {name: () if askable(name) else (None,) for name in relations}

    def definition(self, text: str | None, *, after: str = "") -> Reading | None:
        """A view's definition, read; ``None`` where that is not certain.

        Args:
            text: as the database gives it.
            after: the word after which it begins.
        """
        if not text:
            return None
        try:
            known = tokenize(text, self.plain)
        except Unreadable:
            return None
        tokens = known.tokens
        if after:
            start = next((i for i, token in enumerate(tokens) if token.text.upper() == after), len(tokens))
            tokens = tokens[start + 1 :]
        if tokens and tokens[-1].text == ";":
            tokens = tokens[:-1]
        return None if known.doubtful else read(tokens, self.plain)


def askable(name: str) -> bool:
    """Whether a name can be asked for: nothing in it can be taken for a parameter by a driver, or an escape by a server."""
    return _DANGEROUS.isdisjoint(name)


def literals(names: Iterable[str]) -> str:
    """Names as a list of SQL literals, without those that cannot be asked for."""
    return ", ".join("'" + name.replace("'", "''") + "'" for name in sorted(names) if askable(name)) or "''"


_DANGEROUS = frozenset("\\%:?\0")
