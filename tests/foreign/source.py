"""SQLAlchemy's source distribution: only that has the suite."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

__all__ = ["CACHE", "ROOT", "NotToBeHad", "fetch"]

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".foreign"


class NotToBeHad(Exception):
    """The source distribution could not be fetched."""


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
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary=sqlalchemy", f"--dest={folder}", f"sqlalchemy=={version}"]
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise NotToBeHad(
            f"pip did not bring the source distribution of SQLAlchemy {version}: it ended with status {done.returncode}.\n"
            "SQLAlchemy's own tests are only in there: pip has to reach a package index that has it."
        )
    (archive,) = folder.glob("[sS][qQ][lL][aA]lchemy-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
        unpacked = folder / tar.getnames()[0].split("/")[0]
    if unpacked != source:
        unpacked.rename(source)
    (source / ".complete").touch()
    return source
