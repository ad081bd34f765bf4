"""The settings of a pool: frozen, validated, each with its unit, its default and where its value came from."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from functools import wraps
from types import MappingProxyType
from typing import Any

from respool.errors import ConfigError, MissingExtra

__all__ = ["UNLIMITED", "PoolConfig", "needs", "parse_number", "parse_switch", "suggest"]

#: What ``max_size`` becomes when SQLAlchemy's ``pool_size=0`` or ``max_overflow=-1`` asks for no limit.
UNLIMITED = 2**31 - 1

#: SQLAlchemy's names for settings that have one of ours; ``pool_size`` and ``max_overflow`` are added up instead.
_ALIASES = {"pool_timeout": "timeout", "pool_recycle": "max_lifetime", "recycle": "max_lifetime"}
_SIZES = ("pool_size", "max_overflow")
_PINGS = ("pool_pre_ping", "pre_ping")


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """Settings of one pool. Times are in seconds (a number or a ``timedelta``).

    Args:
        min_size: connections kept open even when nobody uses them.
        max_size: the limit: connections open or being opened never exceed it. One that is being closed does not count:
            the server can see it a moment longer, beside its successor.
        timeout: how long a caller waits for a connection, all included: queue, connect and check. 0: it does not wait
            for others to give back. ``None``: without end.
        max_waiting: callers that may wait at once; one more gets ``PoolQueueFull``. ``None``: no limit.
        max_idle: a connection that rested this long is closed, down to ``min_size``. ``None``: never.
        max_lifetime: a connection older than this is replaced when nobody uses it; each one's own limit is
            up to 10 % shorter, at random, so that they do not all end together. ``None``: never.
        check_after: a connection that rested longer than this is checked before it is handed out. ``None``: never.
        max_connecting: connects under way at once.
        connect_timeout: how long one connect may take before its caller is told. ``None``: as the driver does.
        leak_after: a connection held longer than this is reported with its borrower's place. ``None``: never.

    Raises:
        ConfigError: a value is of the wrong kind, out of range, or at odds with another one.

    The names are those of psycopg_pool where it has one.
    """

    min_size: int = 0
    max_size: int = 10
    timeout: float | None = 30.0
    max_waiting: int | None = None
    max_idle: float | None = 300.0
    max_lifetime: float | None = 3600.0
    check_after: float | None = 0.5
    max_connecting: int = 2
    connect_timeout: float | None = 10.0
    leak_after: float | None = None
    #: Where each value that is not a default came from, for people: ``{"max_size": "RESPOOL_MAX_SIZE"}``.
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, least in _COUNTS.items():
            if name != "max_waiting" or self.max_waiting is not None:
                _count(name, getattr(self, name), least)
        for name, zero in _SECONDS.items():
            object.__setattr__(self, name, _seconds(name, getattr(self, name), zero))
        if self.min_size > self.max_size:
            raise ConfigError(
                f"min_size={self.min_size} is larger than max_size={self.max_size}",
                advice=["a pool cannot keep more connections than it may open: lower min_size or raise max_size"],
                setting="min_size",
            )
        object.__setattr__(self, "sources", MappingProxyType(dict(self.sources)))

    def as_call(self) -> str:
        """How to write it: ``PoolConfig(max_size=15)``."""
        default = PoolConfig()
        given = [f"{n}={getattr(self, n)!r}" for n in self.names() if getattr(self, n) != getattr(default, n)]
        return f"PoolConfig({', '.join(given)})"

    @property
    def longest_wait(self) -> float:
        """``timeout`` as a number: infinity when there is no limit."""
        return math.inf if self.timeout is None else self.timeout

    @classmethod
    def of(cls, settings: Mapping[str, Any], *, source: str = "argument") -> PoolConfig:
        """Build from a mapping, SQLAlchemy's own pool arguments included.

        Args:
            settings: our names, or ``pool_size`` and ``max_overflow`` (added up to ``max_size``), ``pool_timeout``,
                ``pool_recycle`` (-1: never) and ``pool_pre_ping`` (``True``: check at every checkout).
            source: where the values came from, for people.

        Raises:
            ConfigError: a name is unknown (the nearest known one is suggested), given twice, or its value is refused.
        """
        return cls().merged(settings, source=source)

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, prefix: str = "RESPOOL_") -> PoolConfig:
        """Build from variables such as ``RESPOOL_MAX_SIZE=20``; ``none`` stands for ``None``.

        Raises:
            ConfigError: a variable's text is not a number.
        """
        config = cls()
        for name in cls.names():
            variable = prefix + name.upper()
            if variable in environ:
                config = config.merged({name: parse_number(variable, environ[variable])}, source=variable)
        return config

    @classmethod
    def names(cls) -> list[str]:
        """The settings' names, in the order in which they are documented."""
        return [f.name for f in fields(cls) if f.name != "sources"]

    @staticmethod
    def foreign() -> list[str]:
        """SQLAlchemy's names of settings, which :meth:`of` takes as well."""
        return [*_SIZES, *_ALIASES, *_PINGS]

    def merged(self, settings: Mapping[str, Any], *, source: str = "argument") -> PoolConfig:
        """A copy with other values; arguments (``source`` too) and errors as for :meth:`of`."""
        ours = _translated(settings, self.names())
        return replace(self, **ours, sources={**self.sources, **dict.fromkeys(ours, source)})


