"""What runs the documents' examples notices when they are wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.docs.pages import Reading, blocks, wants_postgres

APP = """```python
# tiny.py
from flask import Flask

app = Flask(__name__)


@app.post("/tea")
def tea():
    return {"tea": 1}
```
"""


def read(tmp_path: Path, text: str) -> Reading:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with Reading(tmp_path) as reading:
        reading.follow(blocks(page))
    return reading


def test_what_fails_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        read(tmp_path, "```python\n1 / 0\n```\n")


def test_blocks_share_their_names_until_a_fresh_one(tmp_path: Path) -> None:
    with pytest.raises(NameError):
        read(tmp_path, "```python\na = 1\n```\n\n```python\nassert a\n```\n\n```python fresh\na\n```\n")


def test_a_block_may_await(tmp_path: Path) -> None:
    read(tmp_path, "```python\nimport asyncio\n\nprint(await asyncio.sleep(0, 7))\n```\n\n```text output\n7\n```\n")


def test_what_is_not_to_be_run_is_not(tmp_path: Path) -> None:
    read(tmp_path, "```python no-run\n1 / 0\n```\n\n```text\n1 / 0\n```\n")


@pytest.mark.parametrize(
    "shown, right", [("1\n2", True), ("1…2", True), ("1", False), ("1\n3", False), ("[12]", False)]
)
def test_other_output_than_shown_is_noticed(tmp_path: Path, shown: str, right: bool) -> None:
    text = f"```python\nprint(1)\nprint(2)\n```\n\n```text output\n{shown}\n```\n"
    if right:
        read(tmp_path, text)
    else:
        with pytest.raises(AssertionError, match=r"page.md:7 says"):
            read(tmp_path, text)


@pytest.mark.parametrize(
    "shown, right",
    [
        ("$ curl -X POST http://x:1/tea\n{'tea':1}".replace("'", '"'), True),
        ("$ curl -i -X POST http://x:1/tea\nHTTP/1.1 200 OK\n…", True),
        ("$ curl -i http://x:1/tea\nHTTP/1.1 405 METHOD NOT ALLOWED\n…", True),
        ("$ curl http://x:1/tea\n{'tea':1}".replace("'", '"'), False),
        ("$ curl -i -X POST http://x:1/tea\nHTTP/1.1 201 CREATED\n…", False),
        ("$ make coffee\nno", True),
    ],
)
def test_other_answers_than_shown_are_noticed(tmp_path: Path, shown: str, right: bool) -> None:
    text = f"{APP}\n```console\n{shown}\n```\n"
    if right:
        read(tmp_path, text)
    else:
        with pytest.raises(AssertionError, match=r"page.md:\d+ says"):
            read(tmp_path, text)


def test_a_file_can_be_added_to_and_imported(tmp_path: Path) -> None:
    one = "```python\n# one.py\nn = 1\n```\n\n```python\n# one.py, continued\nm = n + 1\n```\n"
    read(tmp_path, one + "\n```python\nfrom one import m\n\nassert m == 2\n```\n")
    assert "one" not in sys.modules


def test_nothing_stays_open(tmp_path: Path) -> None:
    text = '```python\nfrom respool import Database\n\ndb = Database("sqlite://", name="left open")\n```\n'
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with Reading(tmp_path) as reading:
        reading.follow(blocks(page))
        db = reading.names["db"]
    assert db.closed


def test_nothing_is_left_of_what_files_have_imported(tmp_path: Path) -> None:
    (tmp_path / "left_over.py").write_text("a = 1\n")
    read(tmp_path, "```python\n# importing.py\nimport left_over\n```\n")
    assert not {"left_over", "importing"} & set(sys.modules)


def test_a_file_in_a_folder_is_saved_for_the_program_that_made_it(tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    read(tmp_path, "```python\n# migrations/env.py\n1 / 0\n```\n")
    assert (tmp_path / "migrations/env.py").read_text().endswith("1 / 0\n")


def test_a_page_that_exports_the_url_of_a_postgresql_wants_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ export DATABASE_URL=postgresql+psycopg://shop@db/shop\n```\n", encoding="utf-8")
    assert wants_postgres(blocks(page))
    page.write_text("```text\n$ export DATABASE_URL=postgresql+psycopg://shop@db/shop\n```\n", encoding="utf-8")
    assert not wants_postgres(blocks(page))
