"""``respool top --once``: what it prints, how it ends, and that it names the guilty line of each trouble."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from respool import AsyncDatabase, Database, PoolConfig
from respool.cli.main import main
from respool.errors import PoolClosed
from respool.observe import observe
from respool.observe.findings import holding
from respool.observe.findings.holding import Holding
from respool.observe.findings.loops import Loops
from respool.observe.format import Snapshot
from respool.observe.observation import observation
from respool.observe.workers.places import AVAILABLE
from tests.cli.top.conftest import process

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="this system has no such sockets")

Serve = Callable[[Snapshot], None]


def test_json_is_all_that_was_told(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve(process(41))
    serve(process(42))
    serve(process(77, "mail"))
    assert main(["top", "--once", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["format"] == 1
    mail, shop = shown["applications"]
    assert (mail["process"]["application"], shop["process"]["application"]) == ("mail", "shop")
    assert [each["pid"] for each in shop["processes"]] == [41, 42]
    assert shop["databases"][0]["pool"]["acquired"] == 4


def test_each_application_has_a_report(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve(process(41))
    serve(process(77, "mail"))
    assert main(["top", "--once"]) == 0
    shown = capsys.readouterr().out
    assert [line.split(",")[0] for line in shown.splitlines() if "1 process" in line] == ["mail", "shop"]
    assert main(["top", "--once", "--app", "mail"]) == 0
    assert "shop, 1 process" not in capsys.readouterr().out


def test_without_any_process_it_says_how_to_be_seen(sockets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("No process answers.\n")
    assert "observe(db)" in told.err
    assert main(["top", "--once", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"format": 1, "applications": []}


@pytest.mark.parametrize(
    "arguments, wanted",
    [
        (["--app", "shp"], "application 'shp'"),
        (["--pid", "9"], "number 9"),
        (["--app", "shop", "--pid", "9"], "application"),
    ],
)
def test_where_others_answer_they_are_named(
    serve: Serve, capsys: pytest.CaptureFixture[str], arguments: list[str], wanted: str
) -> None:
    serve(process(41))
    assert main(["top", "--once", *arguments]) == 1
    told = capsys.readouterr().err
    assert f"No process of {wanted}" in told
    assert f"shop, process {os.getpid()}" in told


def test_an_answer_that_is_not_understood_is_told(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    seen = process(41)
    seen["format"] = 2
    serve(seen)
    assert main(["top", "--once"]) == 1
    assert "its respool 0.1.0 speaks another form than this one" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--json"], "--json goes with --once"),
        (["--pid", "0"], "'0' is not a whole number"),
        (["--every", "0"], "'0' is not a number of seconds"),
        (["--what"], "unrecognized arguments"),
    ],
)
def test_a_wrong_command_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as done:
        main(["top", *arguments])
    assert done.value.code == 2
    assert message in capsys.readouterr().err


def test_live_it_needs_a_terminal(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve(process(41))
    assert main(["top"]) == 2
    assert "respool top --once prints one look" in capsys.readouterr().err


def test_where_there_are_no_such_sockets_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("respool.cli.top.looking.AVAILABLE", False)
    assert main(["top", "--once"]) == 1
    assert "look at the dashboard" in capsys.readouterr().err


ONCE = "import sys\nfrom respool.cli.main import main\ncode = main({arguments})\n{then}\nsys.exit(code)"


def test_once_it_loads_neither_sqlalchemy_nor_textual(serve: Serve) -> None:
    serve(process(41))
    then = "print([name for name in ('sqlalchemy', 'textual', 'asyncio') if name in sys.modules], file=sys.stderr)"
    for arguments in (["top", "--once", "--json"], ["top", "--once"]):
        script = ONCE.format(arguments=arguments, then=then)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "[]\n")


def test_where_the_terminal_knows_few_letters_nothing_breaks(serve: Serve) -> None:
    serve(process(41))
    environ = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "respool", "top", "--once"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 of 5 held" in done.stdout


# -- the guilty line of each trouble ----------------------------------------------------------------------------------


def line_of(mark: str) -> str:
    """``test_once.py:29``: the line with this remark."""
    here = Path(__file__)
    for number, line in enumerate(here.read_text(encoding="utf-8").splitlines(), 1):
        if line.endswith(f"# {mark}"):
            return f"{here.name}:{number}"
    raise AssertionError(mark)


@pytest.fixture
def shown(
    sockets: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], str]]:
    """What the command prints of this process, in which everything is a finding at once."""
    monkeypatch.setattr(observation, "holding", Holding(observation.board, 0.0))
    monkeypatch.setattr(observation, "loops", Loops(observation.board, 0.0))
    monkeypatch.setattr(holding, "_GRACE", 0.0)
    observation.board.clear()

    def shown() -> str:
        observation.look()
        assert main(["top", "--once"]) == 0
        return capsys.readouterr().out

    yield shown
    observation.board.clear()


@pytest.fixture
def db(sqlite_file: str, shown: object) -> Iterator[Database]:
    db = Database(f"sqlite:///{sqlite_file}", name="shop", begin="on_use", pool=PoolConfig(max_size=3))
    observe(db)
    yield db
    observation.remove(db)
    db.close()


def finding(shown: str, code: str) -> str:
    """The lines of a finding."""
    return shown.partition(f"  [{code}] ")[2].partition("\n  [")[0].partition("\n\n")[0]


def test_held_while_something_else_is_waited_for(db: Database, shown: Callable[[], str]) -> None:
    begun, gate = threading.Event(), threading.Event()

    def pay() -> None:
        with db.scope("POST /pay") as session:
            session.execute(text("SELECT 1"))
            begun.set()
            gate.wait()  # HOLD

    thread = threading.Thread(target=pay)
    thread.start()
    begun.wait()
    told = shown()
    gate.set()
    thread.join()
    assert f"{line_of('HOLD')}\n      route: POST /pay" in finding(told, "F001")
    assert f"{line_of('HOLD')} in pay()" in told.partition("CONNECTIONS HELD")[2]


def test_a_leak(db: Database, shown: Callable[[], str]) -> None:
    kept: list[Any] = []

    def leak() -> None:
        kept.append(db.engine.connect())  # LEAK

    thread = threading.Thread(target=leak)
    thread.start()
    thread.join()
    told = shown()
    kept.pop().close()
    assert f"line:  {line_of('LEAK')}" in finding(told, "F002").replace("tests/cli/top/", "")


def test_one_statement_again_and_again(db: Database, shown: Callable[[], str]) -> None:
    with db.scope("GET /orders") as session:
        for number in range(6):
            session.execute(text("SELECT :number"), {"number": number})  # N+1
    told = finding(shown(), "F003")
    assert f"{line_of('N+1')}\n      route: GET /orders" in told
    assert "6 times" in told


def test_a_blocked_event_loop(db: Database, shown: Callable[[], str], tmp_path: Path) -> None:
    begun, gate = threading.Event(), threading.Event()
    other = AsyncDatabase(f"sqlite+aiosqlite:///{tmp_path}/other.db", name="other")
    observe(other)

    async def stand_still() -> None:
        async with other.scope("GET /block") as session:
            await session.execute(text("SELECT 1"))
        observation.look()  # asks the loop, which still answers
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        begun.set()
        gate.wait()  # BLOCK
        await other.close()

    thread = threading.Thread(target=lambda: asyncio.run(stand_still()))
    thread.start()
    begun.wait()
    observation.look()
    told = shown()
    gate.set()
    thread.join()
    observation.remove(other)
    assert f"{line_of('BLOCK')}\n" in finding(told, "F007")


def test_a_database_that_is_away(db: Database, shown: Callable[[], str]) -> None:
    away = Database("postgresql+psycopg://me:s3cret@127.0.0.1:1/shop", name="away", pool=PoolConfig(timeout=None))
    observe(away)

    def order() -> None:
        with pytest.raises(PoolClosed), away.scope("GET /orders") as session:
            session.execute(text("SELECT 1"))

    thread = threading.Thread(target=order)
    thread.start()
    try:
        while not away.pool.stats().database_away:
            time.sleep(0.001)
        told = shown()
    finally:
        away.close()
        thread.join()
        observation.remove(away)
    assert "Database 'away' does not answer: 1 waits for it" in told
    assert "line:  postgresql+psycopg://me:***@127.0.0.1:1/shop" in finding(told, "F009")
    assert "s3cret" not in told
