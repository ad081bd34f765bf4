"""What the servers of the tests have in common: a folder, a port and a process of their own, and an end for certain.

A server listens on 127.0.0.1 only, keeps its port over all restarts, and does not outlive the process that started it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tests.support.processes import family, kill_all

__all__ = ["Account", "DatabaseServer", "ServerError", "account_of", "free_port"]

#: User and group that a server runs as.
Account = tuple[int, int]

#: A server's environment: nothing of ours (PGDATA, LD_LIBRARY_PATH, locales) may change what it does.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

_ROOT = Path(__file__).resolve().parents[2]


class ServerError(RuntimeError):
    """A server could not be made, started or stopped; the end of its log is in the message."""


class DatabaseServer:
    """One server with a folder of its own under the temporary folder.

    Args:
        account: who it runs as; ``None``: whoever runs the tests.
        timeout: how long a start or a stop may take, in seconds.
    """

    #: What its folder's name begins with.
    prefix: str
    #: What tells it to end at once, in order.
    quick_end: signal.Signals
    error: type[ServerError] = ServerError

    def __init__(self, account: Account | None, *, timeout: float) -> None:
        self._account = account
        self._timeout = timeout
        self._base: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self.port = 0  #: the TCP port on 127.0.0.1; the same over all restarts

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # -- where it is

    @property
    def base(self) -> Path:
        """The folder with all that belongs to this server: ``data``, ``run`` (the Unix socket), ``log``."""
        if self._base is None:
            raise self.error("the server was never started, or is closed: call start() first")
        return self._base

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self.pid is not None

    def log_tail(self, lines: int = 20) -> str:
        """The end of the server's log."""
        log = self.base / "log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""

    # -- its life

    def start(self) -> None:
        """Start it and wait until it answers. Does nothing when it runs already.

        Raises:
            ServerError: it does not come up.
        """
        if self.running:
            return
        new = self._base is None
        try:
            if new:
                self._create()
            self._launch(new)
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """Stop it, hang up on its clients and wait for its end; the data stay. Does nothing when it is stopped."""
        self._end(self.quick_end)

    def restart(self) -> None:
        """Stop and start: same port, same data."""
        self.stop()
        self.start()

    def kill9(self) -> None:
        """Kill it and all its children: no goodbye to anybody, as when the power fails. ``start()`` recovers the data."""
        if self._process is not None:
            processes = family(self._process.pid)
            self._process.kill()
            self._process.wait()
            kill_all(processes)  # else one of them might answer once more
            self._process = None

    def close(self) -> None:
        """Stop it and remove all its files; the next ``start()`` makes a new one."""
        self.stop()
        if self._reaper is not None:
            assert self._reaper.stdin is not None
            self._reaper.stdin.close()  # the word for it to clear up
            self._reaper.wait()
            self._reaper = None
        self._base = None

    # -- for those that are one

    def _create(self) -> None:
        """Make the folder and the data in it; nothing runs yet."""
        raise NotImplementedError

    def _launch(self, new: bool) -> None:
        """Start it, with another port if it is new and somebody has taken that one, and wait until it answers."""
        raise NotImplementedError

    def _make_folder(self) -> Path:
        """The folder, empty but for ``run``, and the process that removes it when ours is gone."""
        base = self._base = Path(tempfile.mkdtemp(prefix=self.prefix, dir=_temporary_folder(self._account)))
        reaper = [sys.executable, "-m", "tests.support.reaper", str(base), self.quick_end.name]
        self._reaper = subprocess.Popen(reaper, cwd=_ROOT, stdin=subprocess.PIPE, start_new_session=True)
        self.port = self.port or free_port()
        (base / "run").mkdir()
        return base

    def _hand_over(self) -> None:
        """Make all that is in the folder the account's own."""
        if self._account is None:
            return
        user, group = self._account
        for folder, _, files in os.walk(self.base):
            os.chown(folder, user, group)
            for name in files:
                os.chown(Path(folder) / name, user, group, follow_symlinks=False)

    def _run(self, command: Sequence[str | Path], stdout: int | IO[bytes], stderr: int) -> subprocess.Popen[bytes]:
        who: dict[str, Any] = {}
        if self._account is not None:
            user, group = self._account
            who = {"user": user, "group": group, "extra_groups": []}
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=self.base,
            env=_ENVIRONMENT,
            start_new_session=True,  # an interrupt at the terminal is for the tests, which then stop the server
            **who,
        )

    def _end(self, word: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(word)
        try:
            self._process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            self.kill9()
        self._process = None


def account_of(name: str, otherwise: Account | None = None) -> Account | None:
    """User and group of this name, for servers that do not run as root; ``None``, if we are not root: as ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return otherwise
    return entry.pw_uid, entry.pw_gid


def free_port() -> int:
    """A port below those that the system gives to outgoing connections.

    While the server is down nobody gets it by chance, and no client that keeps trying can end up connected to itself.
    """
    for _ in range(200):
        port = random.randrange(15_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerError("no free port between 15000 and 30000")


def _temporary_folder(account: Account | None) -> Path:
    """The temporary folder, or /tmp where the server's account cannot pass through to that."""
    folder = Path(tempfile.gettempdir()).resolve()
    passable = all(each.stat().st_mode & 0o001 for each in (folder, *folder.parents))
    return folder if account is None or passable else Path("/tmp")
