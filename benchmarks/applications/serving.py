"""One application in a process of its own: the parent's handle of it, and what runs in it.

In the process: ``python -m benchmarks.applications.serving KEY URL SIZE FD``. The listening socket is the parent's, so
that nobody else has the port and clients may connect before the application is up.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Any, Self

import psutil

from benchmarks.applications.peers import PEERS, Peer

__all__ = ["POOL", "THREADS", "Running", "ServingError"]

POOL = 5  #: connections, for each peer
THREADS = 64  #: of waitress, for each peer that is called by threads


class ServingError(Exception):
    """An application does not come up, or does not answer as it should; the end of what it said is in the message."""


class Running:
    """An application that is served.

    Args:
        peer: which.
        url: its database, ``postgresql://…``.
    """

    def __init__(self, peer: Peer, url: str) -> None:
        self.peer = peer
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close()
        with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
            self.port: int = listener.getsockname()[1]
            arguments = [peer.key, url, str(POOL), str(listener.fileno())]
            self._began = time.perf_counter()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.applications.serving", *arguments],
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
            )
        self._seen = psutil.Process(self._process.pid)

    def wait(self, timeout: float = 30.0) -> float:
        """Until the first right answer; returns the seconds since the process was started.

        Raises:
            ServingError: there is none.
        """
        status, body = self.ask("GET", "/items/1", timeout)
        if status != 200 or b'"item 1"' not in body:
            raise ServingError(f"{self.peer.key} answers {status} {body[:200]!r} at first:\n{self.said()}")
        return time.perf_counter() - self._began

    def ask(self, method: str, path: str, timeout: float = 30.0) -> tuple[int, bytes]:
        """One request; status 0 if there is no answer within ``timeout`` seconds."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, headers={"Content-Length": "0"} if method == "POST" else {})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException):
            return 0, b""
        finally:
            connection.close()

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        times = self._seen.cpu_times()
        return times.user + times.system

    def memory(self) -> float:
        """Resident memory, in MB."""
        return self._seen.memory_info().rss / 1e6

    def said(self) -> str:
        """The end of what it wrote."""
        self._said.seek(0)
        return self._said.read()[-3000:].decode(errors="replace")

    def close(self) -> None:
        """End it: politely, then not."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


# -- in the process ------------------------------------------------------------------------------------------------------


def serve(key: str, url: str, size: int, listener: socket.socket) -> None:
    """Serve one application until it is told to end."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    peer = PEERS[key]
    app: Any = peer.make(url, size)
    if peer.wsgi:
        import waitress

        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        limits = {"connection_limit": 2000, "channel_timeout": 60, "asyncore_use_poll": True}
        waitress.serve(app, sockets=[listener], threads=THREADS, **limits)
    else:
        import uvicorn

        config = uvicorn.Config(app, log_config=None, access_log=False, backlog=2048, timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), socket.socket(fileno=int(sys.argv[4])))
