"""Where the sockets are: a private folder, and one file in it for each process.

Who may enter the folder may ask, so it is looked at each time before it is used: a folder that is no folder, belongs to
somebody else or is open to others is not touched.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "AVAILABLE",
    "SUFFIX",
    "VARIABLE",
    "NotPrivate",
    "Worker",
    "default_folder",
    "folders",
    "private",
    "slug",
    "workers",
]

#: Whether this system has such sockets, and users with numbers: Windows has not.
AVAILABLE = hasattr(socket, "AF_UNIX") and hasattr(os, "geteuid")
SUFFIX = ".sock"
#: The variable that switches a process's socket off, or is the full path of the folder to have it in.
VARIABLE = "RESPOOL_OBSERVE_SOCKET"

#: A socket's path may have 104 bytes on some systems, its folder included.
_LONGEST = 32
_FILE = re.compile(r"(?P<application>.+)\.(?P<pid>\d+)\.[0-9a-f]+")


class NotPrivate(Exception):
    """A folder is not one that only this user can enter."""


class Worker(NamedTuple):
    """A process that can be asked, or could: whether it lives shows when it is asked."""

    application: str
    pid: int
    path: Path


def slug(application: str) -> str:
    """An application's name as it stands in file names."""
    return re.sub(r"[^\w.-]+", "-", application, flags=re.ASCII)[:_LONGEST].strip(".-") or "python"


def default_folder() -> Path:
    """Where this process puts its socket, where nobody has said anything else."""
    return _candidates()[0]


def _candidates() -> list[Path]:
    import tempfile  # it takes as long as all others here together

    told, runtime = os.environ.get(VARIABLE, ""), os.environ.get("XDG_RUNTIME_DIR", "")
    given = [Path(told)] if os.path.isabs(told) else []
    ours = [Path(runtime, "respool")] if os.path.isdir(runtime) and os.path.isabs(runtime) else []
    return [*given, *ours, Path(tempfile.gettempdir(), f"respool-{os.geteuid()}")]


def folders(chosen: Path | None = None) -> list[Path]:
    """Where to look: in a shell there is often a folder of the session's which a service has not.

    Args:
        chosen: the one folder to look into.
    """
    if not AVAILABLE:
        return []
    return [folder for folder in ([chosen] if chosen else _candidates()) if os.path.lexists(folder)]


def private(folder: Path, *, make: bool = False) -> Path:
    """The folder, once it is certain that only this user can enter it.

    Args:
        folder: it.
        make: whether to make it where there is none.

    Raises:
        NotPrivate: it is something else, belongs to somebody else, or others may enter it or exchange it.
        OSError: it is not there, or cannot be made.
    """
    if make:
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
    seen, around = os.lstat(folder), os.stat(folder.parent)
    if not stat.S_ISDIR(seen.st_mode):
        raise NotPrivate(f"{folder} is {'a link' if stat.S_ISLNK(seen.st_mode) else 'not a folder'}")
    if seen.st_uid != os.geteuid():
        raise NotPrivate(f"{folder} belongs to user {seen.st_uid}, not to {os.geteuid()}")
    if stat.S_IMODE(seen.st_mode) & 0o077:
        raise NotPrivate(f"{folder} is open to others: chmod 700 {folder}")
    if around.st_mode & stat.S_IWOTH and not around.st_mode & stat.S_ISVTX:
        raise NotPrivate(f"{folder.parent} lets everybody exchange what is in it: chmod +t {folder.parent}")
    return folder


def workers(application: str | None = None, pid: int | None = None, *, folder: Path | None = None) -> list[Worker]:
    """The processes of this user that have a socket, by application and number. Nothing is asked yet.

    Args:
        application: only those of this one.
        pid: only this one.
        folder: the one folder to look into; by default the one that ``RESPOOL_OBSERVE_SOCKET`` says,
            ``$XDG_RUNTIME_DIR/respool`` and the one in the temporary folder.

    Raises:
        NotPrivate: nobody is found, and others than this user can enter such a folder.
    """
    wanted = None if application is None else slug(application)
    found: dict[Path, Worker] = {}
    refused: NotPrivate | None = None
    for each in folders(folder):
        try:
            names = os.listdir(private(each))
        except FileNotFoundError:  # it was removed meanwhile
            continue
        except NotPrivate as error:  # somebody else's folder of this name must not hide the others
            refused = error
            continue
        for name in names:
            parts = _FILE.fullmatch(name.removesuffix(SUFFIX)) if name.endswith(SUFFIX) else None
            if parts is not None:
                worker = Worker(parts["application"], int(parts["pid"]), each / name)
                if wanted in (None, worker.application) and pid in (None, worker.pid):
                    found[worker.path] = worker
    if refused is not None and not found:
        raise refused
    return sorted(found.values())
