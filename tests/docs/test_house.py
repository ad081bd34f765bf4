"""The picture of the house is made from the house."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.draw_house import TARGET, House, draw
from tests.docs.pages import ROOT


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the picture is made from, to build on to."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "docs" / "explanation").mkdir(parents=True)
    shutil.copy(TARGET, tmp_path / "docs" / "explanation")
    return tmp_path


def check(tree: Path) -> subprocess.CompletedProcess[str]:
    """What ``make check`` does."""
    command = [sys.executable, str(tree / "scripts" / "draw_house.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_picture_of_the_house_is_of_today() -> None:
    assert TARGET.read_text(encoding="utf-8") == draw(House.read(ROOT)), "run: python scripts/draw_house.py"


def test_the_picture_has_every_room() -> None:
    source = ROOT / "src" / "respool"
    rooms = {path.stem for path in source.iterdir() if path.is_dir() or path.suffix == ".py"} - {
        "__init__",
        "__main__",
        "__pycache__",
    }
    rooms |= {path.parent.name for path in source.glob("*/*/__init__.py")}
    assert rooms <= set(re.findall(r">(\w+)</text>", TARGET.read_text(encoding="utf-8")))


def test_what_stands_unchanged_passes(tree: Path) -> None:
    done = check(tree)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "module, line",
    [
        ("ending/tally", "import respool.pool"),
        ("ending/tally", "from respool import config"),
        ("ending/tally", "from respool import PoolConfig"),
        ("ending/tally", "if TYPE_CHECKING:\n    from respool.config import PoolConfig"),
        ("session/extra/__init__", '"""One more room."""'),
    ],
)
def test_what_is_built_on_is_noticed(tree: Path, module: str, line: str) -> None:
    file = tree / "src" / "respool" / f"{module}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text((file.read_text(encoding="utf-8") if file.exists() else "") + f"\n{line}\n", encoding="utf-8")
    if "extra" in module:  # a contract would refuse it otherwise
        project = tree / "pyproject.toml"
        project.write_text(project.read_text(encoding="utf-8").replace('"aio", "classes"', '"aio", "classes", "extra"'))
    done = check(tree)
    assert done.returncode == 1
    assert "house.svg is not of today; run: python scripts/draw_house.py" in done.stdout


#: How a class, a function or the process of somebody else's is changed.
CHANGES = re.compile(
    r"\.__class__ = |\.__init__ = look|event\.listen\((?!db)|listens_for\(|register_at_fork\(|set_default_executor\("
    r"|\b(?:app|application|worker|task|actor|function|executor|stream|limiter)\.\w+ = |\bvars\([\w.]+\)\[\"\w+\"\] = "
)


def test_whoever_changes_what_is_other_peoples_is_in_the_list() -> None:
    page = (ROOT / "docs" / "explanation" / "design.md").read_text(encoding="utf-8")
    listed = page.partition("## What it changes of other people's")[2]
    source = ROOT / "src" / "respool"
    files = [file for file in source.rglob("*.py") if "cli" not in file.parts]
    changing = {
        file.relative_to(source).as_posix() for file in files if CHANGES.search(file.read_text(encoding="utf-8"))
    }
    named = set(re.findall(r"`([\w/]+\.py)`", listed))
    assert len(changing) > 15
    assert changing - named == set()
    assert [name for name in named if not (source / name).exists() and not (ROOT / name).exists()] == []
