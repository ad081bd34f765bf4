"""Runs a page of the documents as a reader would who types it in, from the top to the bottom.

* ``python`` blocks run in order, in one namespace for each page; they may ``await``. With ``no-run`` after the word
  ``python`` a block is only looked at (``make check`` compiles it).
* ``fresh`` after the word ``python``: everything before is closed and forgotten; files stay.
* A block whose first line is ``# shop.py`` is saved under that name and imported; with ``# shop.py, continued`` it is
  added to the file, which is imported anew. A file with an ``app`` takes the place of another one with an ``app``.
  One in a folder, ``# migrations/env.py``, is only saved: it is for the program that has made the folder.
* A ``text output`` block is what was printed since the last one.
* In a ``console`` block ``$ curl`` asks the ``app`` of the file that was saved last, ``$ python FILE.py``, ``$ alembic``,
  ``$ pytest``, ``$ python -m unittest`` and ``$ respool explain`` run for real, and the lines below are the answer. Other
  commands are not run here, but by ``tests/fresh``. ``$ export DATABASE_URL=…`` asks for a PostgreSQL: who follows the
  page gives it one.
* In both, ``…`` stands for anything.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import fnmatch
import gc
import importlib
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from respool import AsyncDatabase, Database
from tests.web.clients import call_wsgi

__all__ = ["ROOT", "Block", "Reading", "blocks", "commands", "pages", "serves", "wants_postgres"]

ROOT = Path(__file__).resolve().parent.parent.parent
_SERVERS = ("granian", "gunicorn", "hypercorn", "sanic", "uvicorn", "waitress-serve")
_FENCED = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]+)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (?P<name>(?:\w+/)*\w+\.py)(?P<more>, continued)?\n")


@dataclass(frozen=True)
class Block:
    """A fenced block: its words after the fence, its text, the line of its first line, and the file to save it in."""

    path: Path
    line: int
    words: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        inside = self.path.is_relative_to(ROOT)
        return f"{self.path.relative_to(ROOT) if inside else self.path.name}:{self.line}"

    @property
    def file(self) -> str | None:
        """The name to save it under, if any."""
        match = _FILE.match(self.text)
        return match["name"] if match else None

    @property
    def continues(self) -> bool:
        """Whether it is added to its file."""
        match = _FILE.match(self.text)
        return match is not None and match["more"] is not None

    @property
    def runs(self) -> bool:
        """Whether it is Python to be run."""
        return self.words[0] == "python" and "no-run" not in self.words


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page."""
    page = path.read_text(encoding="utf-8")
    return [
        Block(
            path, page.count("\n", 0, match.start()) + 2, tuple(match["info"].split()), textwrap.dedent(match["text"])
        )
        for match in _FENCED.finditer(page)
    ]


#: Pages that are followed in their own environments only. Where advanced-alchemy is installed Litestar imports it, and with
#: it a warning of SQLAlchemy 2.1's: no process with ``-W error`` could import Litestar here.
_ELSEWHERE = ("docs/how-to/repositories.md",)


