"""What the application of this process is called, so that its workers can be told from those of others."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePath

__all__ = ["application_name"]

#: What servers are given: ``shop.main:app``, ``shop:create_app()``.
_TARGET = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_][\w.]*(\(.*\))?")
#: What comes before the name of a module: ``celery -A shop worker``, ``flask --app shop run``.
_APP_OPTIONS = ("-A", "--app")
#: Files that are called the same in every project: there the folder's name tells more.
_ANY = ("__main__", "manage", "main", "app", "wsgi", "asgi", "server", "run")


def application_name(argv: Sequence[str] | None = None) -> str:
    """The name of an application, as the command line tells it: the same in each of its workers.

    Args:
        argv: the command line, with the program first; that of this process when not given.

    Returns:
        the module that a server was given (``gunicorn shop.main:app``: ``shop.main``), or the script's own name.
    """
    program, *arguments = (sys.argv if argv is None else argv) or [""]
    for option, value in pairwise(arguments):
        if option in _APP_OPTIONS:
            return value.partition(":")[0]
    for argument in arguments:
        option, _, value = argument.rpartition("=")
        if option in _APP_OPTIONS or (not option and _TARGET.fullmatch(argument)):
            return value.partition(":")[0]
    script = PurePath(program)
    name = script.parent.name if script.stem in _ANY and script.parent.name else script.stem
    return name if name not in ("", "-c", "-m", "-") else "python"
