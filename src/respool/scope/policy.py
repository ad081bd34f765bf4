"""Commit policies: their names, what a function of the user's is asked, and what becomes of a scope's changes by them."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from inspect import Parameter, signature
from typing import Any, Literal

from respool.config import suggest
from respool.errors import ConfigError

__all__ = ["CommitPolicy", "Verdict", "decide", "policy_of"]

#: How a scope's end is decided: by hand, by success, or by a function of ``(status, exception)``, or of
#: ``(status, exception, method)``.
CommitPolicy = Literal["manual", "on_success"] | Callable[..., bool]
_NAMES = ("manual", "on_success")


class Verdict(Enum):
    """What becomes of a scope's changes at its end."""

    COMMIT = "commit"
    ROLLBACK = "roll back"  #: on purpose: an error status, an exception, or the policy said so
    LEAVE = "leave"  #: nobody decided: what is uncommitted is rolled back and reported


def policy_of(commit: Any) -> CommitPolicy:
    """The commit policy that was asked for.

    Raises:
        ConfigError: it is none.
    """
    if commit in _NAMES or callable(commit):
        policy: CommitPolicy = commit
        return policy
    near = suggest(commit, _NAMES) if isinstance(commit, str) else ""
    raise ConfigError(
        f"commit={commit!r} is not accepted{near}",
        advice=[
            'write "manual", "on_success", or a function of (status, exception) that says whether to commit',
            "or one of (status, exception, method), for policies that go by the request's method",
        ],
        setting="commit",
    )


def decide(
    policy: CommitPolicy,
    status: int | None,
    error: BaseException | None,
    doomed: str | None = None,
    method: str | None = None,
) -> Verdict:
    """What becomes of uncommitted changes.

    Args:
        policy: ``"manual"``, ``"on_success"``, or a function of status, exception and method that says whether to
            commit; it is asked about successes only.
        status: the response's status; ``None`` outside of HTTP.
        error: the exception that escaped, if any.
        doomed: why the scope can only be rolled back, if so.
        method: the request's; ``None`` outside of HTTP.
    """
    if error is not None or doomed is not None or (status is not None and status >= 400):
        return Verdict.ROLLBACK
    if policy == "manual":
        return Verdict.LEAVE
    if callable(policy):
        return Verdict.COMMIT if _ask(policy, status, error, method) else Verdict.ROLLBACK
    return Verdict.COMMIT


def _ask(policy: Callable[..., bool], status: int | None, error: BaseException | None, method: str | None) -> bool:
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
