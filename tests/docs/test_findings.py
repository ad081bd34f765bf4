"""The page of findings has an entry for each kind that there is, with what it means and what to do about it."""

from __future__ import annotations

import re

from respool.cli.doctor import kinds as doctor
from respool.observe.findings import kinds as observed
from scripts.write_findings import TARGET, page

PAGE = TARGET.read_text(encoding="utf-8")
KINDS = [*observed.KINDS.values(), *doctor.KINDS.values()]


def test_the_page_is_of_today() -> None:
    assert page() == PAGE, "run: python scripts/write_findings.py"


def test_every_kind_has_an_entry_in_order() -> None:
    assert re.findall(r'^<a id="(\w+)"></a>\n\n### \1 (\S+)$', PAGE, re.MULTILINE) == [
        (kind.code, kind.name) for kind in KINDS
    ]
    assert re.findall(r"^\| \[(\w+)\]\(#\1\) \| `(\S+)` \|", PAGE, re.MULTILINE) == [
        (kind.code, kind.name) for kind in KINDS
    ]


def test_codes_and_names_are_each_of_one_kind() -> None:
    assert len({kind.code for kind in KINDS}) == len({kind.name for kind in KINDS}) == len(KINDS)
    assert all(re.fullmatch(r"[FD]\d{3}", kind.code) for kind in KINDS)
    assert all(kind.advice and kind.means.endswith(".") for kind in KINDS)
