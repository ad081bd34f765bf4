"""The house is as it is drawn: who imports whom, where optional packages are known, how much stands in one place."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MODULES = sorted(SOURCE.rglob("*.py"))
#: The demo is an application: a user of frameworks like any other, with nothing in it for others to import.
LIBRARY = [file for file in MODULES if not file.is_relative_to(SOURCE / "respool" / "cli" / "demo")]
#: Where users import from.
PUBLIC = [
    *("respool", "respool.config", "respool.errors", "respool.engine", "respool.observe", "respool.pool"),
    "respool.observe.dashboard",
    *("respool.web.asgi", "respool.web.fastapi", "respool.web.litestar", "respool.web.quart", "respool.web.sanic"),
    *("respool.web.starlette", "respool.web.aiohttp"),
    *("respool.web.wsgi", "respool.web.bottle", "respool.web.flask", "respool.web.falcon", "respool.web.pyramid"),
    *("respool.web.django", "respool.testing"),
]
LINT = "from importlinter.cli import lint_imports_command as lint; lint()"


def lint(tree: Path, contract: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run import-linter on a copy of the project, in a process that has no other respool loaded."""
    only = ["--contract", contract] if contract else []
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache", "--no-logo", *only],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources and of the contracts, to plant violations in."""
    shutil.copytree(SOURCE, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_is_kept(tree: Path) -> None:
    done = lint(tree)
    contracts = len(PROJECT["tool"]["importlinter"]["contracts"])
    assert done.returncode == 0, done.stdout
    assert f"Contracts: {contracts} kept, 0 broken." in done.stdout


@pytest.mark.parametrize(
    "contract, module, line",
    [
        ("floors", "config", "import respool.pool.core.state"),
        ("floors", "pool/core/state", "from respool.session import life"),
        ("floors", "engine/urls", "import respool.session"),
        ("floors", "scope/scope", "import respool.session.life"),
        ("floors", "session/life", "from respool.ending import end"),
        ("floors", "ending/end", "from respool.database import base"),
        ("floors", "database/base", "import respool.web.asgi"),
        ("floors", "web/asgi", "import respool.cli.main"),
        ("session", "session/changes/log", "from respool.session import life"),
        ("session", "session/reads/rows", "from respool.session.transaction import work"),
        ("engine", "engine/dialects/signs", "from respool.engine.pools import fair"),
        ("engine", "engine/pools/fair", "from respool.engine.shared import pool"),
        ("pool", "pool/core/entries", "from respool.pool.drivers import clock"),
        ("no-circles", "session/changes/states", "from respool.session.changes import log"),
        ("no-circles", "scope/contracts", "if TYPE_CHECKING:\n    from respool.scope.scope import Scope"),
        ("pure-core", "pool/core/state", "import time"),
        ("pure-core", "pool/core/state", "from threading import Lock"),
        ("pure-core", "pool/core/state", "from respool.pool import threads"),  # which knows clocks and locks
        ("pure-core", "pool/core/algorithms", "import asyncio"),
        ("pure-core", "pool/core/algorithms", "import random"),
        ("without-sqlalchemy", "pool/threads", "from sqlalchemy import exc"),
        ("without-sqlalchemy", "scope/guard", "from sqlalchemy import orm"),
        ("frameworks", "web/asgi", "from respool.web import fastapi"),
        ("frameworks", "web/flask", "from respool.web import fastapi"),
        ("frameworks", "web/rules/scopes", "from respool.web import asgi"),
    ],
)
def test_a_planted_violation_is_found(tree: Path, contract: str, module: str, line: str) -> None:
    file = tree / "src" / "respool" / f"{module}.py"
    file.write_text(file.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    done = lint(tree, contract)
    assert done.returncode == 1, done.stdout
    assert "0 kept, 1 broken" in done.stdout
    if contract != "no-circles":
        assert f"respool.{module.replace('/', '.')} -> " in done.stdout


def test_a_room_that_nobody_drew_is_found(tree: Path) -> None:
    (tree / "src" / "respool" / "helpers.py").touch()
    done = lint(tree, "floors")
    assert done.returncode == 1, done.stdout
    assert "- respool.helpers\n" in done.stdout


def imports(file: Path) -> Iterator[str]:
    """The top-level names of all packages that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_an_optional_package_is_imported_in_one_place() -> None:
    always = sys.stdlib_module_names | {"respool", "sqlalchemy"}
    places: dict[str, set[str]] = defaultdict(set)
    for file in LIBRARY:
        for package in set(imports(file)) - always:
            places[package].add(str(file.relative_to(SOURCE)))
    assert {package: sorted(files) for package, files in places.items() if len(files) > 1} == {}


@pytest.mark.parametrize("room", PUBLIC)
def test_what_is_public_is_described(room: str) -> None:
    module = importlib.import_module(room)
    silent = []
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isroutine(thing) or inspect.isclass(thing):
            silent += [f"{room}.{name}{member}" for member, text in members(thing) if not text]
    assert not silent, "\n".join(silent)


def members(thing: object) -> Iterator[tuple[str, str | None]]:
    """The docstrings of a function, or of a class and its public methods and properties; these may inherit theirs."""
    yield "", thing.__doc__
    for name, value in vars(thing).items() if inspect.isclass(thing) else ():
        if not name.startswith("_") and (inspect.isroutine(value) or isinstance(value, property | classmethod)):
            yield f".{name}", inspect.getdoc(getattr(thing, name))


def test_files_and_functions_can_be_read_in_one_sitting() -> None:
    long = []
    for file in MODULES:
        text = file.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > 440:
            long.append(f"{file.relative_to(ROOT)}: {lines} lines, about 400 is the limit")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > 50:
                    long.append(f"{file.relative_to(ROOT)}:{node.lineno} {node.name}(): {lines} lines, the limit is 50")
    assert not long, "\n".join(long)
