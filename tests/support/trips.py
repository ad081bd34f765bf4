"""Counts the round trips between a client and its server: how often the client has to wait for an answer."""

from __future__ import annotations

import select
import socket
import threading
from types import TracebackType
from typing import Self

__all__ = ["TripCounter"]

#: Seconds for which a client has to be silent before it counts as waiting.
_SILENCE = 0.02


class TripCounter:
    """A relay on loopback in front of one server.

    An answer is passed on only when the client has nothing more to say, so that what it sends in one go is one trip,
    in however many packets it comes.

    Args:
        host, port: the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._said: list[bytes] = []
        threading.Thread(target=self._accept, name="trip-counter", daemon=True).start()

    def take(self) -> int:
        """The trips since the last time that this was asked."""
        return len(self.said())

    def said(self) -> list[bytes]:
        """The same, by what the client has said in each."""
        said, self._said = self._said, []
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), name="trip-counter", daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answered = True
            while True:
                ready, _, _ = select.select([client, server], [], [])
                source, target = (client, server) if client in ready else (server, client)
                if source is server and select.select([client], [], [], _SILENCE)[0]:
                    continue
                try:
                    data = source.recv(65536)
                    target.sendall(data)
                except OSError:
                    return
                if not data:
                    return
                if source is client and answered:
                    self._said.append(data)
                elif source is client:
                    self._said[-1:] = [b"".join((*self._said[-1:], data))]
                answered = source is server
