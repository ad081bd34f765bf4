"""Looks once: finds the processes that are wanted and asks them."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from respool.cli.top.words import clean
from respool.observe.format import Merged
from respool.observe.workers.client import Answer, ask, understood, view
from respool.observe.workers.places import AVAILABLE, NotPrivate, workers

__all__ = ["Look", "look"]

#: Seconds that all processes have together for an answer.
_WITHIN = 2.0
_HINT = """Observing is switched on in the application, and the process restarted:

    from respool.observe import observe
    observe(db)

Processes are seen by the user that they run as. A service may have another temporary folder than a shell: then give
both the same RESPOOL_OBSERVE_SOCKET=/a/private/folder. With RESPOOL_OBSERVE_SOCKET=0 a process is not seen."""


class Look(NamedTuple):
    """What was seen at one moment."""

    applications: list[Merged]
    problem: str | None  #: why there is none


def look(application: str | None = None, pid: int | None = None) -> Look:
    """Ask all processes that are wanted.

    Args:
        application: only those of this one.
        pid: only this one.
    """
    if not AVAILABLE:
        return Look(
            [], "Processes answer on Unix sockets, which this system has not: look at the dashboard in place of it."
        )
    try:
        found = workers(application, pid)
    except (NotPrivate, OSError) as error:
        return Look([], f"The folder of the sockets cannot be used: {error}")
    answers: dict[str, list[Answer]] = defaultdict(list)
    for answer in ask(found, within=_WITHIN):
        answers[answer.worker.application].append(understood(answer))
    seen = [merged for each in answers.values() if (merged := view(each)) is not None]
    return Look(seen, None if seen else _problem(application, pid, [each for row in answers.values() for each in row]))


def _problem(application: str | None, pid: int | None, silent: list[Answer]) -> str:
    if silent:
        told = "".join(
            f"\n  {each.worker.application}, process {each.worker.pid}: {clean(each.error)}" for each in silent
        )
        return f"No process gives an answer that can be shown:{told}"
    wanted = " and ".join(
        [*([f"application {application!r}"] if application else []), *([f"number {pid}"] if pid else [])]
    )
    others = sorted(
        {f"  {each.worker.application}, process {each.worker.pid}" for each in ask(workers(), within=_WITHIN)}
    )
    if wanted and others:
        return "\n".join([f"No process of {wanted} answers. Those that do:", *others])
    return f"No process{' of ' + wanted if wanted else ''} answers.\n{_HINT}"
