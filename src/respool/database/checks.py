"""What a database refuses of its arguments, before anything is opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from respool.config import PoolConfig, suggest
from respool.engine import ENGINE_OPTIONS
from respool.errors import ConfigError
from respool.session.classes import session_options

__all__ = [
    "check_begin",
    "check_keywords",
    "check_name",
    "check_options",
    "check_plans",
    "check_pool",
    "check_variables",
]

_KEYWORDS = (
    *("name", "pool", "commit", "begin", "twophase", "plans"),
    *("session_class", "session_options", "engine_options"),
)
_BEGINS = ("on_write", "on_use")
#: With which nobody but us has variables.
_PREFIX = "RESPOOL_"
#: Variables that are no settings of a database, whatever the prefix.
_OTHERS = ("RESPOOL_OBSERVE_SOCKET",)


def check_keywords(unknown: Mapping[str, Any]) -> None:
    """Refuse keywords that are none of a database's.

    Raises:
        ConfigError: there are any.
    """
    if unknown:
        given = next(iter(unknown))
        where = _where_it_goes(given, unknown)
        near = "" if where else suggest(given, [*_KEYWORDS, *PoolConfig.names(), *session_options()])
        raise ConfigError(
            f"unknown keyword {given!r}{near}",
            advice=[
                *([where] if where else []),
                f"keywords: {', '.join(_KEYWORDS)}",
                "settings of the pool go into pool=PoolConfig(max_size=20), those of create_engine into"
                + " engine_options={...}, those of SQLAlchemy's Session into session_options={...}",
            ],
            setting=given,
        )


def _where_it_goes(given: str, unknown: Mapping[str, Any]) -> str | None:
    """What to write, where a keyword is known and only stands in the wrong place."""
    settings = {name: value for name, value in unknown.items() if name in (*PoolConfig.names(), *PoolConfig.foreign())}
    if given in settings:
        return f"it is a setting of the pool: pool={PoolConfig.of(settings).as_call()}"
    if given in ENGINE_OPTIONS:
        return f'it is an argument of create_engine: engine_options={{"{given}": {unknown[given]!r}}}'
    if given in session_options():
        return f'it is an option of its sessions: session_options={{"{given}": {unknown[given]!r}}}'
    return None


def check_options(options: Any) -> None:
    """Refuse what are no arguments of ``create_engine``.

    Raises:
        ConfigError: it is something else than a dict.
    """
    if options is not None and not isinstance(options, Mapping):
        raise ConfigError(
            f"engine_options={options!r} is not accepted",
            advice=['write a dict of arguments of create_engine: engine_options={"echo": True}'],
            setting="engine_options",
        )


def check_pool(pool: Any) -> None:
    """Refuse what are no settings of a pool.

    Raises:
        ConfigError: it is something else; where it is a dict, the message says how to write it.
    """
    if pool is None or isinstance(pool, PoolConfig):
        return
    if isinstance(pool, Mapping):
        raise ConfigError(
            f"pool={dict(pool)!r} is not accepted: it is a dict",
            advice=[f"write pool={PoolConfig.of(pool).as_call()}"],
            setting="pool",
        )
    advice = ["write the settings: pool=PoolConfig(max_size=20)"]
    if hasattr(pool, "connect") or isinstance(pool, type):
        advice.append("an engine of yours, with any pool, is given in place of the URL: Database(engine)")
    raise ConfigError(f"pool={pool!r} is not accepted", advice=advice, setting="pool")


def check_name(name: Any) -> None:
    """Refuse what is no name."""
    if not isinstance(name, str) or not name:
        raise ConfigError(f"name={name!r} is not accepted", advice=['write a word: name="reports"'], setting="name")


def check_begin(begin: Any) -> None:
    """Refuse what is no rule for the beginning of transactions."""
    if begin not in (None, "on_write", "on_use"):
        raise ConfigError(
            f"begin={begin!r} is not accepted{suggest(begin, _BEGINS) if isinstance(begin, str) else ''}",
            advice=[
                'write begin="on_write": plain reads before the first write lease a connection each',
                'or begin="on_use": a transaction begins with the first statement, as SQLAlchemy does it',
                "or leave it out: on_write where the isolation level is READ COMMITTED, and on SQLite",
            ],
            setting="begin",
        )


def check_plans(plans: Any) -> None:
    """Refuse what is neither ``True`` nor ``False``."""
    if not isinstance(plans, bool):
        raise ConfigError(
            f"plans={plans!r} is not accepted",
            advice=["write plans=False, and every read goes SQLAlchemy's way; or leave it out"],
            setting="plans",
        )


def check_variables(prefix: str, environ: Mapping[str, str]) -> None:
    """Refuse variables of the environment that look like settings and are none.

    With our own prefix that is every one. Those of another may be somebody else's: one that is near to a setting is
    refused, unless that is set as well, and one of SQLAlchemy's words for it.
    """
    known = [prefix + name.upper() for name in ("url", "commit", "plans", *PoolConfig.names())]
    theirs = [prefix + name.upper() for name in PoolConfig.foreign()]
    ours = prefix == _PREFIX
    for variable in environ:
        if not variable.startswith(prefix) or variable in (*known, *_OTHERS):
            continue
        near = suggest(variable, known if ours else [name for name in known if name not in environ], prefix=prefix)
        if ours or near or variable in theirs:
            raise ConfigError(
                f"unknown variable {variable}{near}",
                advice=[
                    f"variables: {', '.join(known)}",
                    *(
                        []
                        if ours
                        else ["where somebody else needs it: another prefix, or environ={…} with what is yours"]
                    ),
                ],
                setting=variable,
            )
