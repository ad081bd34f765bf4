"""Counts instructions with valgrind, in a process of its own: they are the same however busy the machine is."""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["count", "counted", "counting", "missing"]

ROOT = Path(__file__).parents[1]


def missing() -> str | None:
    """The tool that is not there, if one is not."""
    return next((tool for tool in ("valgrind", "callgrind_control") if shutil.which(tool) is None), None)


def count(module: str, *arguments: str, folder: Path, seed: int = 0) -> dict[str, list[int]]:
    """Run a module whose work calls :func:`counted`; the counts by label, in order.

    Args:
        module: run as ``python -m module arguments…``.
        folder: an empty one, for what valgrind writes.
        seed: of hashes; where things lie in memory makes a percent.
    """
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder / 'counted'}"]
    command += [sys.executable, "-m", module, *arguments]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "PYTHONHASHSEED": str(seed)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} has failed:\n{done.stdout}{done.stderr}")
    found: dict[str, list[int]] = {}
    for part in sorted(folder.glob("counted.*[0-9]"), key=lambda path: int(path.suffix[1:])):
        written = part.read_text()
        label, total = re.search(r"Trigger: dump (\w+)", written), re.search(r"totals: (\d+)", written)
        if label is not None and total is not None:
            found.setdefault(label[1], []).append(int(total[1]))
    return found


def counted(label: str, work: Callable[[], object]) -> None:
    """In the process that valgrind watches: have the instructions of some work counted, and written down."""
    with counting(label):
        work()


@contextmanager
def counting(label: str) -> Iterator[None]:
    """The same for a block."""
    gc.collect()
    gc.freeze()  # when all that there is is looked through once more is a matter of chance
    _control("-i", "on")
    yield
    _control("-i", "off")
    _control("-d", label)


def _control(*what: str) -> None:
    done = subprocess.run(["callgrind_control", *what, str(os.getpid())], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