_COUNTS = {"min_size": 0, "max_size": 1, "max_waiting": 0, "max_connecting": 1}
#: Each time setting, and whether zero is a meaningful value of it.
_SECONDS = {
    "timeout": True,
    "max_idle": False,
    "max_lifetime": False,
    "check_after": True,
    "connect_timeout": False,
    "leak_after": False,
}


def _refusing(plain: Callable[..., None]) -> Callable[..., None]:
    """The constructor, which refuses a word that it does not know in more than Python's own few words."""

    @wraps(plain)
    def init(self: PoolConfig, *args: Any, **settings: Any) -> None:
        names = [*PoolConfig.names(), "sources"]
        foreign = {name: value for name, value in settings.items() if name not in names}
        if foreign:
            ours = PoolConfig.of({name: value for name, value in settings.items() if name != "sources"})
            raise ConfigError(
                f"PoolConfig has no {', no '.join(map(repr, foreign))}: {'that is' if len(foreign) == 1 else 'they are'}"
                " SQLAlchemy's",
                advice=[
                    f"write {ours.as_call()}",
                    f"or keep SQLAlchemy's words, with all that they are given with: PoolConfig.of({settings!r})",
                ],
                setting=next(iter(foreign)),
            )
        plain(self, *args, **settings)

    return init


PoolConfig.__init__ = _refusing(PoolConfig.__init__)  # type: ignore[method-assign]

#: How near a word has to be, from 0 to 1: a suggestion that was not meant is worse than none.
_NEAR = 0.75


def suggest(word: str, known: Iterable[str], *, prefix: str = "") -> str:
    """``", did you mean 'max_size'?"`` when a known word or two are near, else nothing.

    Args:
        word: what was written.
        known: what could have been meant.
        prefix: what all of them begin with, which makes none of them nearer.
    """
    wanted = _bare(word, prefix)
    ratios = {
        name: difflib.SequenceMatcher(None, _bare(name, prefix), wanted).ratio() for name in known if name != word
    }
    best = max(ratios.values(), default=0.0)
    names = [repr(name) for name, ratio in ratios.items() if ratio == best]
    return f", did you mean {' or '.join(names)}?" if best >= _NEAR and len(names) <= 2 else ""


def _bare(word: str, prefix: str) -> str:
    return word.removeprefix(prefix).replace("_", "").lower()


