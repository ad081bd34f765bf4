"""What a page says to install: the package built from this tree, and empty environments with nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from pathlib import Path

from tests.docs.pages import ROOT

__all__ = ["Environment", "build", "requirements"]

_OURS = re.compile(r"^respool(?P<extras>\[[\w,]+\])?$")


def build(folder: Path) -> Path:
    """The wheel of this tree."""
    _run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT))
    (wheel,) = folder.glob("respool-*.whl")
    return wheel


def requirements(words: list[str]) -> tuple[str, ...]:
    """What an install line brings: ``pip install "respool[flask]" gunicorn``, or ``".[flask]"`` in a clone."""
    return tuple(sorted(re.sub(r"^\.(?=\[|$)", "respool", word) for word in words[2:]))


class Environment:
    """A virtual environment with what one install line brings.

    Args:
        folder: where it is made.
        wheel: of this tree; it is installed where a line says ``respool`` or ``.``.
        wanted: the requirements, as they stand on the line.
        extra: more of pip's arguments.
    """

    def __init__(self, folder: Path, wheel: Path, wanted: tuple[str, ...], extra: tuple[str, ...] = ()) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.bin = folder / ("Scripts" if sys.platform == "win32" else "bin")
        self.python = self.bin / "python"
        given = [_OURS.match(each) for each in wanted]
        exact = [
            f"respool{ours['extras'] or ''} @ {wheel.as_uri()}" if ours else each
            for each, ours in zip(wanted, given, strict=True)
        ]
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(self.python))
        _run(*pip, "install", "-q", "--no-compile", *extra, *exact)


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