def pages() -> list[Path]:
    """Every page with something to run here."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    here = [path for path in found if path.relative_to(ROOT).as_posix() not in _ELSEWHERE]
    return [path for path in here if any(block.runs for block in blocks(path))]


class Reading:
    """One reader with a folder of their own; a context manager that leaves nothing open behind.

    Args:
        folder: the working directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "__page__"}
        self.printed = io.StringIO()
        self.app: Any = None
        self._modules: dict[str, ModuleType] = {}
        self._runner = asyncio.Runner()
        self._clients = contextlib.ExitStack()
        self._portal: Any = None
        self._client: Any = None

    def __enter__(self) -> Reading:
        sys.path.insert(0, str(self.folder))
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.begin_anew()
            self._runner.close()
        finally:
            sys.path.remove(str(self.folder))
        gc.collect()  # whatever was left open is told of here, and not in another test

    def begin_anew(self) -> None:
        """Close and forget everything but the files."""
        for name in list(self._modules):
            self._forget(name)
        for name, module in list(sys.modules.items()):  # what files have imported of each other
            if Path(getattr(module, "__file__", None) or "/").parent == self.folder:
                self._close(vars(sys.modules.pop(name)))
        self._close(self.names)
        self.names.clear()
        self.names["__name__"] = "__page__"
        self.app = None

    def follow(self, page: list[Block]) -> None:
        """Do all that a page says."""
        for block in page:
            if block.runs and "fresh" in block.words:
                self.begin_anew()
            if block.file is not None and block.runs:
                self.save(block, block.file)
            elif block.runs:
                self.run(block)
            elif block.words == ("text", "output"):
                self.compare(block, self._take_printed(), block.text)
            elif block.words == ("console",):
                self._type_in(block)

    def save(self, block: Block, name: str) -> None:
        """Save a block as a file, and import it."""
        if "/" in name:
            (self.folder / name).write_text(block.text, encoding="utf-8")
            return
        self._forget(name)
        if "app = " in block.text:
            for other in [other for other, module in self._modules.items() if hasattr(module, "app")]:
                self._forget(other)
        file = self.folder / name
        before = file.read_text(encoding="utf-8") + "\n\n" if block.continues else ""
        file.write_text(before + block.text, encoding="utf-8")
        importlib.invalidate_caches()
        with contextlib.redirect_stdout(self.printed):
            module = self._modules[name] = importlib.import_module(file.stem)
        self.app = getattr(module, "app", self.app)

    def run(self, block: Block) -> None:
        """Run a block in the page's namespace."""
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile("\n" * (block.line - 1) + block.text, str(block.path), "exec", flags, dont_inherit=True)
        with contextlib.redirect_stdout(self.printed):
            result = eval(code, self.names)
            if inspect.iscoroutine(result):
                self._runner.run(result)

    # -- what is typed into a shell -------------------------------------------------------------------------------

    def _type_in(self, block: Block) -> None:
        for command, expected in commands(block.text):
            words = shlex.split(command)
            if words[0] == "curl":
                self.compare(block, self._curl(words[1:]), expected)
            elif words[0] == "pytest" or words[:3] == ["python", "-m", "unittest"]:
                self.compare(block, self._test(block, words), expected)
            elif not serves(words, self.folder) and (
                command.startswith(("respool explain", "alembic "))
                or (words[0] == "python" and words[1].endswith(".py"))
            ):
                start = [] if words[0] == "python" else ["-m", words[0]]
                done = subprocess.run(
                    [sys.executable, "-W", "error", *start, *words[1:]],
                    cwd=self.folder,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, f"{block}: {command}\n{done.stderr}"
                self.compare(block, done.stdout, expected)

    def _test(self, block: Block, words: list[str]) -> str:
        """The reader's own tests, with no plugins but ours and anyio's."""
        plugins = ["-p", "respool.testing.plugin", "-p", "anyio.pytest_plugin", "-p", "no:cacheprovider", "--rootdir=."]
        start = ["-m", "pytest", *plugins, *words[1:]] if words[0] == "pytest" else words[1:]
        done = subprocess.run(
            [sys.executable, "-W", "error", *start],
            cwd=self.folder,
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}: {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _curl(self, words: list[str]) -> str:
        """``curl [-i] [-X METHOD] URL``, answered by the application."""
        assert self.app is not None, "no file with an app was saved before"
        method = words[words.index("-X") + 1] if "-X" in words else "GET"
        url = urlsplit(words[-1])
        path = url.path + (f"?{url.query}" if url.query else "")
        if hasattr(self.app, "wsgi_app"):
            answer = self.app.test_client().open(path, method=method)
            line, body = f"HTTP/1.1 {answer.status}", answer.get_data(as_text=True)
        elif not inspect.iscoroutinefunction(type(self.app).__call__):
            given = call_wsgi(self.app, path, method)
            line, body = f"HTTP/1.1 {given.status} …", given.body.decode()
        else:
            response = self._asgi_client().request(method, path)
            line, body = f"HTTP/1.1 {response.status_code} {response.reason_phrase}", response.text
        return f"{line}\n\n{body}" if "-i" in words else body

    def _asgi_client(self) -> Any:
        from fastapi.testclient import TestClient

        if self._client is None:
            here: Any = {
                "base_url": "http://127.0.0.1:8000",
                "client": ("127.0.0.1", 50000),
            }  # where pages are typed in
            client = TestClient(self.app, raise_server_exceptions=False, **here)
            self._client = self._clients.enter_context(client)
            self._portal = client.portal
        return self._client

    # -- what is compared -----------------------------------------------------------------------------------------

    def _take_printed(self) -> str:
        text = self.printed.getvalue()
        self.printed.seek(0)
        self.printed.truncate()
        return text

    @staticmethod
    def compare(block: Block, given: str, expected: str) -> None:
        pattern = "".join("*" if part == "…" else f"[{part}]" if part in "*?[" else part for part in expected.strip())
        given = given.strip().replace("\r\n", "\n")
        assert fnmatch.fnmatchcase(given, pattern), f"{block} says:\n{expected.strip()}\n\nIt is:\n{given}"

    # -- the end --------------------------------------------------------------------------------------------------

    def _forget(self, name: str) -> None:
        module = self._modules.pop(name, None)
        if module is not None:
            others = {id(value) for other in self._modules.values() for value in vars(other).values()}
            self._close({name: value for name, value in vars(module).items() if id(value) not in others})
            self._clients.close()
            self._client = self._portal = None
            sys.modules.pop(module.__name__, None)
            for cached in (self.folder / "__pycache__").glob(f"{module.__name__}.*"):
                cached.unlink()  # a file that is written twice within a second looks unchanged

    def _close(self, names: dict[str, Any]) -> None:
        for value in list(names.values()):
            if isinstance(value, AsyncDatabase):
                self._await(value.close)
                self._runner.run(value.engine.dispose())  # what blocks have opened in the reader's own loop
            elif isinstance(value, AsyncEngine):
                self._await(value.dispose)
            elif isinstance(value, Database):
                value.close()
            elif isinstance(value, Engine):
                value.dispose()

    def _await(self, function: Any) -> None:
        if self._portal is not None:
            self._portal.call(function)
        else:
            self._runner.run(function())


def wants_postgres(page: list[Block]) -> bool:
    """Whether a page is about a PostgreSQL whose URL the reader exports."""
    return any("$ export DATABASE_URL=postgresql" in block.text for block in page if block.words == ("console",))


def serves(words: list[str], folder: Path) -> bool:
    """Whether a command starts a server, which goes on until it is stopped."""
    if words[0] == "python" and words[1].endswith(".py"):
        return (
            re.search(r"run_app\(|serve_forever\(|app(?:\(\))?\.run\(", (folder / words[1]).read_text(encoding="utf-8"))
            is not None
        )
    return (
        words[0] in _SERVERS
        or words[:3] == ["python", "-m", "bottle"]
        or words[-1] == "run"
        or (words[:2] == ["respool", "demo"] and "--seconds" not in words)
    )


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, and what is shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, answer = part.partition("\n")
        yield command, answer
