"""The pool's errors, with the numbers of the moment in which they are made."""

from __future__ import annotations

import re

from respool.config import UNLIMITED
from respool.errors import CallerGone, ConfigError, ConnectFailed, PoolClosed, PoolQueueFull, PoolTimeout
from respool.pool.core.state import PoolState

__all__ = [
    "caller_gone",
    "connect_failed",
    "not_under_trio",
    "pool_closed",
    "pool_queue_full",
    "pool_timeout",
    "words_of",
]


def pool_timeout(name: str, state: PoolState, timeout: float, holders: list[str]) -> PoolTimeout:
    away = state.outage is not None
    why = words_of(state.last_error) if state.last_error is not None else None
    advice = [
        "a request holds its connection while it waits for something else: give it back first (see the holders above)",
        "connections are not given back: use `with`, which does it on every path",
        f"the load needs more than {_limit(state)}: raise max_size, if the database allows more connections",
    ]
    if state.last_error is not None:
        advice.insert(
            0, "the database refuses connections or cannot be reached: see the error above, which caused this one"
        )
    return PoolTimeout(
        f"no connection from pool {name!r} within {timeout:g} s" + (f": the database is away: {why}" if away else ""),
        now=[_numbers(state), *holders, *_connecting(state)],
        advice=advice,
        pool=name,
        timeout=timeout,
        holders=tuple(holders),
        max_size=state.max_size,
        acquired=state.acquired,
        idle=len(state.idle),
        connecting=state.connecting,
        waiting=state.line.waiting,
        database_away=away,
        connect_error=why,
    )


def pool_queue_full(name: str, state: PoolState, holders: list[str]) -> PoolQueueFull:
    return PoolQueueFull(
        f"pool {name!r}: {state.line.waiting} callers wait already, max_waiting is {state.config.max_waiting}",
        now=[_numbers(state), *holders],
        advice=[
            "more requests arrive than the database serves: answer 503 with Retry-After, and let the load fall",
            f"the load needs more than {_limit(state)}: raise max_size, if the database allows more connections",
        ],
        pool=name,
        max_waiting=state.config.max_waiting,
        waiting=state.line.waiting,
    )


def pool_closed(name: str, by: str = "") -> PoolClosed:
    return PoolClosed(
        f"pool {name!r} is closed{f': close() was called at {by}' if by else ''}",
        advice=[
            "something uses the database after shutdown began: end it before the pool is closed",
            "to go on with it: db.reopen(), or engine.dispose(), which puts a new pool in the place of this one",
        ],
        pool=name,
        closed_by=by,
    )


def not_under_trio() -> ConfigError:
    return ConfigError(
        "respool's async side and SQLAlchemy's run on asyncio, and this is trio",
        advice=[
            "let the server or the program use asyncio: anyio.run(main, backend='asyncio'), hypercorn --worker-class asyncio",
            "from trio, use the sync Database in threads: trio.to_thread.run_sync(work)",
        ],
        setting="event loop",
    )


def caller_gone(name: str) -> CallerGone:
    return CallerGone(
        f"a client hung up while its request waited for a connection of pool {name!r}",
        advice=["clients give up before it is their turn: see why the line is that long (respool explain P001)"],
        pool=name,
    )


def connect_failed(name: str, error: BaseException) -> ConnectFailed:
    return ConnectFailed(
        f"pool {name!r} could not open a connection: {words_of(error)}",
        advice=["the database refuses what it was asked (see the error above, which caused this one): check the URL"],
        pool=name,
        connect_error=words_of(error),
    )


def _limit(state: PoolState) -> str:
    return "its limit" if state.max_size >= UNLIMITED else f"max_size={state.max_size}"


def _numbers(state: PoolState) -> str:
    limit = "unlimited" if state.max_size >= UNLIMITED else state.max_size
    return (
        f"max_size={limit} acquired={state.acquired} idle={len(state.idle)} "
        f"connecting={state.connecting} waiting={state.line.waiting}"
    )


def _connecting(state: PoolState) -> list[str]:
    lines = []
    if state.outage is not None:
        lines.append(
            f"database away for {state.now - state.outage.since:.1f} s, {state.outage.attempts} connects failed since"
        )
    if state.last_error is not None:
        lines.append(f"last connect error: {words_of(state.last_error)}")
    return lines


# -- a driver's words -----------------------------------------------------------------------------------------------

#: What is secret in a driver's words: the user part of a URL, and whatever is called a password.
_CREDENTIALS = re.compile(r"(://[^\s/:@'\"]*):[^\s'\"]*@")
_PASSWORDS = re.compile(
    r"""(\w*(?:passw|pwd|secret|token|api_?key)\w*['"]?\s*[=:]\s*)(?!YES\b|NO\b)('[^']*'|"[^"]*"|[^\s,;&)]+)""", re.I
)
#: The end of a password that was not quoted, which is taken for the beginning of a host's name.
_BEFORE_A_HOST = re.compile(r"""(['"])[^\s'"/]*@(?=[^\s'"@]+\1)""")
#: How much of them is shown.
_LONGEST = 300


def words_of(error: BaseException) -> str:
    """What an error of a driver's says, in one line and without a password: ``OperationalError: connection refused``."""
    text = " ".join(str(error).split())
    text = _PASSWORDS.sub(r"\1***", _BEFORE_A_HOST.sub(r"\1***@", _CREDENTIALS.sub(r"\1:***@", text)))
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
