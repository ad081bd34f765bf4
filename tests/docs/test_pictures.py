"""The pictures are of today, say in words what they show, and can be read on light and on dark."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from respool import ObjectState, SessionPhase
from respool.pool.core.entries import MOVES, EntryState
from scripts import draw_states, draw_ways
from scripts.draw_states import PICTURES
from scripts.drawing import DARK
from tests.docs.pages import ROOT
from tests.docs.wire import record

FOLDER = ROOT / "docs" / "explanation"
DRAWN = sorted(FOLDER.glob("*.svg"))


def words(name: str) -> list[str]:
    """What is written on a picture."""
    return [html.unescape(text) for text in re.findall(r">([^<]+)</text>", (FOLDER / f"{name}.svg").read_text("utf-8"))]


@pytest.mark.parametrize("name", PICTURES)
def test_the_picture_of_the_states_is_of_today(name: str) -> None:
    assert (FOLDER / f"{name}.svg").read_text(encoding="utf-8") == PICTURES[name]().draw()


def test_the_pictures_of_the_ways_are_of_today() -> None:
    assert {path: path.read_text(encoding="utf-8") for path in draw_ways.pictures()} == draw_ways.pictures()


@pytest.mark.parametrize("name, states", [("states", EntryState), ("session", SessionPhase), ("objects", ObjectState)])
def test_every_state_is_on_its_picture(name: str, states: type) -> None:
    assert {state.name for state in states} <= set(words(name))  # type: ignore[attr-defined]
    assert name != "states" or set(MOVES) <= set(words(name))


def test_what_is_drawn_of_a_session_and_its_objects_is_what_happens() -> None:
    """What leads from where to where is tried; some of it is known for certain."""
    phase, state = SessionPhase, ObjectState
    session, objects = (PICTURES[name]().moves for name in ("session", "objects"))
    assert session[phase.CREATED, phase.WORKING] == "a statement"
    assert session[phase.WORKING, phase.COMMITTED] == "commit"
    assert session[phase.CLOSED, phase.REMOVED] == "the scope's end"
    assert objects[state.TRANSIENT, state.PENDING] == "add"
    assert objects[state.DELETED, state.PERSISTENT] == "rollback"
    assert (state.PENDING, state.DETACHED) not in objects


def test_the_recording_is_what_postgresql_is_told(pg_url: str) -> None:
    recorded = json.loads(draw_ways.RECORDED.read_text(encoding="utf-8"))
    assert recorded == record(pg_url), "run: python -m tests.docs.wire URL; then: python scripts/draw_ways.py"


def test_a_way_that_is_not_gone_is_not_drawn() -> None:
    seen = [("respool/scope/scope.py", "require_usable"), ("respool/pool/core/circulation.py", "take")]
    way = {"take a connection": seen[1], "may it be used here?": seen[0]}
    with pytest.raises(ValueError, match=r"does not pass require_usable\(\) of respool/scope/scope\.py"):
        draw_ways.stations(way, seen)


@pytest.mark.parametrize("script", [draw_states, draw_ways], ids=lambda script: script.__name__)
def test_the_check_names_a_picture_that_is_old(
    script: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script, "FOLDER", tmp_path)
    monkeypatch.setattr(draw_states.logging, "disable", lambda level: None)
    main = script.main  # type: ignore[attr-defined]
    assert main([]) == main(["--check"]) == 0
    old = sorted(tmp_path.glob("*.svg"))[0]
    old.write_text("old")
    capsys.readouterr()
    assert main(["--check"]) == 1
    assert capsys.readouterr().out.startswith(f"{old.name} is not of today")


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.stem)
def test_a_picture_is_told_in_words_and_has_a_dark_side(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    told = re.search(r'role="img"\s+aria-label="([^"]+)"', text)
    assert told
    assert len(told[1]) > 40
    assert "@media (prefers-color-scheme: dark)" in text
    used = set(re.findall(r'(?:fill|stroke)="(#\w+)"', re.sub(r"<style>.*?</style>", "", text)))
    assert used <= set(DARK), "a colour that stays as it is in the dark"


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.stem)
def test_a_page_shows_it_with_an_alternative(path: Path) -> None:
    shown = [
        alt
        for page in (ROOT / "docs").rglob("*.md")
        for alt in re.findall(rf"!\[([^\]]*)\]\((?:[\w./-]*/)?{path.name}\)", page.read_text(encoding="utf-8"))
    ]
    assert shown
    assert all(len(alt) > 40 for alt in shown)


@pytest.mark.parametrize("ground", ["#ffffff", "#eef3f8", "#dafbe1", "#fff1c2"])
@pytest.mark.parametrize("ink", ["#1f2328", "#57606a", "#0550ae"])
def test_what_is_written_can_be_read_on_each_ground(ink: str, ground: str) -> None:
    for dark in (False, True):
        colours = [DARK[each] if dark else each for each in (ink, ground)]
        light, deep = sorted(map(_luminance, colours), reverse=True)
        assert (light + 0.05) / (deep + 0.05) >= 4.5, (colours, dark)


def _luminance(colour: str) -> float:
    """As WCAG has it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
