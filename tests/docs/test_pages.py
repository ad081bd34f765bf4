"""The examples in the documents run, and do what the text beside them says."""

from __future__ import annotations

from pathlib import Path

import pytest
from sanic import Sanic

from tests.docs.pages import ROOT, Reading, blocks, pages, wants_postgres


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_examples_of_a_page_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if wants_postgres(blocks(path)):
        monkeypatch.setenv("DATABASE_URL", request.getfixturevalue("pg_url"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SANIC_TOUCHUP", "no")  # else Sanic rewrites its class for this application, and for good
    monkeypatch.setattr(Sanic, "test_mode", True)  # an application of one page may be called as that of another
    with Reading(tmp_path) as reading:
        reading.follow(blocks(path))


def test_the_tutorial_in_russian_has_the_same_code() -> None:
    english, russian = (blocks(ROOT / "docs" / page) for page in ("tutorial/first-app.md", "ru/tutorial.md"))
    assert [(block.words, block.text) for block in russian] == [(block.words, block.text) for block in english]
