"""The types of each template's application, and of the examples, are sound for mypy and for pyright, both strict.

mypy looks at the examples in ``make check``. ``basedpyright`` brings what pyright needs to run, and has its rules.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from respool.cli.new.command import make
from respool.cli.new.frameworks import FRAMEWORKS
from tests.cli.new.test_applications import run
from tests.cli.shops import SOURCE

EXAMPLES = SOURCE.parent / "examples"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("mypy_django_plugin") is None, reason="django-stubs are not installed: make env-dev"),
]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_mypy_finds_nothing(framework: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = make("tea", framework, "sqlite", tmp_path)
    cache = tmp_path_factory.getbasetemp() / "mypy"
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(cache)]
    assert "Success" in run(folder, *command, MYPYPATH=str(SOURCE))


def pyright(folder: Path) -> str:
    """What pyright says of all projects in a folder, in one run."""
    if find_spec("basedpyright") is None:
        pytest.skip("basedpyright is not installed: make env-dev")
    each = [{"root": path.name, "extraPaths": [str(SOURCE)]} for path in sorted(folder.iterdir())]
    settings = {"typeCheckingMode": "strict", "executionEnvironments": each}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    return run(folder, sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable)


def test_pyright_finds_nothing(tmp_path: Path) -> None:
    for framework in FRAMEWORKS:
        make(f"tea_{framework}", framework, "sqlite", tmp_path)
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    assert pyright(tmp_path).endswith("0 errors, 0 warnings, 0 notes\n")


def test_pyright_finds_what_is_wrong(tmp_path: Path) -> None:
    shop = tmp_path / "tea" / "shop.py"
    shop.parent.mkdir()
    shop.write_text("from respool import Database\n\nnumber: int = Database('sqlite://').session\n", encoding="utf-8")
    with pytest.raises(AssertionError, match='Type "Session" is not assignable'):
        pyright(tmp_path)
