"""The socket of this process, and the thread that answers on it.

The thread is its own, so it answers while an event loop stands still and while all connections are in use.  It only tells:
nothing that is said to it changes anything.  Whoever asks slowly, or never reads the answer, is dropped after a while, and
costs the others nothing.
"""

from __future__ import annotations

import logging
import os
import secrets
import selectors
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from respool.observe.workers import protocol
from respool.observe.workers.client import sweep
from respool.observe.workers.places import SUFFIX, private, slug

__all__ = ["Server"]

logger = logging.getLogger("respool.observe")

_PIECE = 65_536
#: Seconds for which no more is accepted after the system has had no file left for it.
_PAUSE = 0.1
# It keeps nothing outside of the process, unlike epoll, whose list a forked child would share.
_Selector: type[Any] = getattr(selectors, "PollSelector", selectors.SelectSelector)


class _Client:
    """One connection: a question comes in, then an answer goes out."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self.connection = connection
        self.until = until
        self.heard = bytearray()
        self.rest: memoryview | None = None  #: what is still to be sent


class Server:
    """Answers questions about this process.

    Args:
        application: what its file is called by.
        answers: by question, a function that gives what is answered, as plain values. Called in the server's thread.
        folder: where the file is made; it is made, too, where it is missing.
        patience: seconds that a client has for asking and reading together.
        clients: how many there may be at once; with one more, the first is dropped.
        fresh: for how many seconds an answer is given again, so that nobody can keep the process busy by asking.
    """

    def __init__(
        self,
        application: str,
        answers: Mapping[str, Callable[[], Any]],
        folder: Path,
        *,
        patience: float = 5.0,
        clients: int = 16,
        fresh: float = 0.1,
    ) -> None:
        self.application = application
        self.folder = folder
        self.path: Path | None = None
        self._answers, self._patience, self._most, self._fresh = answers, patience, clients, fresh
        self._known: dict[str, tuple[float, bytes]] = {}  #: answers, and until when they are given again
        self._pid = 0

    def start(self) -> None:
        """Make the socket and answer from now on.

        Raises:
            NotPrivate: others than this user can enter the folder.
            OSError: there can be no socket: its path is too long, the disk is full, it is not allowed.
        """
        folder = private(self.folder, make=True)
        sweep(folder)
        self._pid = os.getpid()
        path = folder / f"{slug(self.application)}.{self._pid}.{secrets.token_hex(2)}{SUFFIX}"
        making = path.with_suffix(".new")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        wake, waken = socket.socketpair()
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._serve, args=(listener, waken, self._stopped), name="respool-observe-socket", daemon=True
        )
        try:
            listener.bind(os.fspath(making))
            os.chmod(making, 0o600)
            listener.listen(self._most)
            listener.setblocking(False)
            self._thread.start()
            # Only now: who finds a socket that does not listen takes it for one that was left behind.
            os.rename(making, path)
        except BaseException:
            making.unlink(missing_ok=True)
            self._stopped.set()
            for each in (wake, *(() if self._thread.is_alive() else (waken, listener))):
                each.close()
            raise
        self.path, self._listener, self._wake = path, listener, wake

    def stop(self) -> None:
        """Answer no more, and remove the file. In a forked child the parent's file stays."""
        path, self.path = self.path, None
        if path is None:
            return
        if os.getpid() != self._pid:
            self._listener.close()
            self._wake.close()
            return
        path.unlink(missing_ok=True)
        self._stopped.set()
        self._wake.close()
        if self._thread is not threading.current_thread():
            self._thread.join(self._patience)

    # -- in its thread --------------------------------------------------------------------------------------------

    def _serve(self, listener: socket.socket, waken: socket.socket, stopped: threading.Event) -> None:
        clients: dict[int, _Client] = {}
        with listener, waken, _Selector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(waken, selectors.EVENT_READ)
            while not stopped.is_set():
                until = [client.until for client in clients.values()]
                first = min([*until, *(stale for stale, _ in self._known.values())], default=None)
                ready = selector.select(None if first is None else max(0.0, first - monotonic()))
                for key, _ in ready:
                    if key.fileobj is listener:
                        self._accept(listener, selector, clients, stopped)
                    elif (client := clients.get(key.fd)) is not None and self._goes_on(client, selector):
                        self._drop(client, selector, clients)
                for client in [client for client in clients.values() if client.until <= monotonic()]:
                    self._drop(client, selector, clients)
                for question in [each for each, (stale, _) in self._known.items() if stale <= monotonic()]:
                    del self._known[question]
            for client in list(clients.values()):
                self._drop(client, selector, clients)

    def _accept(self, listener: socket.socket, selector: Any, clients: dict[int, _Client], stopped: Any) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError:  # no file is left for it; it stays in line
            stopped.wait(_PAUSE)
            return
        connection.setblocking(False)
        if protocol.stranger(connection):
            connection.close()
            return
        if len(clients) >= self._most:
            self._drop(next(iter(clients.values())), selector, clients)
        clients[connection.fileno()] = _Client(connection, monotonic() + self._patience)
        selector.register(connection, selectors.EVENT_READ)

    def _drop(self, client: _Client, selector: Any, clients: dict[int, _Client]) -> None:
        del clients[client.connection.fileno()]
        selector.unregister(client.connection)
        client.connection.close()

    def _goes_on(self, client: _Client, selector: Any) -> bool:
        """Read or write what can be; whether that was all."""
        try:
            if client.rest is None:
                piece = client.connection.recv(_PIECE)
                client.heard += piece
                line, end, _ = client.heard.partition(b"\n")
                if not end and len(client.heard) <= protocol.LONGEST_REQUEST:
                    return not piece
                client.rest = memoryview(self._answer(bytes(line)))
                selector.modify(client.connection, selectors.EVENT_WRITE)
            client.rest = client.rest[client.connection.send(client.rest[:_PIECE]) :]
            return not client.rest
        except BlockingIOError:
            return False
        except OSError:  # it has gone away
            return True

    def _answer(self, line: bytes) -> bytes:
        try:
            if len(line) > protocol.LONGEST_REQUEST:
                raise protocol.Refused("that is too long for a question")
            question = protocol.read_request(line)
            if question not in self._answers:
                raise protocol.Refused(f"questions: {', '.join(self._answers)}")
            stale, answer = self._known.get(question, (0.0, b""))
            if stale <= monotonic():
                answer = protocol.write(answer=self._answers[question]())
                self._known[question] = monotonic() + self._fresh, answer
            return answer
        except protocol.Refused as refused:
            return protocol.write(error=str(refused))
        except Exception as error:
            logger.exception("a question of respool top could not be answered")
            return protocol.write(error=f"{type(error).__name__} in the process; its log says more")
