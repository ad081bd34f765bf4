"""Prints the constraints of an environment with the lowest versions that pyproject.toml allows to users.

What only the tests need stays as constraints.txt has it. Usage: python scripts/lowest.py
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What goes together with the lowest ones, where constraints.txt has what does not.
TOGETHER = {
    "httpx": "0.27.2",  # Starlette's test client
    "redis": "4.6.0",  # arq
}
_BOUND = re.compile(r"^(?P<name>[\w.-]+)(?:\[[\w,]+\])?>=(?P<version>[\w.]+)")


def lowest() -> dict[str, str]:
    """The lower bound of each package that an extra brings, and of SQLAlchemy."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"]]
    for extra, requirements in project["optional-dependencies"].items():
        wanted += [] if extra in ("dev", "lowest") else requirements
    bounds = (_BOUND.match(each) for each in wanted)
    return {bound["name"].lower().replace("_", "-"): bound["version"] for bound in bounds if bound}


def constraints() -> Iterator[str]:
    """All lines, for pip."""
    ours = {**lowest(), **TOGETHER}
    ours["psycopg-binary"] = ours["psycopg"]
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("==")
        if version and name.lower().replace("_", "-") not in ours:
            yield line
    yield from (f"{name}=={version}" for name, version in ours.items())


if __name__ == "__main__":
    print("\n".join(constraints()))
