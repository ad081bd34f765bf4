"""Somebody's application of 50 tests on Flask-SQLAlchemy, in ``moved/before``, and what changes in it and in its tests.

``sessions``: its models stay Flask-SQLAlchemy's, and its tests are rolled back by the kit. ``alone``: nothing of
Flask-SQLAlchemy is left. Their folders have the files that differ. See docs/how-to/from-flask-sqlalchemy.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from difflib import SequenceMatcher
from pathlib import Path

import pytest

from tests.cli.shops import environment

MOVED = Path(__file__).resolve().parent / "moved"
#: So many lines may change: written anew, altered, or deleted.
MOST = 30

SUITE = "import pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', *sys.argv[1:]]))"
#: What each may not use any more, or not yet.
WITHOUT = {
    "before": "import sys; sys.modules['respool'] = None",
    "sessions": "import sys, flask_sqlalchemy.session as theirs; theirs.Session.__init__ = None",
    "alone": "import sys; sys.modules['flask_sqlalchemy'] = None",
}
PLUGINS = {"sessions": ("-p", "respool.testing.plugin")}


def tree(step: str, folder: Path) -> Path:
    """The application as it is at a step."""
    ignored = shutil.ignore_patterns("__pycache__")
    for each in dict.fromkeys(("before", step)):
        shutil.copytree(MOVED / each, folder, ignore=ignored, dirs_exist_ok=True)
    return folder


def changed(before: Path, after: Path) -> int:
    """How many lines differ between two trees; a line that is replaced by another counts once, an empty one not."""
    files = {path.relative_to(root) for root in (before, after) for path in root.rglob("*.*") if path.is_file()}
    count = 0
    for file in files:
        old, new = (
            [line for line in (root / file).read_text(encoding="utf-8").splitlines() if line.strip()]
            for root in (before, after)
        )
        for kind, first, last, start, stop in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            count += max(last - first, stop - start) if kind != "equal" else 0
    return count


@pytest.mark.slow
@pytest.mark.parametrize("step", WITHOUT)
def test_its_fifty_tests_pass(step: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{WITHOUT[step]}; {SUITE}", *PLUGINS.get(step, ())],
        cwd=tree(step, tmp_path / step),
        env={**environment(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert re.search(r"^50 passed in", done.stdout, re.MULTILINE), done.stdout + done.stderr
    assert not os.path.lexists(tmp_path / step / "instance" / "library.db"), (
        "the developer's own database is not touched"
    )


@pytest.mark.parametrize("step", ["sessions", "alone"])
def test_few_lines_are_changed(step: str, tmp_path: Path) -> None:
    assert 0 < changed(tree("before", tmp_path / "before"), tree(step, tmp_path / step)) <= MOST


def test_each_line_that_differs_is_counted(tmp_path: Path) -> None:
    before, after = (tree("before", tmp_path / name) for name in ("before", "after"))
    models = after / "library" / "models.py"
    text = models.read_text(encoding="utf-8")
    models.write_text(
        text.replace("class Tag", "# new\n\nclass Label").replace("    joined", "    since"), encoding="utf-8"
    )
    (after / "library" / "errors.py").write_text("", encoding="utf-8")
    gone = (before / "library" / "errors.py").read_text(encoding="utf-8").splitlines()
    assert changed(before, after) == 3 + sum(1 for line in gone if line.strip())
