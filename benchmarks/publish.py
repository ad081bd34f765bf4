"""Keeps what a command has measured, and writes the page of all that is kept, with its plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import plots, report

__all__ = ["publish"]

ROOT = Path(__file__).resolve().parent.parent

#: The files of the commands, in the order of the page.
RUNS = ("applications", "correctness", "latest")


def publish(name: str, results: dict[str, Any], out: Path | None, *, whole: bool) -> None:
    """Write what was measured, and the page.

    Args:
        name: of the file in ``benchmarks/results/``.
        results: plain values.
        out: where ``benchmarks/results/`` and ``docs/`` are; by default the project's folder for a whole run.
        whole: whether all was measured, and not only quickly.
    """
    root = out or (ROOT if whole else None)
    if root is None:
        print("Nothing is written for a part or a quick run; --out DIR says where to.")
        return
    folder, images = root / "benchmarks" / "results", root / "docs" / "images"
    for made in (folder, images):
        made.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    kept = [folder / f"{run}.json" for run in RUNS]
    runs = [json.loads(path.read_text()) for path in kept if path.exists()]
    pictures: dict[str, str] = {}
    for run in runs:
        pictures |= plots.draw(run, images)
    (root / "docs" / "benchmarks.md").write_text(report.page(runs, pictures))
    print(f"Written: {folder / name}.json, {root / 'docs' / 'benchmarks.md'}, {', '.join(pictures.values())}")
