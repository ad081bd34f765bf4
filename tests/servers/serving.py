"""The servers, and one of them running for real: a process of its own on a free port of the loopback."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import psutil

from tests.support.processes import family, kill_all
from tests.support.server import free_port

__all__ = ["PATIENCE", "SERVERS", "Running", "Server", "running", "until"]

ROOT = Path(__file__).resolve().parents[2]
ASGI, WSGI = "tests.servers.asgi_shop:app", "tests.servers.wsgi_shop:app"

#: Seconds after which something that should happen at once is taken to never happen.
PATIENCE = 20.0


@dataclass(frozen=True)
class Server:
    """One way to serve an application.

    Args:
        name: for people.
        command: what is run after ``python -m``; ``{port}`` stands for the port.
        package: what must be installed.
        exit_code: after SIGTERM.
        used: the pool has a connection before workers are forked.
        missing: cases that cannot be, and why.
    """

    name: str
    command: str
    package: str
    exit_code: int = 0
    used: bool = False
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None


_GUNICORN = "gunicorn --bind 127.0.0.1:{port} --workers 2 --graceful-timeout 30"
_NO_FORK = {"fork": "one process, or workers that import the application themselves"}

SERVERS = [
    Server("uvicorn", f"uvicorn --port {{port}} {ASGI}", "uvicorn", -signal.SIGTERM, missing=_NO_FORK),
    Server("hypercorn", f"hypercorn --bind 127.0.0.1:{{port}} {ASGI}", "hypercorn", missing=_NO_FORK),
    Server("granian", f"granian --interface asgi --port {{port}} {ASGI}", "granian", missing=_NO_FORK),
    Server("gunicorn, uvicorn workers", f"{_GUNICORN} -k uvicorn_worker.UvicornWorker {ASGI}", "uvicorn_worker",
           missing=_NO_FORK),
    Server("gunicorn sync", f"{_GUNICORN} {WSGI}", "gunicorn", missing=_NO_FORK),
    Server("gunicorn gthread", f"{_GUNICORN} -k gthread --threads 4 {WSGI}", "gunicorn", missing=_NO_FORK),
    Server("gunicorn sync, preload", f"{_GUNICORN} --preload {WSGI}", "gunicorn", used=True),
    Server("gunicorn gthread, preload", f"{_GUNICORN} --preload -k gthread --threads 4 {WSGI}", "gunicorn", used=True),
    Server("gunicorn gevent", f"{_GUNICORN} -k gevent {WSGI}", "gevent", missing=_NO_FORK),
    Server("gevent", "tests.servers.with_gevent {port}", "gevent", missing=_NO_FORK),
    Server("granian (WSGI)", f"granian --interface wsgi --port {{port}} {WSGI}", "granian", missing=_NO_FORK),
    Server("waitress", f"waitress --listen 127.0.0.1:{{port}} {WSGI}", "waitress",
           missing={**_NO_FORK, "graceful_stop": "SIGTERM ends it at once"}),
]  # fmt: skip


class Running:
    """A server that answers.

    Args:
        process: its first process.
        port: where it listens.
        log: the file of all that it prints.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    @property
    def log(self) -> str:
        """All that it has printed."""
        return self._log.read_text(encoding="utf-8")

    def client(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """One request on a connection of its own: status and body."""
        client = self.client()
        try:
            client.request(method, path)
            answer = client.getresponse()
            return answer.status, answer.read()
        finally:
            client.close()

    def raw(self, path: str, method: str = "POST") -> bytes:
        """All that the server says to one request, up to the end of the connection."""
        head = f"{method} {path} HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            connection.sendall(head.encode())
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    def workers(self) -> list[psutil.Process]:
        return family(self.process.pid)[1:]

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill all of its processes, without a word."""
        kill_all(family(self.process.pid))
        self.process.wait(PATIENCE)

    def answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the server has ended:\n{self.log}")
        try:
            return self.ask("/figures")[0] == 200
        except OSError:
            return False


@contextmanager
def running(server: Server, url: str, folder: Path, **environ: str) -> Iterator[Running]:
    """A server, from its first answer on; nothing is left of it afterwards.

    Args:
        environ: more variables of its environment.
    """
    port, log = free_port(), folder / f"{time.monotonic_ns()}.log"
    environment = {
        **os.environ,
        "SHOP_URL": url,
        "PYTHONUNBUFFERED": "1",
        "SHOP_USED": "1" if server.used else "",
    } | environ
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *server.command.format(port=port).split()],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    there = Running(process, port, log)
    try:
        until(there.answers, "the server answers")
        yield there
    finally:
        there.kill()


def until(happens: Callable[[], bool], what: str) -> None:
    """Look again and again until something that another process does has happened."""
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)
