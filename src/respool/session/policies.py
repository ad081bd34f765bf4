"""Policies: functions of the user's that say whether a success is committed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from inspect import Parameter, signature

__all__ = ["ask"]


def ask(policy: Callable[..., bool], status: int | None, error: BaseException | None, method: str | None) -> bool:
    """Whether a policy says to commit. It is told as much as it takes: status, exception and method.

    Args:
        policy: the user's function.
        status: the response's; ``None`` outside of HTTP.
        error: the exception that escaped, if any.
        method: the request's; ``None`` outside of HTTP.
    """
    try:
        takes = _takes(policy)
    except TypeError:  # it has no hash
        takes = _takes.__wrapped__(policy)
    return policy(*(status, error, method)[:takes])


@lru_cache(64)
def _takes(policy: Callable[..., bool]) -> int:
    """How many arguments a policy is called with: two, unless it can only be called with another number."""
    try:
        parameters = signature(policy).parameters.values()
    except ValueError:  # one of C's, which does not tell
        return 2
    places = [each for each in parameters if each.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    needed = sum(each.default is Parameter.empty for each in places)
    if needed > 2 or (len(places) > 2 and places[2].name == "method"):
        return 3
    return 1 if len(places) == 1 and not any(each.kind is Parameter.VAR_POSITIONAL for each in parameters) else 2
