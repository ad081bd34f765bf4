"""What a statement names and calls, by its tokens: enough to ask a database what it does, and no more grammar than that.

Where the grammar leaves a doubt, something counts as called or as read from: too many questions are asked, never too few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from respool.engine.sql.tokens import Grammar, Kind, Token

__all__ = ["Call", "Reading", "read", "statements"]


class Call(NamedTuple):
    """A name with a parenthesis after it.

    Attributes:
        schema: what it is qualified by, if it is.
        name: as the database looks it up.
        quoted: it stands in quotes, and so cannot be a keyword.
        apart: there is white space before the parenthesis.
    """

    schema: str | None
    name: str
    quoted: bool
    apart: bool


@dataclass(slots=True, eq=False)
class Reading:
    """What is in one statement, or in one expression.

    Attributes:
        begins: its first keyword.
        calls: what may be a function's call.
        relations: what is read from.
        names: every name, quoted or not, that may be a type's.
        attributes: every name that has something before it.
        symbols: the operators.
        words: every keyword, or what may be one.
        writes: the keyword of a statement within it that changes data.
        target: the table that a SELECT … INTO makes.
        locks: the clause by which rows are locked.
        odd: there is something that cannot be judged.
    """

    begins: str = ""
    calls: dict[Call, None] = field(default_factory=dict)
    relations: dict[str, None] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    symbols: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    writes: str = ""
    target: str = ""
    locks: str = ""
    odd: bool = False


def statements(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """The statements of a text: one, or several with semicolons between."""
    start = 0
    for i, token in enumerate(tokens):
        if token.text == ";" and token.kind is Kind.MARK:
            if i > start:
                yield tokens[start:i]
            start = i + 1
    if start < len(tokens):
        yield tokens[start:] if start else tokens


def read(tokens: Sequence[Token], grammar: Grammar) -> Reading:
    """Read one statement."""
    reader = _Reader(tokens, grammar)
    reader.read()
    return reader.reading


_NAMING = frozenset({Kind.WORD, Kind.NAME})
#: What ends a FROM clause, and is a name on no database.
_CLAUSES = frozenset(["WHERE", "GROUP", "HAVING", "ORDER", "LIMIT"])
#: What goes on after a change, and makes a keyword of what could be a column's name.
_CHANGES = {"INSERT": ("INTO",), "DELETE": ("FROM",), "MERGE": ("INTO",), "UPDATE": ()}
#: What may stand between FROM and the name of a table; on some databases it can be the name itself.
_BEFORE_A_TABLE = frozenset({"ONLY", "LATERAL"})
_BEFORE_A_TARGET = frozenset({"TEMP", "TEMPORARY", "UNLOGGED", "TABLE"})


class _Level:
    """One level of parentheses."""

    __slots__ = ("expects", "from_", "item", "selects", "with_")

    def __init__(self, *, item: bool = False, from_: bool = False) -> None:
        self.item = item  #: what is read from stands in it, or a function that is
        self.from_ = from_  #: in a FROM clause
        self.expects = from_  #: a relation's name comes next
        self.selects = False  #: a SELECT began on this level
        self.with_ = False  #: in the list of common table expressions


class _Reader:
    def __init__(self, tokens: Sequence[Token], grammar: Grammar) -> None:
        self.tokens, self.grammar = tokens, grammar
        self.reading = Reading()
        self.levels = [_Level()]
        self.heads: set[int] = set()  #: the parentheses with the columns of a common table expression
        self.items: set[int] = set()  #: the parentheses after which an alias comes
        self.function = False  #: the next parenthesis is that of a function that is read from

    def read(self) -> None:
        for i, token in enumerate(self.tokens):
            kind = token.kind
            if kind in _NAMING:
                self._name(i, token)
            elif kind is Kind.SYMBOL:
                self.reading.symbols.add(token.text)
            elif kind is Kind.MARK:
                self._mark(i, token.text)
            elif kind is Kind.STRING and self.levels[-1].expects:
                name = Token(Kind.WORD, token.text.strip("'\""), token.start, token.end)
                self._relation(i, self.grammar.folded(name))  # SQLite takes it for a table's, and MySQL, if told to
        if len(self.levels) != 1:
            self.reading.odd = True

    # -- names ----------------------------------------------------------------------------------------------------

    def _name(self, i: int, token: Token) -> None:
        reading, before = self.reading, self._text(i - 1)
        name = self.grammar.folded(token)
        reading.names.add(name)
        if before == "." and self.tokens[i - 1].kind is Kind.MARK:
            reading.attributes.add(name)
        elif token.kind is Kind.WORD and not self._is(i - 1, "AS"):
            word = token.text.upper()
            reading.words.add(word)
            reading.begins = reading.begins or word
            if self._keyword(i, word):
                return
        if self.levels[-1].expects:
            self._relation(i, name)

    def _relation(self, i: int, name: str) -> None:
        following, level = self._text(i + 1), self.levels[-1]
        if following == ".":
            return
        level.expects = False
        if following == "(":
            self.function = True
        else:
            self.reading.relations[name] = None
            token = self.tokens[i]
            if token.kind is Kind.WORD and not name.isascii() and name != name.lower():
                self.reading.odd = True  # who knows how it is folded

    def _keyword(self, i: int, word: str) -> bool:
        """Whether a word, where it stands, is no name for certain."""
        level, reading = self.levels[-1], self.reading
        if word == "FROM":
            if not (self._is(i - 1, "DISTINCT") and (self._is(i - 2, "IS") or self._is(i - 2, "NOT"))):
                level.from_ = level.expects = level.selects or self._is(i - 1, "ROWS")
        elif word in ("JOIN", "STRAIGHT_JOIN"):
            level.from_ = level.expects = True
        elif word == "TABLE":
            level.expects = True
        elif word == "SELECT":
            level.selects, level.from_, level.expects, level.with_ = True, False, False, False
        elif word == "WITH" and self._head(i + 1):
            level.with_, level.expects = True, False
        elif word == "IN" and self.grammar.family == "sqlite":
            level.expects = self._text(i + 1) != "("
        elif word == "INTO":
            reading.target = reading.target or self._target(i + 1)
        elif word in _CLAUSES and not self._is(i - 1, "FOR"):  # a hint of MySQL's: USE INDEX FOR ORDER BY (a)
            level.from_ = level.expects = False
        elif word in ("ON", "USING") or (word == "VALUES" and self._text(i + 1) == "("):
            level.expects = False
        elif word == "FOR":
            self._lock(i)
        elif word == "LOCK" and self._is(i + 1, "IN") and self._is(i + 2, "SHARE"):
            reading.locks = "LOCK IN SHARE MODE"
        elif word in ("NEXT", "PREVIOUS") and self._is(i + 1, "VALUE"):
            reading.odd = True
        else:
            self._change(i, word)
            if not (level.expects and word in _BEFORE_A_TABLE):
                return False
            reading.relations[self.grammar.folded(self.tokens[i])] = None
        return True

    def _target(self, i: int) -> str:
        while self._text(i).upper() in _BEFORE_A_TARGET:
            i += 1
        return self.grammar.folded(self.tokens[i]) if self._names(i) else ""

    def _change(self, i: int, word: str) -> None:
        """Mark a statement that changes data, unless a column has its name."""
        if word not in _CHANGES or not (i == 0 or self._text(i - 1) in ("(", ")")):
            return
        if word == "UPDATE" or self._text(i + 1).upper() in _CHANGES[word]:
            self.reading.writes = self.reading.writes or word

    def _lock(self, i: int) -> None:
        words = [self._text(i + n).upper() for n in (1, 2, 3)]
        for clause in (("UPDATE",), ("SHARE",), ("NO", "KEY", "UPDATE"), ("KEY", "SHARE")):
            if tuple(words[: len(clause)]) == clause and self.tokens[i + 1].kind is Kind.WORD:
                self.reading.locks = " ".join(("FOR", *clause))

    # -- punctuation ----------------------------------------------------------------------------------------------

    def _mark(self, i: int, mark: str) -> None:
        level = self.levels[-1]
        if mark == "(":
            if i not in self.heads:
                self._called(i)
            self.levels.append(_Level(item=level.expects or self.function, from_=level.expects))
            level.expects = self.function = False
        elif mark == ")":
            if len(self.levels) == 1:
                self.reading.odd = True
                return
            if self.levels.pop().item:
                self.items.add(i)
        elif mark == ",":
            level.expects = level.from_
            if level.with_:
                self._head(i + 1)
        elif mark == ";":
            self.reading.odd = True

    def _head(self, i: int) -> bool:
        """Whether ``name [(columns)] AS [[NOT] MATERIALIZED] (`` begins here."""
        if self._is(i, "RECURSIVE") and not (self._text(i + 1) == "(" or self._is(i + 1, "AS")):
            i += 1
        columns = i + 1
        if not self._names(i):
            return False
        i += 1
        if self._text(i) == "(":
            i += 1
            while self._names(i) and self._text(i + 1) == ",":
                i += 2
            if not (self._names(i) and self._text(i + 1) == ")"):
                return False
            i += 2
        if not self._is(i, "AS"):
            return False
        i += 1
        i += self._is(i, "NOT")
        i += self._is(i, "MATERIALIZED")
        if self._text(i) != "(":
            return False
        self.heads.add(columns)
        return True

    # -- calls ----------------------------------------------------------------------------------------------------

    def _called(self, i: int) -> None:
        """Note what stands before an opening parenthesis, unless it is certain that nothing is called."""
        if i == 0 or self.tokens[i - 1].kind in (Kind.SYMBOL, Kind.MARK):
            return
        token = self.tokens[i - 1]
        if token.kind not in _NAMING:
            self.reading.odd = True
            return
        head, schema = i - 1, None
        while self._text(head - 1) == "." and self._names(head - 2):
            if schema is None:
                schema = self.grammar.folded(self.tokens[head - 2])
            head -= 2
        if self._text(head - 1) == ".":
            self.reading.odd = True
        elif not self._names_no_function(head, i, qualified=schema is not None):
            name = self.grammar.folded(token)
            if token.kind is Kind.WORD and not name.isascii():
                self.reading.odd = True
            apart = token.end != self.tokens[i].start
            self.reading.calls[Call(schema or None, name, token.kind is Kind.NAME, apart)] = None

    def _names_no_function(self, head: int, i: int, *, qualified: bool) -> bool:
        """Whether a name before a parenthesis is an alias's, a type's or a keyword for certain."""
        before = self._text(head - 1)
        if before == "::" or self._is(head - 1, "AS"):
            return True  # a type with a length, or an alias with columns
        if qualified:
            return False
        if self._is(head - 1, "ORDINALITY") and self._is(head - 2, "WITH"):
            return True
        if before == ")" and (head - 1 in self.items or (self._is(head, "AGAINST") and self.grammar.family == "mysql")):
            return True
        return (self._is(head, "ANY") or self._is(head, "SOME")) and self._text(i + 1).upper() in ("SELECT", "VALUES")

    # -- tokens ---------------------------------------------------------------------------------------------------

    def _text(self, i: int) -> str:
        """What stands at a place outside of quotes; empty for everything else."""
        if not 0 <= i < len(self.tokens):
            return ""
        token = self.tokens[i]
        return "" if token.kind in (Kind.NAME, Kind.STRING) else token.text

    def _is(self, i: int, word: str) -> bool:
        """Whether a keyword stands at a place; what is qualified is none."""
        return self._text(i).upper() == word and self._text(i - 1) != "."

    def _names(self, i: int) -> bool:
        return 0 <= i < len(self.tokens) and self.tokens[i].kind in _NAMING
