"""What can be told of the pages without an environment: each says what to install, and how to start what it asks."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, commands, serves
from tests.fresh.__main__ import found, installed
from tests.fresh.environments import requirements

#: What our own commands need.
_EXTRAS = {"respool demo": "demo", "respool top": "cli"}


def brings(wanted: tuple[str, ...], extra: str) -> bool:
    """Whether an install line has this extra of ours."""
    return any(re.search(rf"^respool\[(.*,)?{extra}(,.*)?\]$", each) for each in wanted)


@pytest.mark.parametrize("page", found(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_that_asks_a_server_says_how_to_start_it_and_what_to_install(page: Path, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    started = False
    for block in blocks(page):
        if block.file is not None:
            (tmp_path / block.file).parent.mkdir(exist_ok=True)
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        for command, _ in commands(block.text) if block.words == ("console",) else ():
            words = shlex.split(command)
            started = started or serves(words, tmp_path)
            assert words[0] != "curl" or started, f"{block}: nothing was started before {command}"
            extra = _EXTRAS.get(" ".join(words[:2]))
            assert extra is None or brings(installed(blocks(page)), extra), (
                f"{block}: respool[{extra}] is not installed"
            )
    if started:
        assert installed(blocks(page)) != ("respool",), "a page with a server says what to install"


@pytest.mark.parametrize(
    "line, wanted",
    [
        ('pip install "respool[flask]" gunicorn', ("gunicorn", "respool[flask]")),
        ('pip install ".[flask]"', ("respool[flask]",)),
        ("pip install .", ("respool",)),
        ("pip install respool click", ("click", "respool")),
    ],
)
def test_an_install_line_in_a_clone_is_the_same(line: str, wanted: tuple[str, ...]) -> None:
    assert requirements(shlex.split(line)) == wanted