@contextmanager
def needs(extra: str, *packages: str, what: str | None = None) -> Iterator[None]:
    """A block of imports that one of the extras makes possible.

    Args:
        extra: which brings what is imported.
        packages: what that is; the package of the extra's name by default. A module within one that is missing, as in
            an older version, is another fault, and told as it is.
        what: what needs it, for people.

    Raises:
        MissingExtra: one of the packages is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = error.name
        if package not in (packages or (extra,)):
            raise
        raise MissingExtra(
            f"{what or f'respool for {extra}'} needs {package}, which is not installed",
            advice=[f'pip install "respool[{extra}]"', f"or by itself: pip install {package}"],
            setting=extra,
            name=package,
            extra=extra,
        ) from error


def parse_number(variable: str, text: str) -> float | int | None:
    """The number in an environment variable's text; ``none`` (any case) is ``None``. ``ConfigError`` for anything else."""
    if text.strip().lower() == "none":
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ConfigError(
            f"{variable}={text!r} is not a number",
            advice=[f"write a number, or none where the setting may be off: {variable}=10"],
            setting=variable,
        ) from None


#: What people write for yes and no.
_SWITCHES = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}


def parse_switch(variable: str, text: str) -> bool:
    """What an environment variable's text says: ``on`` or ``off``, in any case. ``ConfigError`` for anything else."""
    try:
        return _SWITCHES[text.strip().lower()]
    except KeyError:
        raise ConfigError(
            f"{variable}={text!r} is not accepted", advice=[f"write {variable}=on or {variable}=off"], setting=variable
        ) from None


def _translated(settings: Mapping[str, Any], known: list[str]) -> dict[str, Any]:
    ours: dict[str, Any] = {}
    sizes = {name: settings[name] for name in _SIZES if name in settings}
    for given, value in settings.items():
        if given in _SIZES:
            continue
        if given in _PINGS:
            name, value = "check_after", 0.0 if value else PoolConfig().check_after
        elif given in _ALIASES:
            name = _ALIASES[given]
            value = None if name == "max_lifetime" and value in (-1, None) else value
        else:
            name = given
        if name not in known:
            raise ConfigError(
                f"unknown pool setting {given!r}{suggest(given, [*known, *PoolConfig.foreign()])}",
                advice=[
                    f"settings: {', '.join(known)}",
                    f"SQLAlchemy's, in create_engine and PoolConfig.of: {', '.join(PoolConfig.foreign())}",
                ],
                setting=given,
            )
        if name in ours:
            raise ConfigError(f"{name} is given twice, once as {given!r}", advice=["keep one of the two"], setting=name)
        ours[name] = value
    if sizes:
        if "max_size" in ours:
            raise ConfigError(
                f"max_size is given twice, once as {' and '.join(map(repr, sizes))}",
                advice=["max_size is pool_size + max_overflow: keep max_size alone"],
                setting="max_size",
            )
        ours["max_size"] = _added_up(sizes)
    return ours


def _added_up(sizes: Mapping[str, Any]) -> int:
    """SQLAlchemy's two sizes as one limit; its defaults are 5 and 10, and its "no limit" is 0 and -1."""
    pool_size = _count("pool_size", sizes.get("pool_size", 5), 0)
    if pool_size == 0:
        return UNLIMITED
    max_overflow = _count("max_overflow", sizes.get("max_overflow", 10), -1)
    return UNLIMITED if max_overflow == -1 else pool_size + max_overflow


def _count(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(
            f"{name}={value!r} is not accepted",
            advice=[
                f"write a whole number of at least {least}"
                + (", or None for no limit" if name == "max_waiting" else "")
            ],
            setting=name,
        )
    return value


def _seconds(name: str, value: Any, zero: bool) -> float | None:
    if value is None:
        return None
    if isinstance(value, timedelta):
        value = value.total_seconds()
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value < 0 or (value == 0 and not zero):
        raise ConfigError(
            f"{name}={value!r} is not accepted",
            advice=[
                f"write seconds as a {'non-negative' if zero else 'positive'} number or a timedelta"
                + f", or None for {'no limit' if name == 'timeout' else 'never'}"
            ],
            setting=name,
        )
    return float(value)
