"""``import respool`` is quick: what a name needs is loaded when the name is used, and nobody can tell."""

from __future__ import annotations

import subprocess
import sys

import pytest

import respool
import respool.observe


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["respool", "respool.observe", "respool.observe.workers", "respool.cli.main"])
def test_importing_it_loads_little(module: str) -> None:
    loaded = "[name for name in ('sqlalchemy', 'asyncio', 'importlib.metadata') if name in sys.modules]"
    assert run(f"import sys, {module}; print({loaded})") == "[]"


@pytest.mark.parametrize("module", [respool, respool.observe], ids=lambda module: module.__name__)
def test_every_name_is_there(module: object) -> None:
    name = module.__name__  # type: ignore[attr-defined]
    assert run(f"import {name} as it; print(all(hasattr(it, name) for name in it.__all__))") == "True"
    assert run(f"from {name} import *; print({module.__all__[0]} is not None)") == "True"  # type: ignore[attr-defined]
    assert set(module.__all__) <= set(dir(module))  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        module.nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize("room", ["config", "database", "engine", "errors", "pool", "scope", "session"])
def test_the_rooms_need_no_import_of_their_own(room: str) -> None:
    assert run(f"import respool; print(respool.{room}.__name__)") == f"respool.{room}"
