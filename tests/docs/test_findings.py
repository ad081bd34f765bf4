"""There is a list of findings, and a page for each kind that there is, with what it means and what to do about it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from respool.cli.doctor import kinds as doctor
from respool.observe.findings import kinds as observed
from scripts import write_findings
from scripts.write_findings import FOLDER, TARGET, main, pages

KINDS = [*observed.KINDS.values(), *doctor.KINDS.values()]


def test_the_pages_are_of_today() -> None:
    there = {path: path.read_text(encoding="utf-8") for path in (TARGET, *FOLDER.glob("*.md"))}
    assert there == pages(), "run: python scripts/write_findings.py"


def test_every_kind_has_a_page_and_stands_in_the_list_in_order() -> None:
    listed = re.findall(r"^\| \[(\w+)\]\(findings/\1\.md\) \| `(\S+)` \|", TARGET.read_text("utf-8"), re.MULTILINE)
    assert listed == [(kind.code, kind.name) for kind in KINDS]
    for kind in KINDS:
        text = (FOLDER / f"{kind.code}.md").read_text(encoding="utf-8")
        assert text.startswith(f"# {kind.code} {kind.name}\n")
        assert text.count("\n* ") == len(kind.advice)


def test_the_check_names_what_is_old_missing_or_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, path in {"ROOT": tmp_path, "TARGET": tmp_path / "findings.md", "FOLDER": tmp_path / "findings"}.items():
        monkeypatch.setattr(write_findings, name, path)
    assert main([]) == 0
    assert main(["--check"]) == 0
    (tmp_path / "findings.md").write_text("old")
    (tmp_path / "findings" / "F001.md").unlink()
    (tmp_path / "findings" / "F999.md").touch()
    capsys.readouterr()
    assert main(["--check"]) == 1
    assert re.findall(r"^\S+", capsys.readouterr().out, re.MULTILINE) == [
        "findings/F001.md",
        "findings/F999.md",
        "findings.md",
    ]
    assert main([]) == main(["--check"]) == 0


def test_codes_and_names_are_each_of_one_kind() -> None:
    assert len({kind.code for kind in KINDS}) == len({kind.name for kind in KINDS}) == len(KINDS)
    assert all(re.fullmatch(r"[FD]\d{3}", kind.code) for kind in KINDS)
    assert all(kind.advice and kind.means.endswith(".") for kind in KINDS)
