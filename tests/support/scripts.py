"""Programs in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["run_script"]


def run_script(folder: Path, text: str, *arguments: str) -> Any:
    """Run a program in a folder, where it is called ``shop.py``; returns the list that a line of its output is in JSON."""
    (folder / "shop.py").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "shop.py", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    told = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert told, f"{done.stdout}\n{done.stderr}"
    return json.loads(told[-1])
