"""``respool demo`` as its users run it: a process of its own, over real HTTP."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from respool.cli.demo.catalogue import products
from tests.cli.shops import Demo, command, environment, run, running_demo

FILE = "respool-demo.db"


def test_an_order_outlives_a_kill(tmp_path: Path) -> None:
    with running_demo(tmp_path) as demo:
        status, page = demo.ask("/")
        assert (status, b"<!doctype html>" in page) == (200, True)
        status, order = demo.ask("/orders", {"product_id": 1, "quantity": 2})
        assert status == 201
        demo.end(signal.SIGKILL)
    with running_demo(tmp_path) as demo:
        assert demo.ask(f"/orders/{order['id']}") == (200, order)
        code, output, errors = demo.end(signal.SIGINT)
    assert (code, errors) == (0, "")
    assert output.endswith("Stopped; nothing was left open.\n")


def test_it_says_where_it_is_and_what_its_limits_are(tmp_path: Path) -> None:
    with running_demo(tmp_path) as demo:
        code, output, errors = demo.end(signal.SIGTERM)
    assert (code, errors) == (0, "")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", demo.address)
    assert f"sqlite+aiosqlite:///{FILE}" in output
    assert "0 to 10 connections" in output
    assert "Ctrl-C" in output


def test_the_customers_report_and_the_time_ends(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--load", "5", "--seconds", "3")
    code, output, errors = demo.end()
    assert (code, errors) == (0, ""), output
    report = output[output.index("5 clients, ") :]
    figures = dict(re.findall(r"^  (\w[\w ]*?)  +(.*)$", report, re.MULTILINE))
    assert figures["errors"] == "0"
    assert figures["left over"] == "0 connections acquired, 0 sessions open"
    assert figures["verdict"] == "clean"
    assert re.fullmatch(r"p50 \d+\.\d ms  p95 \d+\.\d ms  p99 \d+\.\d ms", figures["latency"])
    assert re.match(r"at most ([1-9]|10) open of 10 allowed", figures["pool"])
    assert int(figures["requests"].split()[0].replace(",", "")) > 20
    orders = re.search(r"(\d+) order\b", figures["requests"])
    assert orders is not None
    with sqlite3.connect(tmp_path / FILE) as connection:
        (kept,) = connection.execute("SELECT count(*) FROM customer_order").fetchone()
    connection.close()
    assert kept == int(orders[1])  # on this few requests nothing runs dry, so every order was answered with 201


def test_ctrl_c_lets_the_customers_finish(tmp_path: Path) -> None:
    with running_demo(tmp_path, "--load", "3") as demo:
        while not demo.ask("/orders")[1]["items"]:  # until the customers are at work
            pass
        code, output, errors = demo.end(signal.SIGINT)
    assert (code, errors) == (0, ""), output
    assert "verdict    clean" in output
    assert output.endswith("Stopped; nothing was left open.\n")


def test_customers_who_meet_failures_make_the_demo_fail(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:  # somebody else's table, under a name of ours
        connection.execute("CREATE TABLE customer_order (id INTEGER PRIMARY KEY)")
    connection.close()
    code, output, errors = Demo(tmp_path, "--load", "5", "--seconds", "2").end()
    assert code == 1
    assert "status 500 instead of" in output or "not JSON" in output
    assert output.endswith("respool demo: the simulated customers met failures (exit code 1), see their report above\n")
    assert "no such column" in errors or "has no column" in errors


def test_several_may_start_at_once_on_one_database(tmp_path: Path) -> None:
    demos = [Demo(tmp_path, "--seconds", "0.1") for _ in range(4)]
    assert [demo.end()[0::2] for demo in demos] == [(0, "")] * 4
    with sqlite3.connect(tmp_path / FILE) as connection:
        (count,) = connection.execute("SELECT count(*) FROM product").fetchone()
    connection.close()
    assert count == len(list(products()))


# -- what can be wrong -----------------------------------------------------------------------------------------------


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, output, errors = run(tmp_path, "demo", "--port", str(port))
    assert (code, output) == (1, "")
    assert errors.count("\n") == 1
    assert f"port {port} of 127.0.0.1 is in use" in errors
    assert "--port 0" in errors
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    "url, says",
    [
        ("nonsense", "is not a database URL; write dialect+driver"),
        ("postgresql+nodriver://me:pass:word@db/shop", "nodriver"),
        ("postgresql+asyncpg://me:s3cret@[::1/shop", "***"),
        ("sqlite:///x.db", "sqlite+aiosqlite:///x.db"),
        ("sqlite+aiosqlite:////no/such/folder/x.db", "unable to open database file"),
    ],
)
def test_a_bad_url_is_one_clear_line_without_its_password(tmp_path: Path, url: str, says: str) -> None:
    code, output, errors = run(tmp_path, "demo", "--port", "0", "--url", url)
    assert (code, output) == (1, "")
    assert errors.count("\n") == 1
    assert errors.startswith("respool demo: ")
    assert says in errors
    assert "s3cret" not in errors
    assert "pass:word" not in errors


def test_a_file_that_is_no_database_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("Dear diary, " * 100)
    code, output, errors = run(tmp_path, "demo", "--port", "0")
    assert (code, output) == (1, "")
    assert errors == f"respool demo: cannot use sqlite+aiosqlite:///{FILE}: file is not a database\n"


def test_a_database_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"postgresql+psycopg://me:s3cret@127.0.0.1:{port}/shop?sslpassword=s3cret"
    code, output, errors = run(tmp_path, "demo", "--port", "0", "--url", url)
    assert (code, output) == (1, "")
    last = errors.splitlines()[-1]  # the pool logs its failures before
    assert last.startswith(
        f"respool demo: cannot use postgresql+psycopg://me:***@127.0.0.1:{port}/shop?sslpassword=***: "
    )
    assert "refused" in last
    assert "s3cret" not in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--load", "-3"], "'-3' is not a whole number from 0"),
        (["--load", "many"], "'many' is not a whole number"),
        (["--port", "70000"], "'70000' is not a whole number from 0 to 65535"),
        (["--seconds", "0"], "'0' is not a number of seconds above 0"),
        (["--seconds", "nan"], "'nan' is not a number of seconds above 0"),
    ],
)
def test_a_bad_argument_is_refused(tmp_path: Path, arguments: list[str], says: str) -> None:
    code, output, errors = run(tmp_path, "demo", *arguments)
    assert (code, output) == (2, "")
    assert says in errors
    assert "Traceback" not in errors


def brought_by(extra: str) -> Iterator[str]:
    """The packages that an extra of respool's brings, as they are imported."""
    for wanted in map(Requirement, requires("respool") or ()):
        if wanted.marker is not None and wanted.marker.evaluate({"extra": extra}):
            if wanted.name == "respool":
                yield from (each for inner in sorted(wanted.extras) for each in brought_by(inner))
            elif not wanted.marker.evaluate({"extra": ""}):
                yield wanted.name.replace("-", "_")


@pytest.mark.parametrize("missing", sorted({*brought_by("demo")} - {"sqlalchemy"}))
def test_a_missing_package_is_one_line_that_says_what_to_install(tmp_path: Path, missing: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None\nfrom respool.cli.main import main\nsys.exit(main(['demo']))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert missing in done.stderr
    assert re.search(r"pip install ['\"](respool\[demo\]|aiosqlite)['\"]$", done.stderr)


def test_customers_of_a_shop_that_is_not_there_fail(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = subprocess.run(
        [*command()[:-1], "respool.cli.demo.load", f"http://127.0.0.1:{port}", "--clients", "2", "--seconds", "0.3"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "ConnectionRefusedError" in done.stdout
    assert "no request was answered" in done.stdout


def test_a_refusal_is_json(tmp_path: Path) -> None:
    with running_demo(tmp_path) as demo:
        with pytest.raises(urllib.error.HTTPError) as refused:
            demo.ask("/orders", {"product_id": 1, "quantity": 1000})
        assert refused.value.code == 409
        assert refused.value.headers["Content-Type"] == "application/json"
        refused.value.close()
