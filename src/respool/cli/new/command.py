"""The command itself: looks whether it may, makes all files in memory, and writes them."""

from __future__ import annotations

import argparse
import keyword
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from respool.cli.new.frameworks import DATABASES, FRAMEWORKS, values
from respool.errors import ConfigError

__all__ = ["application", "make", "run"]

_SUFFIX = ".tmpl"
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
#: A package of this name in the current folder would be imported in place of another one.
_TAKEN = frozenset({
    "aiosqlite", "alembic", "asyncpg", "celery", "django", "fastapi", "flask", "gunicorn", "httpx", "httpx2", "jinja2",
    "litestar", "migrations", "msgspec", "mypy", "psycopg", "pydantic", "pytest", "respool", "ruff", "sqlalchemy",
    "starlette", "tests", "uvicorn", "werkzeug",
}) | sys.stdlib_module_names  # fmt: skip
#: Files whose name in the wheel has no dot, so that no tool takes them for its own.
_DOTTED = {"gitignore", "dockerignore"}


def run(options: argparse.Namespace) -> int:
    """Make what the command line asks for.

    Args:
        options: ``name``, ``framework``, ``database``, ``list``.

    Returns:
        0 if it was made, 1 if the file system refused, 2 if it was refused here. Then nothing was written.
    """
    if options.list:
        print("\n".join(_overview()))
        return 0
    try:
        folder = make(options.name, options.framework, options.database)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"respool new: nothing was made: {error}", file=sys.stderr)
        return 1
    print(f"{folder.name}/ is made: {FRAMEWORKS[options.framework].title}, {options.database}. What now:\n")
    print(f"  cd {folder.name}\n  make demo    # on http://127.0.0.1:8000, its pool on /respool\n  make test")
    return 0


def make(name: str | None, framework: str | None, database: str = "sqlite", where: Path | None = None) -> Path:
    """Write a new application into a folder of its name.

    Args:
        name: of the folder and of the package in it.
        framework: one of ``FRAMEWORKS``.
        database: one of ``DATABASES``, for development.
        where: in which folder; the current one when not given.

    Returns:
        the folder.

    Raises:
        ConfigError: the name or framework cannot be, or something is there already.
        OSError: the folder cannot be written to; what had been written is gone again.
    """
    if framework is None:
        raise ConfigError(
            "which framework?", advice=[f"--framework {each}" for each in FRAMEWORKS], setting="framework"
        )
    name = _checked(name)
    folder = (where or Path.cwd()) / name
    there = folder.exists() or folder.is_symlink()
    if there and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{name} exists already, and is not an empty folder; nothing was changed in it",
            advice=["take another name", "or another folder to call it from", "or move what is there away"],
            setting="name",
        )
    _write(application(name, framework, database), folder, existed=there)
    return folder


def application(name: str, framework: str, database: str) -> dict[str, str]:
    """All files of an application: its path, with slashes, and its text.

    Args:
        name, framework, database: as for :func:`make`.
    """
    given = values(name, framework, database)
    root = files("respool.cli.new").joinpath("templates")
    made = {}
    for layer in FRAMEWORKS[framework].layers:
        for path, text in _templates(root.joinpath(layer)):
            first, slash, rest = path.partition("/")
            first = name if first == "package" else f".{first}" if first in _DOTTED else first
            made[first + slash + rest] = _PLACEHOLDER.sub(lambda found: given[found[1]], text)
    return dict(sorted(made.items()))


def _templates(folder: Traversable, above: str = "") -> Iterator[tuple[str, str]]:
    for each in folder.iterdir():
        path = above + each.name
        if each.is_dir():
            yield from _templates(each, path + "/")
        elif path.endswith(_SUFFIX):
            yield path.removesuffix(_SUFFIX), each.read_text(encoding="utf-8")


def _checked(name: str | None) -> str:
    """A name that can be a folder, a package, a distribution and a database.

    Raises:
        ConfigError: it cannot.
    """
    if not name:
        raise ConfigError("what is it called?", advice=["respool new shop --framework fastapi"], setting="name")
    proposal = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789") or "shop"
    if keyword.iskeyword(proposal) or proposal in _TAKEN:
        proposal += "_app"
    if not re.fullmatch(r"[a-z](?:[a-z0-9_]*[a-z0-9])?", name) or keyword.iskeyword(name):
        why = "is no name for a Python package: small letters a-z, digits and _, a letter first, no word of Python's"
    elif len(name) > 40:
        why, proposal = "is too long: a database's name has room for 40 characters here", proposal[:40].rstrip("_")
    elif name in _TAKEN:
        why = "is the name of a package that would no longer be found"
    else:
        return name
    raise ConfigError(f"{name!r} {why}; nothing was made", advice=[f"respool new {proposal} …"], setting="name")


def _write(made: dict[str, str], folder: Path, *, existed: bool) -> None:
    """All files, or none.

    Raises:
        OSError: one could not be written; those before it are gone again.
    """
    try:
        for path, text in made.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="\n")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if existed:
            folder.mkdir(exist_ok=True)
        raise


def _overview() -> list[str]:
    return [
        "respool new NAME --framework FRAMEWORK [--database DATABASE]",
        "",
        *(
            f"  --framework {key:<10} {each.title}, {'asyncio' if each.asynchronous else 'threads'}, {each.serve[0]}"
            for key, each in FRAMEWORKS.items()
        ),
        f"  --database  {' or '.join(DATABASES)}, for development; compose.yaml is with PostgreSQL",
        "",
        "Each has models, migrations (Alembic), typed routes, tests that are rolled back, settings from the environment,",
        "a dashboard, health checks, a Dockerfile, compose.yaml, a Makefile and a README.",
    ]
