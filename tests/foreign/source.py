"""SQLAlchemy's source distribution, which has the suite, and an interpreter that has the version it belongs to."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
from importlib.metadata import version as installed_version
from pathlib import Path

__all__ = ["CACHE", "ROOT", "NotToBeHad", "fetch", "interpreter"]

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".foreign"

#: What the suite needs beside SQLAlchemy, when it gets an environment of its own.
REQUIREMENTS = ["pytest", "pytest-timeout", "greenlet", "aiosqlite", "asyncpg", "psycopg[binary]"]


class NotToBeHad(Exception):
    """The suite, or what it needs, could not be installed."""


def fetch(version: str) -> Path:
    """The unpacked source distribution of an SQLAlchemy version; fetched when it is not there yet.

    Raises:
        NotToBeHad: pip did not bring it.
    """
    folder = CACHE / version
    source = folder / f"sqlalchemy-{version}"
    if (source / ".complete").exists():
        return source
    folder.mkdir(parents=True, exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n", encoding="utf-8")
    print(f"Fetching the source of SQLAlchemy {version}, once", flush=True)
    _pip(
        sys.executable, "download", "--no-deps", "--no-binary=sqlalchemy", f"--dest={folder}", f"sqlalchemy=={version}"
    )
    (archive,) = folder.glob("[sS][qQ][lL][aA]lchemy-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
        unpacked = folder / tar.getnames()[0].split("/")[0]
    if unpacked != source:
        unpacked.rename(source)
    (source / ".complete").touch()
    return source


def interpreter(version: str) -> Path:
    """The Python that has this SQLAlchemy: the running one, or that of a virtual environment made for it.

    Raises:
        NotToBeHad: pip did not bring what belongs into the environment.
    """
    if version == installed_version("sqlalchemy"):
        return Path(sys.executable)
    folder = CACHE / version / "venv"
    python = folder / "bin" / "python"
    stamp = folder / ".complete"
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != pins:
        print(f"Making an environment with SQLAlchemy {version}, once", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        limits = folder / "constraints.txt"
        others = [line for line in pins.splitlines() if not line.lower().startswith("sqlalchemy==")]
        limits.write_text("\n".join(others) + "\n", encoding="utf-8")
        _pip(python, "install", f"--constraint={limits}", f"sqlalchemy=={version}", *REQUIREMENTS)
        stamp.write_text(pins, encoding="utf-8")
    return python


def _pip(python: str | Path, command: str, *arguments: str) -> None:
    options = ["--quiet", "--disable-pip-version-check"]
    done = subprocess.run([python, "-m", "pip", command, *options, *arguments], check=False)
    if done.returncode:
        raise NotToBeHad(
            f"pip {command} {' '.join(arguments)} ended with status {done.returncode}.\n"
            "SQLAlchemy's own tests are only in its source distribution: pip has to reach a package index that has it."
        )
