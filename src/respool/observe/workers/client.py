"""Asks the processes of an application: all at once, with one deadline, and without waiting for any that is gone."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import stat
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, time
from typing import Any, NamedTuple, cast

from respool.observe.format import FORMAT, Merged, Silent, Snapshot
from respool.observe.workers import protocol
from respool.observe.workers.merging import merged, only
from respool.observe.workers.places import SUFFIX, NotPrivate, Worker, private, workers

__all__ = ["Answer", "ask", "sweep", "together", "understood", "view"]

_PIECE = 262_144
#: Seconds between two tries where a process has too many clients at once.
_AGAIN = 0.01
#: Seconds after which a socket that was never finished counts as left behind.
_UNFINISHED = 60.0


class Answer(NamedTuple):
    """What a process has answered."""

    worker: Worker
    value: Any  #: ``None`` where there is an error
    error: str | None = None


class _Ended(Exception):
    """A process has ended between being asked and hearing it."""


class _Asked:
    """One process that is being asked."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.connection.setblocking(False)
        self.heard = bytearray()


def ask(asked: Sequence[Worker], question: str = "snapshot", *, within: float = 1.0) -> list[Answer]:
    """Ask processes, all at once. The files of those that are gone are removed, and they are not among the answers.

    Args:
        asked: see :func:`~respool.observe.workers.workers`.
        question: what to ask: ``snapshot`` or ``health``.
        within: seconds for all of them; whoever has not answered by then has an error.
    """
    until, line = monotonic() + within, protocol.write(ask=question)
    answers: dict[Worker, Answer | None] = {}
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        waiting = [_Asked(worker) for worker in asked]
        for each in waiting:
            stack.enter_context(each.connection)
        open_ones = 0
        while (waiting or open_ones) and (left := until - monotonic()) > 0:
            busy = []
            for each in waiting:
                try:
                    if not _connect(each, line):
                        busy.append(each)
                        continue
                    selector.register(each.connection, selectors.EVENT_READ, each)
                    open_ones += 1
                except (OSError, protocol.Refused) as error:
                    answers[each.worker] = _failed(each.worker, error)
            waiting = busy
            for key, _ in selector.select(min(left, _AGAIN) if waiting else left) if open_ones or waiting else ():
                try:
                    answer = _read(key.data)
                except _Ended:
                    waiting.append(_Asked(key.data.worker))  # it is refused, unless another one has the place
                    stack.enter_context(waiting[-1].connection)
                else:
                    if answer is None:
                        continue
                    answers[key.data.worker] = answer
                selector.unregister(key.fileobj)
                open_ones -= 1
    late = f"no answer within {within:g} s"
    return [answer for each in asked if (answer := answers.get(each, Answer(each, None, late))) is not None]


def _connect(asked: _Asked, line: bytes) -> bool:
    """Connect and ask; whether the process had room for one more."""
    try:
        asked.connection.connect(os.fspath(asked.worker.path))
    except BlockingIOError:
        return False
    if (who := protocol.stranger(asked.connection)) is not None:
        raise protocol.Refused(f"the socket is that of {who}")
    asked.connection.send(line)  # a new connection has room for a line
    return True


def _failed(worker: Worker, error: Exception) -> Answer | None:
    if isinstance(error, OSError) and error.errno in (errno.ECONNREFUSED, errno.ENOENT):
        _remove(worker.path)
        return None
    return Answer(worker, None, str(error))


def _read(asked: _Asked) -> Answer | None:
    """The answer, once it is whole.

    Raises:
        _Ended: the process has ended without a word.
    """
    worker = asked.worker
    try:
        piece = asked.connection.recv(_PIECE)
        asked.heard += piece
        if piece and not piece.endswith(b"\n") and len(asked.heard) <= protocol.LONGEST_ANSWER:
            return None
        if not asked.heard.endswith(b"\n"):
            return Answer(worker, None, "the answer is too long" if piece else "it went away while it answered")
        return Answer(worker, protocol.read_answer(bytes(asked.heard)))
    except BlockingIOError:
        return None
    except (OSError, protocol.Refused) as error:
        if isinstance(error, ConnectionResetError) and not asked.heard:
            raise _Ended from error
        return Answer(worker, None, str(error))


def together(
    application: str | None = None,
    *,
    own: Snapshot | None = None,
    folder: Path | None = None,
    within: float = 1.0,
    names: Collection[str] | None = None,
) -> Merged | None:
    """All processes of an application in one view. It waits for them: in an event loop call it in a thread.

    Args:
        application: whose; that of ``own`` by default, or of all that are found.
        own: the snapshot of this process, which then is not asked.
        folder: the one folder to look into.
        within: seconds for all of them; whoever has not answered by then is listed under ``silent``.
        names: the databases to be shown; all by default.

    Returns:
        the view; ``None`` when there is nothing to see.
    """
    if application is None and own is not None:
        application = own["process"]["application"]
    try:
        found = workers(application, folder=folder)
    except (NotPrivate, OSError):
        found = []
    mine = os.getpid() if own is not None else None
    return view(ask([each for each in found if each.pid != mine], within=within), own=own, names=names)


def view(
    answers: Sequence[Answer], *, own: Snapshot | None = None, names: Collection[str] | None = None
) -> Merged | None:
    """Answers as one view; ``None`` when there is none.

    Args:
        answers: what processes have answered to ``snapshot``.
        own: the snapshot of this process.
        names: the databases to be shown; a process that has none of them is left out.
    """
    answers = [understood(answer) for answer in answers]
    snapshots = [cast(Snapshot, answer.value) for answer in answers if answer.error is None]
    if names is not None:
        snapshots = [part for each in snapshots if (part := only(each, names))["databases"]]
    snapshots = snapshots if own is None else [own, *snapshots]
    if not snapshots:
        return None
    silent: list[Silent] = [
        {"pid": answer.worker.pid, "error": answer.error} for answer in answers if answer.error is not None
    ]
    return {**merged(snapshots), "silent": silent}


def understood(answer: Answer) -> Answer:
    """An answer to ``snapshot``: the same, or an error where it is of a form that is not known here."""
    value = answer.value
    if answer.error is not None or (isinstance(value, dict) and value.get("format") == FORMAT):
        return answer
    return answer._replace(value=None, error=f"its respool {_version(value)} speaks another form than this one")


def _version(value: Any) -> str:
    return str(value.get("version", "?")) if isinstance(value, dict) else "?"


def sweep(folder: Path) -> None:
    """Remove what processes have left behind that were killed.

    Args:
        folder: a private one.
    """
    for worker in workers(folder=folder):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(os.fspath(worker.path))
            except OSError as error:
                _failed(worker, error)
    for name in os.listdir(private(folder)):
        if name.endswith(".new") and time() - os.lstat(folder / name).st_mtime > _UNFINISHED:
            _remove(folder / name)


def _remove(path: Path) -> None:
    """Remove a socket; anything else that has such a name stays."""
    try:
        if path.name.endswith((SUFFIX, ".new")) and stat.S_ISSOCK(os.lstat(path).st_mode):
            path.unlink()
    except OSError:  # somebody else was faster
        pass
