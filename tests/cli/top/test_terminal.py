"""The command in a real terminal: it starts, shows, and gives the terminal back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from respool.observe.format import Snapshot
from tests.cli.top.conftest import process

pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")
pytest.importorskip("textual")


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal of 80 columns and 24 lines."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 80))
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def read_until(terminal: int, *marks: bytes) -> bytes:
    seen = b""
    while not all(mark in seen for mark in marks):
        seen += os.read(terminal, 65_536)
    return seen


@pytest.mark.parametrize("key", [b"q", b"\x03"], ids=["q", "ctrl-c"])
@pytest.mark.parametrize("colours", [{}, {"NO_COLOR": "1"}], ids=["colours", "none"])
def test_it_runs_and_gives_the_terminal_back(
    serve: Callable[[Snapshot], None], terminal: tuple[int, int], key: bytes, colours: dict[str, str]
) -> None:
    serve(process(41))
    ours, theirs = terminal
    before = termios.tcgetattr(theirs)
    command = [sys.executable, "-m", "respool", "top", "--every", "0.5"]
    environ = {**os.environ, "TERM": "xterm-256color", **colours}
    running = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True)
    try:
        read_until(ours, b"FINDINGS", b"card.py:48")
        os.write(ours, b"2")
        read_until(ours, b"[2 connections]")
        os.write(ours, key)
        read_until(ours, b"\x1b[?1049l")  # the screen of before
        assert running.wait() == 0
    finally:
        running.kill()
        running.wait()
    assert termios.tcgetattr(theirs) == before
