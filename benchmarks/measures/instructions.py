"""What tracked objects cost on SQLite, counted in instructions: noise hides nothing here, so this is what decides.

``python -m benchmarks.measures.instructions VARIANT URL`` is the process that valgrind watches.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.callgrind import count, counted, missing
from benchmarks.measures.base import Column, Measurement, ratio
from benchmarks.measures.reads import VARIANTS, WORKS, do, fill, limit_on, start
from benchmarks.rounds import Budget, Row, Rows

SQLITE = "SQLite file"
#: How often it is done before it is counted, and how often while it is.
WARM, TIMES = 150, 100


def serve(key: str, url: str) -> None:
    """Do all of it, and have it counted."""
    start(next(variant for variant in VARIANTS if variant.key == key), SQLITE, url)
    for work, _, _, _ in WORKS:
        do(SQLITE, work, WARM)
        counted(work, lambda work=work: do(SQLITE, work, TIMES))  # type: ignore[misc]


def run(budget: Budget) -> Rows:
    if tool := missing():
        print(f"left out: {tool} is missing, it comes with valgrind")
        return Rows()
    rows = Rows(Row(what, variant.name, variant.key, variant.ours) for _, what, _, _ in WORKS for variant in VARIANTS)
    for variant in VARIANTS:
        with tempfile.TemporaryDirectory(prefix="respool-bench-") as folder:
            url = f"sqlite:///{Path(folder)}/bench.db"
            fill(url)
            found = count(__name__, variant.key, url, folder=Path(folder))
        for work, what, _, _ in WORKS:
            rows.at(what, variant.key).add({"k": found[work][0] / TIMES / 1000})
    return rows


MEASUREMENT = Measurement(
    name="instructions",
    title="What tracked objects cost, in instructions",
    text=(
        "The same on SQLite, counted by valgrind's callgrind: thousands of instructions of this process for one request, which"
        " a busy machine does not change."
    ),
    columns=(Column("k", "thousand instructions", 0),),
    compare="k",
    run=run,
    targets=tuple(
        ratio(f"{what}: at most {most:.2f} × Session", what, "k", most)
        for _, what, _, limit in WORKS
        for most in [limit_on(SQLITE, limit)]
    ),
)


if __name__ == "__main__":
    serve(*sys.argv[1:])
