"""Makes a program smaller for as long as it shows the same kind of difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any

from tests.differential.model import Act, Execute, Program, Step

__all__ = ["smallest"]

#: Statements that are simpler than others.
_SIMPLE = ("text: one", "widgets", "one widget", "count")


def smallest(program: Program, still: Callable[[Program], bool], budget: int = 400) -> Program:
    """The smallest program that is found.

    Args:
        program: one that differs.
        still: whether another one differs in the same way.
        budget: how many programs may be tried.
    """
    improved = True
    while improved:
        improved = False
        for candidate in _smaller(program):
            if budget <= 0:
                return program
            budget -= 1
            if still(candidate):
                program, improved = candidate, True
                break
    return program


def _smaller(program: Program) -> Iterator[Program]:
    """Programs that are one thing smaller; those with whole parts left out come first."""
    for steps in _without_some(program.steps):
        yield replace(program, steps=steps)
    for index in range(len(program.listeners)):
        yield replace(program, listeners=program.listeners[:index] + program.listeners[index + 1 :])
    for setup in _plainer(program.setup):
        yield replace(program, setup=setup)
    for end in ("close", "commit"):
        if program.end not in ("close", end):
            yield replace(program, end=end)
    for index, listener in enumerate(program.listeners):
        for act in _plainer(listener.act):
            yield replace(program, listeners=_put(program.listeners, index, replace(listener, act=act)))
    for steps in _with_one_plainer(program.steps):
        yield replace(program, steps=steps)


def _without_some(steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    size = len(steps) // 2
    while size:
        for start in range(0, len(steps), size):
            yield steps[:start] + steps[start + size :]
        size //= 2
    if len(steps) == 1:
        yield ()
    for index, step in enumerate(steps):
        inner: tuple[Step, ...] = getattr(step, "steps", ())
        if inner:
            yield steps[:index] + inner + steps[index + 1 :]
        for fewer in _without_some(inner):
            yield _put(steps, index, replace(step, steps=fewer))  # type: ignore[type-var]


def _with_one_plainer(steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    for index, step in enumerate(steps):
        for plainer in _plainer(step):
            yield _put(steps, index, plainer)
        inner: tuple[Step, ...] = getattr(step, "steps", ())
        for other in _with_one_plainer(inner):
            yield _put(steps, index, replace(step, steps=other))  # type: ignore[type-var]


def _plainer(value: Any) -> Iterator[Any]:
    """The same, with one thing about it as usual."""
    for each in fields(value):
        now = getattr(value, each.name)
        if each.name == "steps":
            continue
        if is_dataclass(now):  # a listener's act
            for inner in _plainer(now):
                yield replace(value, **{each.name: inner})
        elif each.default is not MISSING and now != each.default:
            yield replace(value, **{each.name: each.default})
    if isinstance(value, Execute):
        known = _SIMPLE.index(value.statement) if value.statement in _SIMPLE else len(_SIMPLE)
        for statement in _SIMPLE[:known]:
            yield replace(value, statement=statement)
    if isinstance(value, Act) and value.what not in ("nothing", "look", "select"):
        yield replace(value, what="select")


def _put(all_of_them: tuple[Any, ...], index: int, one: Any) -> tuple[Any, ...]:
    return (*all_of_them[:index], one, *all_of_them[index + 1 :])
