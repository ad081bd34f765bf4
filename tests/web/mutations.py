"""Breaks each rule of the contract on purpose, and looks whether its cells of the table notice.

``python -m tests.web.mutations`` (``make mutations``) copies the package, breaks one rule in the copy, runs the rule's
case on every stand, and goes on with the next. A cell that no mutation of its case makes fail is named, and is an error.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.web.contract import CASES
from tests.web.stands import ALL
from tests.web.wsgi_mutations import WSGI_MUTATIONS

__all__ = ["MUTATIONS", "Mutation"]

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src"

#: A file of the package, what stands there (once), and what is put in its place.
Edit = tuple[str, str, str]


@dataclass(frozen=True)
class Mutation:
    """A rule that is broken.

    Args:
        breaks: in words.
        cases: those that have to notice.
        edits: how.
    """

    breaks: str
    cases: tuple[str, ...]
    edits: tuple[Edit, ...]


def mutation(breaks: str, cases: str, *edits: Edit) -> Mutation:
    return Mutation(breaks, tuple(cases.split()), edits)


ASGI, SANIC, AIOHTTP, LITESTAR, QUART = (f"web/{name}.py" for name in ("asgi", "sanic", "aiohttp", "litestar", "quart"))
REQUESTS, LIFESPAN = "web/rules/scopes.py", "web/rules/lifespan.py"
END, POLICY, SCOPE = "ending/end.py", "scope/policy.py", "scope/scope.py"
ALGORITHMS, MONITOR, WHEREABOUTS = "pool/core/algorithms.py", "pool/drivers/monitor.py", "whereabouts.py"
EXCHANGE = "web/rules/exchange.py"

MUTATIONS = (
    mutation(
        "a success is rolled back",
        "success late_use late_cleanup failing_first_part held_back_start",
        (POLICY, "    return Verdict.COMMIT\n\n\ndef _ask(", "    return Verdict.ROLLBACK\n\n\ndef _ask("),
    ),
    mutation(
        "an error status commits",
        "returned_4xx late_status unsendable error_pages",
        (POLICY, " or (status is not None and status >= 400):", ":"),
    ),
    mutation(
        "an error commits, whatever its status",  # what is raised is rolled back as an error, and by its status once more
        "raised_4xx unhandled_error explicit_commit_then_error late_error unsendable failing_first_part error_pages",
        (
            POLICY,
            "if error is not None or doomed is not None or (status is not None and status >= 400):",
            "if doomed is not None:",
        ),
    ),
    mutation(
        "a commit that fails is kept quiet",
        "failing_commit base_http_middleware late_failing_commit",
        (END, "        raise self._tally.blame(failure, self.scopes[0].title)", "        return"),
    ),
    mutation(
        "a commit that fails is told as another error",
        "failing_commit_with_a_handler",
        (END, "        raise self._tally.blame(failure, self.scopes[0].title)", "        raise LookupError"),
    ),
    mutation(
        "a forgotten commit is not told",
        "forgotten_commit",
        (END, "                    report(scope, lines)\n", "                    pass\n"),
    ),
    mutation(
        "the first database is committed before the second is flushed",
        "two_databases",
        (END, "if verdict is Verdict.COMMIT and self._first is None and _unflushed(scope):", "if False:"),
        (EXCHANGE, "                        scope.session.flush()\n", "                        pass\n"),  # WSGI's, when a handler has returned
    ),
    mutation(
        "a session works after its request",
        "streaming background after_the_answer",
        (SCOPE, "        raise ScopeEnded(", "        return ScopeEnded("),
    ),
    mutation(
        "a websocket is a request",
        "websocket",
        (ASGI, 'if scope["type"] == "http":\n            if self.pages', 'if scope["type"] in ("http", "websocket"):\n            if self.pages'),
        (ASGI, "{scope['method']}", "{scope.get('method', 'GET')}"),
        (AIOHTTP, '.lower() == "websocket":', '.lower() == "nothing":'),
        (SANIC, '.lower() == "websocket":', '.lower() == "nothing":'),
    ),
    mutation(
        # some servers cancel the request by themselves, and whoever is cancelled leaves in two ways
        "nobody looks for departures, and a waiter that is cancelled stays in line",
        "client_gone",
        (WHEREABOUTS, "    if here is None:\n        yield", "    if True:\n        yield"),
        (ALGORITHMS, "    except BaseException:\n        state.leave(waiter)\n        raise", "    except BaseException:\n        raise"),
        (MONITOR, "            self._inbox.append((waiter, None, None))\n", ""),
    ),
    mutation(
        "what is left behind leaves the line with its request's client",
        "left_behind",
        ("web/rules/client.py", "        if self._over:\n            return\n", ""),
    ),
    mutation(
        "whoever waits for a connection leaves the line",
        "left_behind",
        (WHEREABOUTS, "    here = client.get()\n", "    here = client.get()\n    leave()\n"),
    ),
    mutation(
        "what is asked of an application within the application has no session",
        "nested_application",
        (REQUESTS, "        for database in databases:\n            outer", '        for database in () if "/nested" in self.label else databases:\n            outer'),
    ),
    mutation(
        "an application within the application begins a request of its own",
        "nested_application",
        (REQUESTS, "            if outer is not None and outer.live:", "            if False:"),
    ),
    mutation(
        "an inherited scope stays in force",
        "inherited_context",
        (SCOPE, "        self.variable.set(self)\n        label", "        self.variable.set(self._previous or self)\n        label"),
    ),
    mutation(
        "no request is ever ended",
        "somebody_elses_teardown",
        (END, "    for scope in scopes:\n        if not _is_idle", "    return True\n    for scope in scopes:\n        if not _is_idle"),
        (REQUESTS, "        end = End([scope for scope in self.scopes if scope.live]", "        end = End([]"),
        (REQUESTS, "    end = End([found[d.name] for d in databases if", "    end = End([found[d.name] for d in () if"),
    ),
    mutation(
        "what a framework tells of its routes is not heard",
        "route_template",
        (REQUESTS, "scope.handler, scope.route = handler, route", "scope.handler = handler"),
        ("web/rules/client.py", "    def route(self) -> str | None:", "    def another(self) -> str | None:"),
    ),
    mutation(
        "the page is a request of the application's",
        "dashboard",
        ("web/rules/pages.py", "for place in self if path == place or", "for place in () if path == place or"),
    ),
    mutation(
        "a HEAD has no session",
        "head_and_options",
        (REQUESTS, "        for database in databases:\n            outer", '        for database in () if self.label.startswith("HEAD") else databases:\n            outer'),
    ),
    mutation(
        "requests that are there at once share a session",
        "a_thousand_interleaved",
        (REQUESTS, "database.new_scope(self.label)\n", "next((each for each in database.scopes() if each.live), None) or database.new_scope(self.label)\n"),
    ),
    mutation(
        "want of a connection is an error like any other",
        "overload",
        ("web/rules/overload.py", "= (PoolTimeout, PoolQueueFull, CallerGone)", "= ()"),
    ),
    mutation(
        "a full line is told as another error",
        "overload_with_a_handler",
        (ALGORITHMS, "        raise messages.pool_queue_full(", "        raise LookupError("),
    ),
    mutation(
        "nothing is opened when the application starts",
        "lifespan",
        ("web/rules/lifespan.py", "        if not size:\n", "        if True:\n"),
    ),
    mutation(
        "the end comes before what runs late",
        "late_use late_error late_failing_commit late_status",
        (ASGI, "        async def begin(message: Message) -> None:\n            await send(message)\n", '        async def begin(message: Message) -> None:\n            if message["type"] == "http.response.start":\n                await exchange.scopes.conclude(message["status"])\n            await send(message)\n'),
        (QUART, "        seal(_found(), response.status_code)\n", "        await end_request(_found(), [d for s in _found().values() for d in [s.owner]], response.status_code)\n"),
        (QUART, "    roll_back,\n", "    end_request,\n    roll_back,\n"),
        (LITESTAR, "        scope[EXCHANGE].scopes.let_through()\n", '        await scope[EXCHANGE].scopes.conclude(message["status"])\n'),
        (AIOHTTP, "            await response.prepare(self._request)\n", "            await self._ours.conclude(response.status)\n            await response.prepare(self._request)\n"),
        (SANIC, "        if state.handling and state.ours is not None:", "        if state.ours is not None:"),
    ),
    mutation(
        "a clean-up takes away what is to be committed",
        "late_cleanup",
        ("session/life.py", "return bool(sealed.is_all(", "return bool(False and sealed.is_all("),
    ),
    mutation(
        "what makes a body does not wait for the commit",
        "held_back_start",
        (REQUESTS, "            if scope.live:\n                scope.due = self", "            if False:\n                scope.due = self"),
    ),
    mutation(
        "an error is answered before what it is about is rolled back",
        "error_pages error_answered_as_success",
        (REQUESTS, '    status = getattr(error, "status_code", 500) if', '    return\n    status = getattr(error, "status_code", 500) if'),
    ),
    mutation(
        "after a commit that failed nothing can be read",
        "error_page_of_a_failed_commit",
        (END, "(failed and self.stays is Stays.ON_FAILURE)", "False"),
    ),
    mutation(
        "a policy is not told the method",
        "policy_with_method",
        ("scope/policy.py", "(status, error, method)[:takes]", "(status, error, None)[:takes]"),
    ),
    mutation(
        "the databases are closed before the application has stopped",
        "stopping",
        (LIFESPAN, '        if message["type"] == "lifespan.startup":\n', '        if message["type"] == "lifespan.shutdown":\n            await stop(self._databases)\n        if message["type"] == "lifespan.startup":\n'),
        (AIOHTTP, "            if not app.on_cleanup.frozen:", "            if True:"),
        (SANIC, "        app.after_server_stop(drain, priority=_FIRST)", "        app.before_server_stop(drain)"),
    ),
)  # fmt: skip
MUTATIONS += tuple(mutation(*each) for each in WSGI_MUTATIONS)


def mutate(found: Path, edits: Sequence[Edit]) -> None:
    """Break what was copied."""
    for file, old, new in edits:
        path = found / "respool" / file
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise SystemExit(f"{file} does not have once, but {text.count(old)} times: {old!r}")
        path.write_text(text.replace(old, new), encoding="utf-8")


def stands_of(case: str) -> list[str]:
    return [stand.title() for stand in ALL if case not in stand.missing]


def failing(mutated: Mutation, cases: Sequence[str], folder: Path) -> Iterator[tuple[str, str]]:
    """The cells of some cases, as case and stand, that fail under a mutation."""
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    mutate(folder, mutated.edits)
    cells = [f"{stand}-{case}" for case in cases for stand in stands_of(case)]
    nodes = [f"tests/web/test_contract.py::test_contract[{cell}]" for cell in cells]
    report = folder / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "-n", "2", f"--junit-xml={report}"]
    # What hangs is killed with its worker, whose threads nobody could stop.
    options += ["--timeout", "10", "--timeout-method", "thread", "--max-worker-restart", str(len(cells))]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", *options, *nodes]
    for _ in range(3):  # pytest-xdist breaks now and then when a worker is killed, with an internal error
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode != pytest.ExitCode.INTERNAL_ERROR:
            break
    if ended.returncode not in (0, 1):
        raise SystemExit(ended.stdout + ended.stderr)
    for test in ElementTree.parse(report).iter("testcase"):
        if test.find("failure") is not None or test.find("error") is not None:
            cell = re.fullmatch(r"test_contract\[(.+)-(\w+)\]", test.get("name", ""))
            if cell is not None:
                yield cell[2], cell[1]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.web.mutations", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--case", action="append", choices=list(CASES), help="this case only")
    chosen = parser.parse_args(arguments).case or list(CASES)
    survived = {(case, stand) for case in chosen for stand in stands_of(case)}
    cells = len(survived)
    for each in MUTATIONS:
        cases = [case for case in each.cases if case in chosen]
        if not cases:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            noticed = set(failing(each, cases, Path(folder) / "mutated"))
        survived -= noticed
        of = sum(len(stands_of(case)) for case in cases)
        print(f"{each.breaks}: {len(noticed)} of {of} cells fail ({time.monotonic() - began:.0f} s)", flush=True)
    for case, stand in sorted(survived):
        print(f"  nothing noticed: {case} on {stand}")
    print(f"{cells - len(survived)} of {cells} cells were seen to fail")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
