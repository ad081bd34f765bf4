"""The command: measures, and writes the results, the page and the plots."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import Any


def main(arguments: list[str]) -> int:
    """Run the measurements; see ``--help``."""
    try:
        from benchmarks import report
        from benchmarks.conditions import conditions
        from benchmarks.measures import MEASUREMENTS
        from benchmarks.publish import publish
        from benchmarks.rounds import Budget
    except ModuleNotFoundError as missing:
        print(f"{missing}: the benchmarks need the peers, too: make bench brings them", file=sys.stderr)
        return 2
    options = _options(arguments, [measurement.name for measurement in MEASUREMENTS])
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # refused connects are part of it
    logging.getLogger("respool").setLevel(logging.CRITICAL)
    chosen = [measurement for measurement in MEASUREMENTS if measurement.name in options.only]
    results: dict[str, Any] = {"conditions": conditions(arguments), "measurements": []}
    for measurement in chosen:
        began = time.perf_counter()
        print(f"{measurement.name}: ", end="", flush=True)
        rows = measurement.run(Budget(quick=options.quick))
        print(f"{time.perf_counter() - began:.0f} s")
        results["measurements"].append(report.as_plain(measurement, rows))
        print(report.table(results["measurements"][-1]), "\n")
    whole = len(chosen) == len(MEASUREMENTS) and not options.quick
    publish("latest", results, options.out, whole=whole)
    return 0


def _options(arguments: list[str], names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default=",".join(names), help=f"some of: {','.join(names)}")
    parser.add_argument("--quick", action="store_true", help="a short run, to see that it works; its figures are rough")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where benchmarks/results/ and docs/ are; default: the project's folder for a whole run, else nowhere",
    )
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    unknown = sorted(set(options.only) - set(names))
    if unknown:
        parser.error(f"--only: unknown {', '.join(unknown)}; there are {', '.join(names)}")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
