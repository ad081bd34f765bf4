"""``observe(db)``: notes are taken from then on, and this process answers whoever of its user asks."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from respool.database.base import DatabaseBase
from respool.errors import ConfigError
from respool.observe.observation import Observation, observation
from respool.observe.probes.health import health
from respool.observe.snapshots import AnyDatabase, snapshot
from respool.observe.workers.places import AVAILABLE, VARIABLE, NotPrivate, default_folder
from respool.observe.workers.server import Server
from respool.pool.drivers.forks import in_a_child

__all__ = ["answer", "observe", "socket_folder"]

logger = logging.getLogger("respool.observe")

_WORDS = dict.fromkeys(("1", "on", "true", "yes"), True) | dict.fromkeys(("0", "off", "false", "no"), False)

_opening = threading.Lock()
_server: Server | None = None
_chosen: bool | Path | None = None  #: what was said by an argument, the last time
_told = False  #: whether the log knows that there is no socket


def observe(*databases: Any, application: str | None = None, socket: bool | str | Path | None = None) -> Observation:
    """Observe databases: who holds what, since when, and why. Costs a few microseconds for each use of a connection.

    Args:
        databases: any number of ``Database`` and ``AsyncDatabase``. One that is observed already stays so.
        application: what the application is called, the same in each of its workers; by default the module that the
            server was given, or the script's name.
        socket: whether this process answers ``respool top`` and the dashboards of its siblings, on a socket that only its
            user can reach: ``True``, ``False``, or a private folder to have it in. ``None``: as the variable
            ``RESPOOL_OBSERVE_SOCKET`` says (``0``, ``1`` or a folder), and without one ``True``. Where there can be no
            socket, as on Windows, there is none.

    Returns:
        the observation of this process, with its ``board`` of findings; ``remove(db)`` ends it for one database.

    Raises:
        ConfigError: something else than a database was given, or the socket's setting is not accepted.
    """
    for database in databases:
        if not isinstance(database, DatabaseBase):
            raise ConfigError(
                f"observe() got an object of type {type(database).__name__}",
                advice=["give it a Database or AsyncDatabase: observe(db)"],
                setting="database",
            )
    if application is not None and not application:
        raise ConfigError(
            f"application={application!r} is not accepted",
            advice=['write a word: observe(db, application="shop")'],
            setting="application",
        )
    chosen = _socket_setting(socket)
    for database in databases:
        observation.add(database)
    if databases or observation.databases:
        _open(application, chosen, said=socket is not None)
    return observation


def answer(question: str, function: Callable[[], Any]) -> None:
    """Have a question of other processes answered by this one, beside ``snapshot`` and ``health``.

    Args:
        question: a word. ``health`` may be answered by limits of your own: ``lambda: probes.health().as_dict()``.
        function: gives plain values, at once and without touching a database; it is called in the socket's thread.
    """
    _answers[question] = function


def socket_folder() -> Path | None:
    """Where this process has its socket, and its siblings theirs; ``None`` where it has none."""
    here = _server
    return None if here is None else here.folder


def _snapshot() -> Any:
    return snapshot(*cast(list[AnyDatabase], observation.databases))


def _health() -> Any:
    return health(*observation.databases).as_dict()


_answers: dict[str, Callable[[], Any]] = {"snapshot": _snapshot, "health": _health}


def _socket_setting(given: Any) -> bool | Path:
    """Whether there is to be a socket, or where.

    Raises:
        ConfigError: it is none of the words that are known, and no folder's full path.
    """
    source, value = ("socket", given) if given is not None else (VARIABLE, os.environ.get(VARIABLE, "1"))
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        return _WORDS[value.strip().lower()]
    if isinstance(value, str | os.PathLike) and os.path.isabs(value):
        return Path(value)
    raise ConfigError(
        f"{source}={value!r} is not accepted",
        advice=["write 0 for no socket, 1 for one in the usual place, or the full path of a folder to have it in"],
        setting=source,
    )


def _open(application: str | None, chosen: bool | Path, *, said: bool) -> None:
    global _server, _chosen
    with _opening:
        if application is not None:
            observation.application = application
        if said:
            _chosen = chosen
        elif _chosen is not None:
            chosen = _chosen
        folder = None if chosen is False or not AVAILABLE else default_folder() if chosen is True else chosen
        here = _server
        if here is not None and (folder, observation.application) == (here.folder, here.application):
            return
        if here is not None:
            _server = None
            here.stop()
        if folder is not None:
            _start(folder)


def _start(folder: Path) -> None:
    global _server, _told
    server = Server(observation.application, _answers, folder)
    try:
        server.start()
    except (OSError, NotPrivate, RuntimeError) as error:  # RuntimeError: no thread can be started any more
        if not _told:
            _told = True
            logger.info("respool top cannot see this process, it has no socket: %s", error)
        return
    _server = server
    observation.at_end(_close)


def _close() -> None:
    global _server, _chosen
    with _opening:
        here, _server, _chosen = _server, None, None
        if here is not None:
            here.stop()


def _in_a_child() -> None:
    global _opening, _server
    _opening = threading.Lock()
    here, _server = _server, None
    if here is not None:
        here.stop()
        _start(here.folder)


in_a_child(_in_a_child)
atexit.register(_close)
