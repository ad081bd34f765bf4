"""A private folder with a short name, and workers of an application in processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("worker.py")


class Running:
    """A worker that does as it is told; see ``worker.py``."""

    def __init__(self, folder: Path, database: Path, application: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(database), application],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "RESPOOL_OBSERVE_SOCKET": str(folder)},
        )
        self.pid = self.process.pid

    def tell(self, *words: object) -> str:
        assert self.process.stdin is not None
        print(*words, file=self.process.stdin, flush=True)
        return self.answer()

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the worker has ended"
        return line

    def end(self) -> None:
        """End it as a machine that has no memory left ends processes."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A private folder for sockets, whose paths may not be long; it is the one that is looked into."""
    folder = Path(tempfile.mkdtemp(prefix="rs-"))
    monkeypatch.setenv("RESPOOL_OBSERVE_SOCKET", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def start(sockets: Path, tmp_path: Path) -> Iterator[Callable[..., list[Running]]]:
    """Starts workers, which are ready then."""
    started: list[Running] = []

    def start(count: int = 1, application: str = "shop") -> list[Running]:
        new = [Running(sockets, tmp_path / f"{application}.db", application) for _ in range(count)]
        started.extend(new)
        assert [each.answer() for each in new] == ["ready"] * count
        return new

    yield start
    for each in started:
        each.end()
