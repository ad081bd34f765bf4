"""One reader, one page: files are saved, blocks and commands typed in, and what comes of them compared."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.docs.pages import Block, Reading, commands, serves
from tests.fresh.environments import Environment

__all__ = ["Reader", "busy"]

#: Seconds until a server has to listen, and a command to be done.
_PATIENCE = 60
#: Seconds until what goes on after an answer is done.
_BACKGROUND = 10
_TYPIST = Path(__file__).with_name("typist.py")
#: Commands that were done before: the environment is there.
_SET_UP = re.compile(r"^(?:export |python -m venv|\. |source |pip install|git clone|cd |make )")


class Reader:
    """Follows one page in one environment; a context manager that leaves no process behind.

    Args:
        folder: the working directory.
        environment: what is installed.
        variables: what the reader has exported.
    """

    def __init__(self, folder: Path, environment: Environment, variables: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.environment = environment
        self.printed = ""
        self._typist: Any = None
        self._server: Any = None
        self._served = ""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        self._environ = {
            **kept,
            "PATH": f"{environment.bin}{os.pathsep}{kept.get('PATH', '')}",
            "PYTHONUNBUFFERED": "1",
            **(variables or {}),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._leave_python()
        self._stop()

    def follow(self, page: list[Block]) -> None:
        """Do all that a page says."""
        for block in page:
            if block.runs and "fresh" in block.words:
                self._leave_python()
                self._stop()
            if block.runs and block.file is not None:
                self._save(block, block.file)
            elif block.runs:
                self._type(block)
            elif block.words == ("text", "output"):
                Reading.compare(block, self.printed, block.text)
                self.printed = ""
            elif block.words == ("console",):
                for command, expected in commands(block.text):
                    self._command(block, command, expected)

    # -- Python -----------------------------------------------------------------------------------------------------

    def _save(self, block: Block, name: str) -> None:
        file = self.folder / name
        before = file.read_text(encoding="utf-8") + "\n\n" if block.continues else ""
        file.write_text(before + block.text, encoding="utf-8")
        if block.continues and self._server is not None:  # "start it again"
            self._stop()
            self._start(self._served)

    def _type(self, block: Block) -> None:
        if self._typist is None:
            self._typist = subprocess.Popen(
                [self.environment.python, _TYPIST],
                cwd=self.folder,
                env=self._environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        what = {"code": block.text, "name": str(block.path), "line": block.line}
        self._typist.stdin.write(json.dumps(what) + "\n")
        self._typist.stdin.flush()
        line = self._typist.stdout.readline()
        assert line, f"{block}: Python has ended"
        answer = json.loads(line)
        assert not answer["error"], f"{block}:\n{answer['error']}"
        self.printed += answer["printed"]

    def _leave_python(self) -> None:
        if self._typist is not None:
            typist, self._typist = self._typist, None
            typist.stdin.close()
            typist.stdout.close()
            typist.wait(_PATIENCE)

    # -- what is typed into a shell ---------------------------------------------------------------------------------

    def _command(self, block: Block, command: str, expected: str) -> None:
        if _SET_UP.match(command):
            return
        words = shlex.split(command)
        if words[0] == "curl":
            self._ask(block, words[1:], expected)
        elif serves(words, self.folder):
            self._stop()
            self._start(command)
        else:
            done = subprocess.run(
                words,
                cwd=self.folder,
                env=self._environ,
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
                check=False,
            )
            assert done.returncode == 0, f"{block}: {command}\n{done.stdout}{done.stderr}"
            Reading.compare(block, done.stdout, expected)

    def _start(self, command: str) -> None:
        self._served = command
        with (self.folder / "server.log").open("wb") as log:
            self._server = subprocess.Popen(
                shlex.split(command),
                cwd=self.folder,
                env=self._environ,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _stop(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()

    def _ask(self, block: Block, words: list[str], expected: str) -> None:
        """A request; a GET once more, while its answer is another: what goes on in the background takes its time."""
        until = time.monotonic() + _BACKGROUND
        while True:
            try:
                return Reading.compare(block, self._curl(block, words), expected or "…")
            except AssertionError:
                if "-X" in words or "-d" in words or time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def _curl(self, block: Block, words: list[str]) -> str:
        """``curl [-i] [-X METHOD] [-H HEADER] [-d DATA] URL``, without curl."""
        given = dict(_options(words))
        url = urlsplit(given["url"])
        assert url.hostname is not None
        assert url.port is not None
        self._listening(block, url.hostname, url.port)
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=_PATIENCE)
        headers = dict(line.split(": ", 1) for line in given.get("-H", "").splitlines())
        method = given.get("-X", "POST" if "-d" in given else "GET")
        connection.request(method, url.path + (f"?{url.query}" if url.query else ""), given.get("-d"), headers)
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        if "-i" not in given:
            assert response.status < 500, f"{block}: {response.status} {body}"
            return body
        head = [
            f"HTTP/{response.version / 10} {response.status} {response.reason}",
            *map(": ".join, response.getheaders()),
        ]
        return "\n".join([*head, "", body])

    def _listening(self, block: Block, host: str, port: int) -> None:
        """Wait until the server listens."""
        log = self.folder / "server.log"
        assert self._server is not None, f"{block}: the page has not said how to start a server"
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and self._server.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
                return
            time.sleep(0.05)
        raise AssertionError(f"{block}: {self._served!r} does not listen on {port}:\n{log.read_text(encoding='utf-8')}")


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    rest = iter(words)
    for word in rest:
        if word in ("-X", "-H", "-d"):
            yield word, next(rest)
        elif word == "-i":
            yield word, ""
        else:
            assert not word.startswith("-"), f"the reader's curl does not know {word}"
            yield "url", word if "://" in word else f"http://{word}"


def busy(port: int) -> bool:
    """Whether somebody listens there already."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
