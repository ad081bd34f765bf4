"""The check of the documents finds what it is there to find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "check_docs.py"

ERRORS = """
class RespoolError(Exception):
    code: ClassVar[str] = "R000"

class PoolTimeout(RespoolError):
    code = "P001"
"""

PAGES = {"R000": "# R000 RespoolError\n\n## In code\n", "P001": "# P001 PoolTimeout\n\nNo connection in time.\n"}

GOOD = """# A page of *ours*: `pool`

See [an error](docs/reference/errors/P001.md), [a part](docs/reference/errors/R000.md#in-code), [above](#a-page-of-ours-pool),
[elsewhere](https://example.org/none), `[not a](link.md)` and ![a picture][drawn].

[drawn]: docs/picture.svg

```python
async with db.scope("nightly") as session:
    await session.commit()
```

```text
[not a link either](nowhere.md) def
```
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose documents are in order."""
    (tmp_path / "src" / "respool").mkdir(parents=True)
    (tmp_path / "src" / "respool" / "errors.py").write_text(ERRORS)
    (tmp_path / "docs" / "reference" / "errors").mkdir(parents=True)
    for code, text in PAGES.items():
        (tmp_path / "docs" / "reference" / "errors" / f"{code}.md").write_text(text)
    (tmp_path / "docs" / "picture.svg").touch()
    (tmp_path / "README.md").write_text(GOOD)
    return tmp_path


def check(project: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, SCRIPT, project], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_documents_in_order_pass(project: Path) -> None:
    assert check(project) == (0, "docs: 3 files, 1 Python examples, 2 error codes: all well\n")


@pytest.mark.parametrize(
    "line, problem",
    [
        ("[gone](docs/gone.md)", "README.md:17: link to docs/gone.md: there is no such file"),
        ("![gone](gone.png)", "README.md:17: link to gone.png: there is no such file"),
        ("[gone]: gone.md", "README.md:17: link to gone.md: there is no such file"),
        ("[out](../)", "README.md:17: link to ../: leads out of the project"),
        ("[no](#such-heading)", "README.md:17: link to #such-heading: README.md has no heading #such-heading"),
        ("[no](docs/reference/errors/P001.md#p009)", "P001.md has no heading #p009"),
        ("```python\nx = 1\ny = = 2\n```", "README.md:19: this example is not Python: invalid syntax"),
        ("* ```py\n  def f(\n  ```", "README.md:18: this example is not Python: '(' was never closed"),
    ],
)
def test_what_is_broken_is_named_with_its_place(project: Path, line: str, problem: str) -> None:
    readme = project / "README.md"
    readme.write_text(readme.read_text() + "\n" + line + "\n")
    status, output = check(project)
    assert status == 1
    assert problem in output
    assert output.endswith("1 problems\n")


@pytest.mark.parametrize(
    "name, text, problem",
    [
        ("P001.md", "# P001 `PoolTimeout`\n", "docs/reference/errors/P001.md: its heading is not P001 PoolTimeout"),
        ("P001.md", None, "docs/reference/errors/P001.md: there is no such file; it describes PoolTimeout"),
        ("P009.md", "# P009 Other\n", "docs/reference/errors/P009.md: there is no such error"),
    ],
)
def test_an_error_without_its_page_is_named_and_a_page_without_its_error(
    project: Path, name: str, text: str | None, problem: str
) -> None:
    page = project / "docs" / "reference" / "errors" / name
    if text is None:
        page.unlink()
        (project / "README.md").write_text("# Nothing")
    else:
        page.write_text(text)
    status, output = check(project)
    assert (status, output.splitlines()[:-1]) == (1, [problem])
