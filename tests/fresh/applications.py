"""``python -m tests.fresh.applications [FRAMEWORK …]``: what ``respool new`` makes, as its README says to use it.

In an empty folder and an environment of its own: ``make test``, ``make check``, and ``make demo`` with the three commands of
the README. Only the package index is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from respool.cli.new.frameworks import FRAMEWORKS
from tests.docs.pages import ROOT
from tests.fresh.environments import Environment, build
from tests.fresh.reader import busy

#: Seconds for an environment to be made and a command in it to be done; for a server to listen.
_PATIENCE, _START = 900, 120
_PORT = 8765


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fresh.applications", description=__doc__)
    parser.add_argument("frameworks", nargs="*", metavar="FRAMEWORK", help="all of them, without any")
    parser.add_argument("--newest", action="store_true", help="the newest versions, not those of constraints.txt")
    options = parser.parse_args()
    if busy(_PORT):
        print(f"somebody listens on {_PORT}, which is needed: stop that first")
        return 1
    failed = []
    with tempfile.TemporaryDirectory(prefix="respool-new-") as name:
        root = Path(name)
        wheel = build(root / "dist")
        ours = Environment(root / "ours", wheel, ("respool",), ("-c", str(ROOT / "constraints.txt")))
        for framework in options.frameworks or FRAMEWORKS:
            began = time.monotonic()
            folder = root / framework
            folder.mkdir()
            try:
                follow(framework, folder, ours, wheel, newest=options.newest)
            except Exception as error:
                failed.append(framework)
                print(f"FAILED {framework}: {error}", flush=True)
            else:
                print(f"ok     {framework}, {time.monotonic() - began:.0f} s", flush=True)
    return 1 if failed else 0


def follow(framework: str, folder: Path, ours: Environment, wheel: Path, *, newest: bool) -> None:
    """Make an application, and do with it what its README says."""
    subprocess.run(
        [ours.bin / "respool", "new", "shop", "--framework", framework],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    environ = {name: text for name, text in os.environ.items() if name not in {"DATABASE_URL", "PYTHONPATH"}}
    environ |= {"PYTHON": getattr(sys, "_base_executable", sys.executable), "RESPOOL": str(wheel), "PORT": str(_PORT)}
    if not newest:
        environ["PIP_CONSTRAINT"] = str(ROOT / "constraints.txt")
    for target in ("test", "check"):
        done = subprocess.run(
            ["make", target],
            cwd=folder / "shop",
            env=environ,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"make {target}\n{done.stdout}{done.stderr}"
    demo = subprocess.Popen(
        ["make", "demo"], cwd=folder / "shop", env=environ, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        look_at(demo)
    finally:
        os.killpg(demo.pid, signal.SIGINT)
        demo.wait(60)


def look_at(demo: subprocess.Popen[bytes]) -> None:
    """The README's commands, against the running application."""
    deadline = time.monotonic() + _START
    while not busy(_PORT):
        assert demo.poll() is None, "make demo has ended"
        assert time.monotonic() < deadline, "make demo does not listen"
        time.sleep(0.2)
    assert ask("/health/ready")[1]["ready"] is True
    assert [product["stock"] for product in ask("/products")[1]] == [20, 20, 3]
    assert ask("/products/3/sales", {"quantity": 2})[0] == 201
    assert ask("/products/3/sales", {"quantity": 2})[0] == 409
    assert ask("/products/3")[1]["stock"] == 1
    (database,) = ask("/respool/snapshot")[1]["databases"]
    assert database["name"] == "shop"


def ask(path: str, body: object = None) -> tuple[int, Any]:
    """A request (a POST when there is a body); its status and its JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{_PORT}{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


if __name__ == "__main__":
    sys.exit(main())
