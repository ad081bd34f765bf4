"""Where the sockets are: a folder that only this user can enter, or none."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from pathlib import Path

import pytest

from respool.cli.main import main
from respool.observe.workers import ask, places, together, workers
from respool.observe.workers.client import sweep
from respool.observe.workers.places import AVAILABLE, NotPrivate, Worker, folders, private, slug

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="this system has no such sockets")


def test_a_folder_of_ones_own_is_used(sockets: Path) -> None:
    assert private(sockets) == sockets
    assert private(sockets / "new", make=True).is_dir()


def open_to_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.chmod(0o750)


def of_somebody_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)


def a_link(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.rename(folder.with_suffix(".real"))
    folder.symlink_to(folder.with_suffix(".real"))


def a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.rmdir()
    folder.touch(0o600)


def exchangeable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.chmod(0o777)


@pytest.mark.parametrize(
    "make_it, why",
    [
        (open_to_others, r"is open to others: chmod 700"),
        (of_somebody_else, r"belongs to user \d+, not to \d+"),
        (a_link, "is a link"),
        (a_file, "is not a folder"),
        (exchangeable, r"lets everybody exchange what is in it: chmod \+t"),
    ],
)
def test_any_other_is_refused(
    sockets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], make_it: object, why: str
) -> None:
    folder = sockets / "inner"
    folder.mkdir(0o700)
    monkeypatch.setenv("RESPOOL_OBSERVE_SOCKET", str(folder))
    make_it(folder, monkeypatch)  # type: ignore[operator]
    for make in (False, True):
        with pytest.raises(NotPrivate, match=why):
            private(folder, make=make)
    with pytest.raises(NotPrivate, match=why):
        workers(folder=folder)
    assert together(folder=folder) is None
    assert main(["top", "--once"]) == 1
    assert re.search(why, capsys.readouterr().err)


def test_the_sessions_folder_comes_first_and_both_are_looked_into(
    monkeypatch: pytest.MonkeyPatch, sockets: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(sockets))
    monkeypatch.delenv("RESPOOL_OBSERVE_SOCKET")
    monkeypatch.setattr(tempfile, "tempdir", str(sockets))
    temporary = sockets / f"respool-{os.geteuid()}"
    assert places.default_folder() == sockets / "respool"
    assert folders() == []
    for folder in (sockets / "respool", temporary):
        folder.mkdir(0o700)
        (folder / "shop.1.ab.sock").touch()
    assert folders() == [sockets / "respool", temporary]
    assert [worker.path.parent for worker in workers()] == sorted(folders())
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(sockets / "missing"))
    assert places.default_folder() == temporary


def test_a_folder_of_somebody_elses_making_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch, sockets: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(sockets))
    monkeypatch.setattr(tempfile, "tempdir", str(sockets))
    (sockets / f"respool-{os.geteuid()}").mkdir(0o755)
    with pytest.raises(NotPrivate, match="open to others"):
        workers()
    (sockets / "respool").mkdir(0o700)
    (sockets / "respool" / "shop.1.ab.sock").touch()
    assert [worker.pid for worker in workers()] == [1]


def test_workers_are_found_by_application_and_number(sockets: Path) -> None:
    for name in ("shop.1.ab.sock", "shop.main.2.cd.sock", "shop.x.ab.sock", "shop.3.ab.new", "note.txt"):
        (sockets / name).touch()
    one, two = Worker("shop", 1, sockets / "shop.1.ab.sock"), Worker("shop.main", 2, sockets / "shop.main.2.cd.sock")
    assert workers() == [one, two]
    assert workers("shop") == [one]
    assert workers(pid=2) == [two]
    assert workers("shop", 2) == []


@pytest.mark.parametrize(
    "name, expected",
    [
        ("shop", "shop"),
        ("shop.main", "shop.main"),
        ("../../etc/passwd", "etc-passwd"),
        ("a\nb\0c", "a-b-c"),
        ("лавка", "python"),
        ("x" * 100, "x" * 32),
    ],
)
def test_a_name_cannot_lead_out_of_the_folder(name: str, expected: str) -> None:
    assert slug(name) == expected


def test_only_sockets_are_removed(sockets: Path) -> None:
    kept = sockets / "shop.1.ab.sock"
    kept.touch()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(sockets / "shop.2.cd.sock"))
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(sockets / "shop.3.cd.new"))
    young = sockets / "shop.3.cd.new"
    sweep(sockets)
    assert sorted(sockets.iterdir()) == [kept, young]
    os.utime(young, (1, 1))
    assert ask(workers()) == []
    sweep(sockets)
    assert list(sockets.iterdir()) == [kept]
