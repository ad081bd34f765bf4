"""Source distributions: only they have the suites."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["CACHE", "NEEDS", "ROOT", "NotToBeHad", "fetch", "fetch_needs"]

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".foreign"

#: What some suites import, and the environment does not have; see ``fetch_needs``.
NEEDS = Path(__file__).with_name("needs.txt")


class NotToBeHad(Exception):
    """A package could not be fetched."""


def fetch(package: str, version: str) -> Path:
    """The unpacked source distribution of a package; fetched when it is not there yet.

    Args:
        package: as the package index spells it, in small letters.
        version: the one that is wanted.

    Raises:
        NotToBeHad: pip did not bring it.
    """
    name = f"{package.replace('-', '_')}-{version}"
    folder = _cache() / "sources"
    source = folder / name
    if (source / ".complete").exists():
        return source
    folder.mkdir(exist_ok=True)
    print(f"Fetching the source of {package} {version}, once", flush=True)
    _pip(
        ["download", "--no-deps", f"--no-binary={package}", f"--dest={folder}", f"{package}=={version}"],
        f"the source distribution of {package} {version}, which alone has its tests",
    )
    (archive,) = (found for found in folder.glob("*.tar.gz") if found.name.lower() == f"{name}.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
        unpacked = folder / tar.getnames()[0].split("/")[0]
    if unpacked != source:
        unpacked.rename(source)
    (source / ".complete").touch()
    return source


def fetch_needs() -> Path:
    """A folder with what stands in ``needs.txt``, beside the environment: that stays as it is.

    Raises:
        NotToBeHad: pip did not bring it.
    """
    folder = _cache() / "needs"
    done = folder / "needs.txt"
    wanted = NEEDS.read_text(encoding="utf-8")
    if not done.exists() or done.read_text(encoding="utf-8") != wanted:
        print(f"Fetching what stands in {NEEDS.name}, once", flush=True)
        _pip(
            ["install", "--no-deps", "--upgrade", f"--target={folder}", f"--requirement={NEEDS}"],
            f"what stands in {NEEDS.name}",
        )
        done.write_text(wanted, encoding="utf-8")
    return folder


def _cache() -> Path:
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n", encoding="utf-8")
    return CACHE


def _pip(arguments: Sequence[str], what: str) -> None:
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check", *arguments[1:]]
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise NotToBeHad(
            f"pip did not bring {what}: it ended with status {done.returncode}.\n"
            "It has to reach a package index that has it."
        )
