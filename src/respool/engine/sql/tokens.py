"""SQL text as tokens: complete, in linear time, by the lexical rules of each database.

What cannot be read to the end is refused as a whole, since a string that ends one character too early or too late makes
code of what is text, and text of what is code. Where the server's settings decide how something is read, the text is
*doubtful*.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import NamedTuple

__all__ = ["Grammar", "Kind", "Text", "Token", "Unreadable", "grammar", "tokenize"]


class Unreadable(Exception):  # a condition, of which everybody who reads text makes an answer
    """A text that is not completely understood."""


class Kind(Enum):
    """What a token is."""

    WORD = auto()  #: a keyword, or a name without quotes
    NAME = auto()  #: a name in quotes
    STRING = auto()
    NUMBER = auto()
    PLACEHOLDER = auto()
    SYMBOL = auto()  #: an operator
    MARK = auto()  #: punctuation


class Token(NamedTuple):
    """One token: a name without its quotes, everything else as it stands there."""

    kind: Kind
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Text:
    """A text that was read to its end.

    Attributes:
        tokens: what it consists of, without white space and comments.
        commented: there are comments.
        doubtful: the server may read it differently.
    """

    tokens: Sequence[Token]
    commented: bool
    doubtful: bool


@dataclass(frozen=True, eq=False, slots=True)
class Grammar:
    """How a database reads text.

    Attributes:
        family: ``postgresql``, ``mysql``, ``sqlite`` or ``other``.
        pattern: matches one token, or the beginning of a comment.
        doubled: a percent sign is written twice.
    """

    family: str
    pattern: re.Pattern[str]
    doubled: bool

    def folded(self, token: Token) -> str:
        """A name as the database looks it up."""
        name = token.text
        if self.family == "postgresql":
            name = name.translate(_LOWER) if token.kind is Kind.WORD else name
            return name if len(name) < 16 else name.encode("utf-8", "replace")[:63].decode("utf-8", "ignore")
        return name.translate(_LOWER) if self.family == "sqlite" else name


_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}

_FIRST = r"[A-Za-z_\x80-\U0010ffff]"
_REST = r"[A-Za-z0-9_$\x80-\U0010ffff]"
_TOUCHES = re.compile(rf"""{_REST}|['"`]""")
#: A quote after an odd number of backslashes: with backslash escapes it is part of the string, without it is the end.
_ESCAPED_QUOTE = re.compile(r"""(?<!\\)(?:\\\\)*+\\['"]""")

_COMMON = {
    "space": r"[ \t\n\r\f\v]++",
    "bound": "\0",
    "schema": r"__\[SCHEMA_[^\[\]]++\]",
    "number": r"0[xX][0-9A-Fa-f_]++|(?:\d[\d_]*+(?:\.(?!\.)[\d_]*+)?|\.\d[\d_]*+)(?:[eE][+-]?\d++)?+",
    "word": f"{_FIRST}{_REST}*+",
}
#: SQLAlchemy's mark of parameters that are expanded at the execution, each of them between two pieces of SQL perhaps.
_BOUND = re.compile(r"__\[POSTCOMPILE_[^\s~\[\]]++(?:~~((?:(?!~~).)*+)~~REPL~~((?:(?!~~).)*+)~~)?\]", re.DOTALL)
_PLAIN_STRING = "'(?:[^']|'')*+'"
_DOUBLE_QUOTED = '"(?:[^"]|"")*+"'
_BACKTICKED = "`(?:[^`]|``)*+`"
_ESCAPING = r"(?:[^{0}\\]|\\.|{0}{0})*+"
_PLACEHOLDERS = {
    "pyformat": r"%\([^()]*+\)[sbt]",
    "format": "%s",
    "qmark": r"\?",
    "named": rf":{_FIRST}{_REST}*+",
    "numeric": r":\d++",
    "numeric_dollar": r"\$\d++",
}
#: The operators, but for the percent sign.
_SYMBOLS = {
    "postgresql": r"(?:(?!--|/\*)[-+*/<>=~!@#^&|`?]|{percent})++",  # a run of them, which is cut by a rule of its own
    "mysql": r"<=>|->>?|:=|&&|\|\||<<|>>|[<>!]=|<>|[-+*/&|^~!<>=@]|{percent}",
    "sqlite": r"->>?|\|\||<<|>>|[<>!=]=|<>|[-+*/&|~<>=]|{percent}",
    "other": r"\|\||[<>!]=|<>|[-+*/<>=]|{percent}",
}
_FAMILIES: dict[str, dict[str, str]] = {
    "postgresql": {
        "comment": r"--[^\n\r]*+|/\*",
        "escaping": "[eE]'" + _ESCAPING.format("'") + "'",
        "string": rf"(?:[bBxXnN]|[uU]&)?{_PLAIN_STRING}",
        "dollar": r"\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*+)?\$",
        "refused": """[uU]&"|[eE]'""",
        "name": _DOUBLE_QUOTED,
        "parameter": r"\$\d++",
        "mark": r"::|:=|[(),.;:\[\]]",
    },
    "mysql": {
        "comment": r"--(?=[\x00-\x20]|\Z)[^\n]*+|\#[^\n]*+|/\*",
        "string": f"'{_ESCAPING.format(chr(39))}'|\"{_ESCAPING.format(chr(34))}\"",
        "name": _BACKTICKED,
        "mark": "[(),.;]",
    },
    "sqlite": {
        "comment": r"--[^\n]*+|/\*",
        "string": f"[xX]?{_PLAIN_STRING}",
        "name": rf"{_DOUBLE_QUOTED}|{_BACKTICKED}|\[[^\]]*+\]",
        "mark": "[(),.;]",
    },
    "other": {
        "comment": r"--[^\n]*+|/\*",
        "string": f"[nN]?{_PLAIN_STRING}",
        "name": rf"{_DOUBLE_QUOTED}|\[[^\]]*+\]",
        "mark": "[(),.;]",
    },
}
#: In which order the alternatives are tried; what a family does not have is left out.
_ORDER = (
    *("space", "comment", "bound", "schema", "escaping", "string", "refused", "dollar", "name", "placeholder"),
    *("parameter", "word", "number", "mark", "symbol"),
)


@lru_cache(maxsize=64)
def grammar(dialect: str, paramstyle: str | None) -> Grammar:
    """The grammar of a dialect.

    Args:
        dialect: SQLAlchemy's name of it.
        paramstyle: what parameters look like; ``None`` for a text that has none, and goes to no driver.
    """
    family = {"mariadb": "mysql"}.get(dialect, dialect)
    family = family if family in _FAMILIES else "other"
    doubled = paramstyle in ("pyformat", "format")
    parts = {**_COMMON, **_FAMILIES[family]}
    parts["symbol"] = _SYMBOLS[family].replace("{percent}", "%%" if doubled else "%")
    if paramstyle is not None:
        parts["placeholder"] = _PLACEHOLDERS[paramstyle]
    pattern = "|".join(f"(?P<{name}>{parts[name]})" for name in _ORDER if name in parts)
    return Grammar(family, re.compile(pattern, re.DOTALL), doubled)


_KINDS = {
    "escaping": Kind.STRING,
    "string": Kind.STRING,
    "dollar": Kind.STRING,
    "number": Kind.NUMBER,
    "bound": Kind.PLACEHOLDER,
    "placeholder": Kind.PLACEHOLDER,
    "parameter": Kind.PLACEHOLDER,
    "word": Kind.WORD,
    "name": Kind.NAME,
    "schema": Kind.NAME,
    "symbol": Kind.SYMBOL,
    "mark": Kind.MARK,
}


def tokenize(text: str, grammar: Grammar) -> Text:
    """Read a text to its end.

    Args:
        text: as SQLAlchemy has compiled it, with its own marks of what is rendered at the execution.
        grammar: of the database, and of the driver that it goes to.

    Raises:
        Unreadable: something in it is not understood.
    """
    if "__[" in text:
        text = _BOUND.sub(lambda found: f"{found[1] or ''}\0{found[2] or ''}", text)
    tokens: list[Token] = []
    match = grammar.pattern.match
    position, commented, doubtful = 0, False, False
    while position < len(text):
        found = match(text, position)
        if found is None:
            raise Unreadable(f"at {position}")
        group, value, start, position = str(found.lastgroup), found.group(), position, found.end()
        if group == "space":
            continue
        if group == "comment":
            position, executed = _after_comment(text, start, position, grammar)
            commented, doubtful = True, doubtful or executed
            continue
        if group == "refused":
            raise Unreadable("a name with escapes, or a string without an end")
        if group == "dollar":
            position = _after_dollars(text, value, position)
            value = text[start:position]
        elif group == "symbol":
            tokens += _symbols(value, start, grammar)
            continue
        elif group in ("string", "escaping"):
            doubtful = doubtful or _is_doubtful(value, group, tokens, grammar)
        elif group in ("name", "schema"):
            value = _unquoted(value)
        token = Token(_KINDS[group], value, start, position)
        if token.kind in _APART:
            _stands_apart(text, token, tokens)
        tokens.append(token)
    return Text(tokens, commented, doubtful)


#: What must not touch a name or a string: ``1f`` is a name in MySQL, and a value pasted after an ``E`` has escapes.
_APART = frozenset({Kind.NUMBER, Kind.PLACEHOLDER})
_MAY_TOUCH = frozenset({Kind.SYMBOL, Kind.MARK})


def _stands_apart(text: str, token: Token, before: Sequence[Token]) -> None:
    if _TOUCHES.match(text, token.end):
        raise Unreadable(f"at {token.end}")
    if before and before[-1].end == token.start and before[-1].kind not in _MAY_TOUCH:
        raise Unreadable(f"at {token.start}")


def _symbols(run: str, start: int, grammar: Grammar) -> Sequence[Token]:
    """What stands together without white space, as the operators that the database sees."""
    symbol = run
    if grammar.family == "postgresql" and run[-1] in "+-" and not _PECULIAR.intersection(run):
        symbol = run[0] + run[1:].rstrip("+-")  # a sign at the end belongs to what follows
    end = start + len(symbol)
    first = Token(Kind.SYMBOL, symbol.replace("%%", "%") if grammar.doubled else symbol, start, end)
    signs = run[len(symbol) :]
    return [first, *(Token(Kind.SYMBOL, sign, end + i, end + i + 1) for i, sign in enumerate(signs))]


#: What an operator of PostgreSQL's has in it that may end in a sign.
_PECULIAR = frozenset("~!@#^&|`?%")


def _is_doubtful(value: str, group: str, before: Sequence[Token], grammar: Grammar) -> bool:
    """Whether the server's settings, or the string before, decide where this string ends."""
    if grammar.family == "postgresql" and before and before[-1].kind is Kind.STRING:
        return True  # two of them on two lines are one, which goes on with the escapes of the first
    return (
        group != "escaping" and grammar.family in ("postgresql", "mysql") and _ESCAPED_QUOTE.search(value) is not None
    )


def _unquoted(value: str) -> str:
    quote = value[0]
    if quote == "_":  # SQLAlchemy's own mark of a schema that is named at the execution
        return ""
    return value[1:-1] if quote == "[" else value[1:-1].replace(quote * 2, quote)


def _after_dollars(text: str, tag: str, position: int) -> int:
    end = text.find(tag, position)
    if end < 0:
        raise Unreadable("a string without an end")
    return end + len(tag)


_COMMENT_ENDS = re.compile(r"/\*|\*/")


def _after_comment(text: str, start: int, position: int, grammar: Grammar) -> tuple[int, bool]:
    """Where the text goes on, and whether the server may execute what is in the comment."""
    if text[start] != "/":
        return position, False
    told = grammar.family != "sqlite" and text[position : position + 1] in ("!", "+", "M")
    if grammar.family != "postgresql":
        end = text.find("*/", position)
        if end < 0:
            raise Unreadable("a comment without an end")
        return end + 2, told
    depth = 1
    for found in _COMMENT_ENDS.finditer(text, position):
        depth += 1 if found.group() == "/*" else -1
        if depth == 0:
            return found.end(), told
    raise Unreadable("a comment without an end")
