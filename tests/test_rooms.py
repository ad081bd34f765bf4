"""Each room can be looked over at once: it says in one sentence what belongs there, and has ten files at most."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "respool"
#: An eleventh file is a new room.
MOST = 10


def rooms(source: Path) -> dict[str, Path]:
    """All packages in the package. The demo is an application, and has rules of its own."""
    found = {path.parent.relative_to(source).as_posix(): path.parent for path in source.glob("*/**/__init__.py")}
    return {name: folder for name, folder in found.items() if name != "cli/demo"}


def files(name: str, folder: Path) -> list[str]:
    """The files of a room, but for its head. Those of ``web`` are the frameworks' besides: one for each."""
    adapters = web_adapters(folder) if name == "web" else set()
    return sorted(path.stem for path in folder.glob("*.py") if path.stem not in {"__init__", *adapters})


def web_adapters(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.py") if "\ndef install(" in path.read_text(encoding="utf-8")}


def crowded(source: Path) -> list[str]:
    """The rooms with too many files."""
    counted = {name: len(files(name, folder)) for name, folder in rooms(source).items()}
    return [f"{name}: {count} files" for name, count in counted.items() if count > MOST]


def silent(source: Path) -> list[str]:
    """The rooms that do not say in one sentence what belongs there."""
    found = []
    for name, folder in rooms(source).items():
        text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
        if not text.endswith(".") or "\n" in text or ". " in text:
            found.append(f"{name}: {text!r}")
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources, to build on to."""
    return shutil.copytree(SOURCE, tmp_path / "respool", ignore=shutil.ignore_patterns("__pycache__"))


def test_a_room_has_ten_files_at_most() -> None:
    assert crowded(SOURCE) == []


def test_a_room_says_in_one_sentence_what_belongs_there() -> None:
    assert silent(SOURCE) == []


@pytest.mark.parametrize("room", ["session", "pool/core", "web/rules", "web"])
def test_one_file_too_many_is_found(tree: Path, room: str) -> None:
    there = files(room, tree / room)
    for number in range(MOST + 1 - len(there)):
        (tree / room / f"more_{number}.py").touch()
    assert crowded(tree) == [f"{room}: {MOST + 1} files"]


@pytest.mark.parametrize(
    "text", ["", '"""Sessions"""', '"""Sessions. And what they need."""', '"""Sessions.\n\nAnd what they need.\n"""']
)
def test_a_head_that_is_no_sentence_is_found(tree: Path, text: str) -> None:
    (tree / "session" / "__init__.py").write_text(text, encoding="utf-8")
    assert [found.partition(":")[0] for found in silent(tree)] == ["session"]


def test_a_framework_more_is_no_crowd(tree: Path) -> None:
    for number in range(MOST):
        (tree / "web" / f"framework_{number}.py").write_text('"""One more."""\n\n\ndef install(app): ...\n')
    assert crowded(tree) == []
