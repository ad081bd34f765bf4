"""What is built is what is meant: the whole house and nothing else, with SQLAlchemy as the only thing it needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from scripts.lowest import constraints

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSION = PROJECT["version"]
SOURCE = PROJECT["urls"]["Source"]
METADATA = f"respool-{VERSION}.dist-info"

#: Refuses every package that is neither Python's own nor SQLAlchemy: a machine on which nothing else is installed.
BARE = """
import importlib, sys

class Refuse:
    allowed = sys.stdlib_module_names | {"respool", "sqlalchemy", "typing_extensions"}

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in self.allowed and not top.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
for name in list(sys.modules):
    if name.partition(".")[0] not in Refuse.allowed:
        del sys.modules[name]
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as a release would build it."""
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that an installer would have put the wheel's content into."""
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


@pytest.fixture(scope="module")
def metadata(installed: Path) -> Message:
    return Parser().parsestr((installed / METADATA / "METADATA").read_text(encoding="utf-8"))


def test_it_contains_every_source_file_and_nothing_else(installed: Path) -> None:
    built = {path.relative_to(installed).as_posix() for path in (installed / "respool").rglob("*") if path.is_file()}
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src/respool"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git clone")
    source = {name.removeprefix("src/") for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    assert built == source
    assert "respool/py.typed" in built


def test_it_contains_every_floor_and_no_tests(installed: Path) -> None:
    rooms = [{path.relative_to(top) for path in top.rglob("__init__.py")} for top in (ROOT / "src", installed)]
    assert rooms[0] == rooms[1]
    assert {path.name for path in installed.iterdir()} == {"respool", METADATA}


def test_sqlalchemy_is_all_that_it_requires(metadata: Message) -> None:
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert required == ["sqlalchemy<2.2,>=2.0.41"]


def test_its_licence_comes_along(metadata: Message, installed: Path) -> None:
    assert metadata["License-Expression"] == "MIT"
    (licence,) = metadata.get_all("License-File", [])
    text = (installed / METADATA / "licenses" / licence).read_text(encoding="utf-8")
    assert text.startswith("MIT License")


def test_every_link_of_its_long_description_is_absolute_and_leads_to_something(metadata: Message) -> None:
    text = metadata.get_payload()
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)\s]+)\)", prose)
    assert len(links) > 30
    for image, link in links:
        start = f"{SOURCE}/{'raw' if image else 'blob'}/v{VERSION}/"
        assert link.startswith((start, "#")), link
        assert link.startswith("#") or (ROOT / link.removeprefix(start).partition("#")[0]).is_file(), link
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert prose.count("](") == re.sub(r"^```.*?^```$", "", readme, flags=re.MULTILINE | re.DOTALL).count("](")
    assert re.findall(r"^```.*?^```$", text, re.M | re.S) == re.findall(r"^```.*?^```$", readme, re.M | re.S)


def test_its_addresses_are_of_one_repository(metadata: Message) -> None:
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL", []))
    assert urls.keys() == {"Source", "Documentation", "Changelog", "Issues"}
    for url in urls.values():
        assert url == SOURCE or url.startswith(f"{SOURCE}/")
        page = re.fullmatch(rf"{SOURCE}/blob/main/(.+)", url)
        assert page is None or (ROOT / page[1]).is_file()


def test_what_it_makes_new_leads_there_too(installed: Path) -> None:
    readme = (installed / "respool/cli/new/templates/shared/README.md.tmpl").read_text(encoding="utf-8")
    assert f"[respool]({SOURCE})" in readme


def test_it_is_cited_as_what_it_is() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["title"], cited["version"], cited["license"]) == ("respool", VERSION, PROJECT["license"])
    assert (cited["repository-code"], cited["abstract"]) == (SOURCE, PROJECT["description"])


def test_the_changelogs_first_part_is_of_this_version() -> None:
    heading = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert heading
    assert heading[1] == f"Unreleased: {VERSION}" or re.fullmatch(rf"{VERSION} \(\d{{4}}-\d\d-\d\d\)", heading[1])


def test_each_python_that_it_is_classified_for_is_one_of_the_tests() -> None:
    named = {each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", each)}
    first = PROJECT["requires-python"].removeprefix(">=")
    tried = re.search(
        r"^for version in (.+); do$", (ROOT / "scripts/pythons").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert tried
    assert first in named
    assert named <= {first, *tried[1].split()}


def test_the_issue_templates_can_be_read() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert form.keys() == {"blank_issues_enabled"} or form.keys() == {"name", "description", "labels", "body"}
        for each in form.get("body", ()):
            assert each["type"] in {"markdown", "textarea"}
            for page in re.findall(r"blob/main/([^)\s]+)|(docs/\S+\.md)", str(each)):
                assert (ROOT / "".join(page)).is_file()


@pytest.mark.parametrize(
    "module",
    ["respool", "respool.pool", "respool.engine", "respool.session", "respool.testing", "respool.observe", "respool.web.asgi",
     "respool.web.wsgi", "respool.cli.main"],
)  # fmt: skip
def test_it_imports_where_nothing_else_is_installed(installed: Path, module: str) -> None:
    script = f"{BARE}\nprint(importlib.import_module({module!r}).__file__)"
    done = run(installed, "-W", "error", "-c", script)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed)


@pytest.mark.parametrize("module", ["respool", "respool.pool", "respool.web.asgi", "respool.web.wsgi"])
def test_it_imports_where_there_is_no_fork(installed: Path, module: str) -> None:
    windows = "import os; del os.fork, os.register_at_fork"
    script = f"{windows}\n{BARE}\nprint(importlib.import_module({module!r}).__file__)"
    done = run(installed, "-W", "error", "-c", script)
    assert done.returncode == 0, done.stderr


def test_the_command_runs_where_nothing_else_is_installed(installed: Path) -> None:
    script = f"{BARE}\nfrom respool.cli.main import main\nsys.exit(main(['--help']))"
    done = run(installed, "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: respool")


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=installed, env=environment, capture_output=True, text=True, check=False
    )


def test_the_lowest_versions_are_what_the_tests_of_these_can_have() -> None:
    """What an environment of the lowest versions is asked for beside the users' own may not want more than these."""
    pinned = dict(line.split("==") for line in constraints() if "==" in line)
    wanted = [each for each in map(Requirement, PROJECT["optional-dependencies"]["lowest"]) if each.name in pinned]
    assert [str(each) for each in wanted if not each.specifier.contains(pinned[each.name])] == []
    assert wanted
