"""Whatever is public is documented: names, modules, options, commands, variables, keys, fixtures, logs, and each symptom."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import Any

import pytest

from respool import PoolConfig
from respool.observe.workers.places import VARIABLE
from respool.testing import plugin
from scripts.write_commands import SHOWN, TARGET, commands, options, page
from tests.docs.pages import ROOT, blocks

SOURCE = ROOT / "src" / "respool"
REFERENCE = ROOT / "docs" / "reference"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@cache
def prose() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in PAGES)


@cache
def named() -> set[str]:
    """Each word that a page has in ticks, or gives a value to."""
    ticked = " ".join(re.findall(r"`([^`\n]+)`", prose()))
    return {*re.findall(r"\w+", ticked), *re.findall(r"\b(\w+)=", prose())}


def api() -> dict[str, list[str]]:
    """The modules of the API page, and what it shows of each."""
    text = (REFERENCE / "api.rst").read_text(encoding="utf-8")
    shown = {}
    for module, how in re.findall(r"^\.\. automodule:: (\S+)\n((?:   :.*\n)*)", text, re.MULTILINE):
        members = re.search(r":members: (.+)", how)
        shown[module] = members[1].split(", ") if members else list(importlib.import_module(module).__all__)
    for module, name in re.findall(r"^\.\. autoclass:: (\S+)\.(\w+)\n", text, re.MULTILINE):
        shown.setdefault(module, []).append(name)
    return shown


# -- names ------------------------------------------------------------------------------------------------------------


def imported() -> Iterator[tuple[str, str, str]]:
    """What the examples of the pages import of ours: module, name, and on which page."""
    for path in PAGES:
        for block in blocks(path):
            for module, names in re.findall(r"^\s*from (respool[\w.]*) import (\([^)]*\)|[^\n#]+)", block.text, re.M):
                for name in re.findall(r"(\w+)(?: as \w+)?", names):
                    yield module, name, path.relative_to(ROOT).as_posix()


def test_what_the_pages_import_is_in_the_api() -> None:
    shown = api()
    rooms = {module.rpartition(".")[0] for module in shown}
    missing = {
        f"{place}: from {module} import {name}"
        for module, name, place in imported()
        if name not in shown.get(module, ()) and not (module in rooms and f"{module}.{name}" in shown)
        if not module.startswith(("respool_", "respool.cli."))
    }
    # a constant, which the page itself explains
    assert missing == {"docs/how-to/a-framework-of-your-own.md: from respool.web.rules.overload import OVERLOAD"}


def test_every_framework_and_every_library_of_jobs_is_in_the_api() -> None:
    there = {f"respool.{room}.{path.stem}" for room in ("web", "jobs") for path in (SOURCE / room).glob("[a-z]*.py")}
    installing = {name for name in there if "install" in getattr(importlib.import_module(name), "__all__", ())}
    assert len(installing) == 17
    assert installing - set(api()) == set()


def ours(module: str, name: str) -> Iterator[tuple[str, Any, str]]:
    """A public thing and its public methods, with what is said of each; without what SQLAlchemy's classes have."""
    thing = getattr(importlib.import_module(module), name)
    if not getattr(thing, "__module__", "").startswith("respool"):
        return
    if not inspect.isclass(thing):
        yield name, thing, thing.__doc__ or ""
    elif not issubclass(thing, Exception | Enum):
        bases = [each for each in thing.__mro__ if each.__module__.startswith("respool")]
        others = [each for each in thing.__mro__ if each not in bases]
        said = " ".join(
            filter(None, (getattr(value, "__doc__", "") for each in bases for value in vars(each).values()))
        )
        yield name, thing, f"{thing.__doc__} {said}"
        for each in bases:
            for key, value in vars(each).items():
                if not key.startswith("_") and not any(hasattr(other, key) for other in others):
                    yield f"{name}.{key}", getattr(value, "__func__", value), said


def test_every_option_of_a_public_name_is_told() -> None:
    """Those that are given by their names: on a page, or in a docstring."""
    silent = []
    for module, names in api().items():
        for name in names:
            for label, thing, said in ours(module, name):
                try:
                    parameters = inspect.signature(thing).parameters.values() if callable(thing) else ()
                except ValueError:
                    continue
                told = named() | set(re.findall(r"\w+", said))
                silent += [
                    f"{module}.{label}: {each.name}"
                    for each in parameters
                    if each.kind is each.KEYWORD_ONLY and not each.name.startswith("_") and each.name not in told
                ]
    assert silent == []


# -- commands ---------------------------------------------------------------------------------------------------------


def test_the_page_of_commands_is_of_today() -> None:
    assert TARGET.read_text(encoding="utf-8") == page(), "run: python scripts/write_commands.py"


@pytest.mark.parametrize("command", commands())
def test_every_option_of_a_command_is_there(command: str) -> None:
    section = TARGET.read_text("utf-8").partition(f"\n## respool {command}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| .* \| (.+) \|$", section, re.MULTILINE)[1:]
    told = {name for cell, _ in rows for name in re.findall(r"`(-*[\w-]+|\{[^}]*\})", cell)}
    taken: set[str] = set()
    for action in options(commands()[command][1]):
        alone = f"{{{','.join(action.choices)}}}" if action.choices else str(action.metavar)
        taken |= set(action.option_strings) or {alone}
        assert action.help is not argparse.SUPPRESS
        assert action.help
    assert told == taken


@pytest.mark.parametrize("command", commands())
def test_a_command_is_shown_at_work(command: str) -> None:
    assert f"respool {command}" in (REFERENCE / SHOWN[command]).resolve().read_text(encoding="utf-8")


# -- variables, keys, fixtures, logs ----------------------------------------------------------------------------------


def sources() -> Iterator[str]:
    yield from (path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))


def section(heading: str) -> str:
    found = (REFERENCE / "settings.md").read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2]
    return found.partition("\n## ")[0]


def test_every_variable_of_the_environment_is_there_and_no_other() -> None:
    text = "\n".join(sources())
    read = {*re.findall(r'os\.environ(?:\.get\(|\[)"(\w+)"', text), *re.findall(r'"(\w+)" in os\.environ', text)}
    read |= {f"RESPOOL_{name}" for name in re.findall(r'prefix \+ "(\w+)"', text)}
    read |= {f"RESPOOL_{name.upper()}" for name in PoolConfig.names()}
    assert set(re.findall(r"os\.environ\.get\(([A-Z_]+)[,)]", text)) == {"VARIABLE"}
    rows = re.findall(r"^\| (`.+?`) \| ", section("Variables"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == read | {VARIABLE}


def test_every_key_of_a_configuration_is_there_and_no_other() -> None:
    text = "\n".join(sources())
    read = set(re.findall(r'config\.get\("([A-Z_]+)"|getattr\(settings, "([A-Z_]+)"', text))
    rows = re.findall(r"^\| (`.+?`) \| ", section("In a framework's configuration"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == {name for pair in read for name in pair if name}


def test_every_fixture_is_told() -> None:
    text = (ROOT / "docs" / "how-to" / "testing.md").read_text(encoding="utf-8")
    assert [name for name in plugin.__all__ if f"`{name}`" not in text] == []


def test_every_log_is_told() -> None:
    logs = {name for text in sources() for name in re.findall(r'getLogger\("(respool[\w.]*)"\)', text)}
    text = (ROOT / "docs" / "how-to" / "logging.md").read_text(encoding="utf-8")
    assert len(logs) >= 4
    assert sorted(name for name in logs if f"`{name}`" not in text) == []
