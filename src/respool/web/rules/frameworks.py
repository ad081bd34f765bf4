"""Finds the module of the framework at hand, by the name of the application's package; none is imported before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from respool import web

__all__ = ["answers_json", "failure_answer"]

#: Frameworks whose own answers to errors are JSON.
_IN_JSON = frozenset({"falcon", "fastapi", "litestar"})

#: Answers a failure by what the application has registered for it; whether it did.
FailureAnswer = Callable[[Any, Any, Any, Exception, bool], Awaitable[bool]]


def failure_answer(scope: Mapping[str, Any]) -> FailureAnswer | None:
    """How the application of an ASGI scope answers an exception, if its framework's module here knows."""
    app = scope.get("app")
    for cls in type(app).__mro__ if app is not None else ():
        package = cls.__module__.partition(".")[0]
        if package in _ours():
            answer: FailureAnswer | None = getattr(import_module(f"respool.web.{package}"), "answer_failure", None)
            if answer is not None:
                return answer
    return None


def answers_json(scope: Mapping[str, Any]) -> bool:
    """Whether the framework of the application of an ASGI scope answers errors in JSON by itself."""
    app = scope.get("app")
    return app is not None and any(cls.__module__.partition(".")[0] in _IN_JSON for cls in type(app).__mro__)


@cache
def _ours() -> frozenset[str]:
    """The names of the modules of ``web``, each that of the framework which it serves."""
    return frozenset(module.name for module in iter_modules(web.__path__) if not module.ispkg)
