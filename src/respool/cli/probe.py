"""``respool probe live|ready``: asks the processes that run, by their sockets, for a probe that is a command."""

from __future__ import annotations

import argparse
import sys

from respool.observe.workers.client import Answer, ask
from respool.observe.workers.places import NotPrivate, workers

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Args:
        options: those of the command line.

    Returns:
        0 if they are, 1 if they are not, or if none answers.
    """
    try:
        answers = ask(workers(options.app, options.pid), "health", within=options.within)
    except (NotPrivate, OSError) as error:
        print(f"The folder of the sockets cannot be used: {error}", file=sys.stderr)
        return 1
    if not answers:
        print("No process answers: is its database observed? respool top --once says more", file=sys.stderr)
        return 1
    key = "live" if options.what == "live" else "ok"
    good = [answer.error is None and bool(answer.value[key]) for answer in answers]
    for answer, each in zip(answers, good, strict=True):
        print(f"{answer.worker.application}, process {answer.worker.pid}: {_said(answer, options.what, each)}")
    return 0 if (all(good) if options.what == "live" else any(good)) else 1


def _said(answer: Answer, what: str, good: bool) -> str:
    if answer.error is not None:
        return f"not {what}: {answer.error}"
    return what if good else f"not {what}: {answer.value['reason']}"
