"""``respool probe``: running processes are asked by their sockets, blocked and exhausted ones, too."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from respool.cli.main import main
from respool.observe.workers.places import AVAILABLE
from respool.observe.workers.server import Server

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="this system has no such sockets")

GOOD = {"ok": True, "live": True, "reason": "all is well", "databases": []}
BUSY = {**GOOD, "ok": False, "reason": "database 'shop': all 5 connections are held, and none has come back for 9.0 s"}
DEAD = {**BUSY, "live": False}


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A private folder for sockets, with a short name; it is the only one that is looked into."""
    with tempfile.TemporaryDirectory(prefix="rs-") as name:
        for variable in ("RESPOOL_OBSERVE_SOCKET", "XDG_RUNTIME_DIR"):
            monkeypatch.setenv(variable, name)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


@pytest.fixture
def serve(sockets: Path) -> Iterator[Callable[..., None]]:
    """Answers as processes would; each needs a folder's file of its own."""
    started: list[Server] = []

    def start(value: Any, application: str = "shop") -> None:
        server = Server(application, {"health": lambda: value}, sockets)
        server.start()
        started.append(server)

    yield start
    for each in started:
        each.stop()


@pytest.mark.parametrize(
    "told, live, ready",
    [
        ([GOOD], 0, 0),
        ([BUSY], 0, 1),
        ([DEAD], 1, 1),
        ([GOOD, BUSY], 0, 0),
        ([GOOD, DEAD], 1, 0),
        ([BUSY, BUSY], 0, 1),
        ([], 1, 1),
    ],
)
def test_exit_codes(serve: Callable[..., None], told: list[Any], live: int, ready: int) -> None:
    for each in told:
        serve(each)
    assert (main(["probe", "live", "--within", "30"]), main(["probe", "ready", "--within", "30"])) == (live, ready)


def test_reasons_are_printed(serve: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    serve(BUSY)
    serve(GOOD, "mail")
    assert main(["probe", "ready", "--app", "shop", "--within", "30"]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("shop, process ")
    assert printed.endswith(f": not ready: {BUSY['reason']}\n")
    assert main(["probe", "live", "--app", "mail", "--within", "30"]) == 0
    assert capsys.readouterr().out.endswith(": live\n")
    assert main(["probe", "live", "--app", "nobody"]) == 1
    assert "No process answers" in capsys.readouterr().err
