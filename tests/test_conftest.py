"""The ground that all tests stand on: coroutine tests really run, and a warning is a failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

CASES = {
    "passes": "async def test(tmp_path):\n    await asyncio.sleep(0)\n    assert tmp_path.exists()",
    "fails": "async def test():\n    await asyncio.sleep(0)\n    assert 1 == 2",
    "forgets_to_await": "async def test():\n    asyncio.sleep(0)",
    "warns": "def test():\n    warnings.warn('old', DeprecationWarning)",
    "thread_dies": "def test():\n    t = threading.Thread(target=lambda: 1 / 0)\n    t.start()\n    t.join()",
    "leaves_a_file_open": "def test():\n    open(__file__)",
    "unknown_mark": "@pytest.mark.postgress\ndef test():\n    pass",
}


@pytest.mark.parametrize("case", CASES)
def test_only_a_clean_test_passes(tmp_path: Path, case: str) -> None:
    file = tmp_path / f"test_{case}.py"
    file.write_text(f"import asyncio, threading, warnings\nimport pytest\n\n\n{CASES[case]}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", ROOT / "pyproject.toml", file],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (case == "passes"), done.stdout + done.stderr
