"""What ``respool new`` writes, and what it refuses to write."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from respool.cli.main import build_parser, main
from respool.cli.new.command import application, make
from respool.cli.new.frameworks import DATABASES, FRAMEWORKS
from respool.errors import ConfigError
from tests.cli.shops import environment

KINDS = [(framework, database) for framework in FRAMEWORKS for database in DATABASES]
each_kind = pytest.mark.parametrize("framework, database", KINDS)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@each_kind
def test_all_files_are_whole(framework: str, database: str) -> None:
    made = application("tea_shop", framework, database)
    for path, text in made.items():
        assert "{{" not in text, path
        assert text.endswith("\n"), path
        assert not text.endswith("\n\n"), path
        if path.endswith(".py"):
            compile(text, path, "exec")
    assert {
        *(".gitignore", ".dockerignore", "Dockerfile", "Makefile", "README.md", "alembic.ini", "compose.yaml"),
        *(
            "pyproject.toml",
            "migrations/env.py",
            "migrations/script.py.mako",
            "tests/conftest.py",
            "tests/test_shop.py",
        ),
        *("tea_shop/__init__.py", "tea_shop/config.py", "tea_shop/database.py", "tea_shop/models.py"),
    } <= made.keys()
    others = re.findall(r"from shop\b|import shop\b|\bshop/|\bshop\.(?:app|seed|wsgi|db)", "".join(made.values()))
    assert others == [], "the name of another application"


@each_kind
def test_all_files_are_in_good_style(framework: str, database: str, tmp_path: Path) -> None:
    folder = make("zebra", framework, database, tmp_path)  # sorted behind all packages that it imports
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "."],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


@each_kind
def test_what_is_not_python_can_be_read(framework: str, database: str) -> None:
    made = application("tea", framework, database)
    project = tomllib.loads(made["pyproject.toml"])["project"]
    assert project["name"] == "tea"
    (ours,) = [each for each in project["dependencies"] if each.startswith("respool")]
    assert {framework, "postgresql"} <= set(re.split(r"[\[\],]", ours))
    services = yaml.safe_load(made["compose.yaml"])["services"]
    assert services.keys() == {"database", "migrations", "web"}
    assert services["web"]["environment"]["DATABASE_URL"] == "postgresql://tea:tea@database:5432/tea"
    assert re.search(r'^CMD \["(uvicorn|gunicorn)", .*"0\.0\.0\.0', made["Dockerfile"], re.MULTILINE)


@each_kind
def test_the_readme_names_files_that_are_there(framework: str, database: str) -> None:
    made = application("tea", framework, database)
    table = made["README.md"].partition("## What is where")[2]
    named = re.findall(r"`([\w/.]+)`", table.partition("After a change")[0])
    assert len(named) > 8
    for name in named:
        assert any(path == name or path.startswith(name) for path in made), name


def test_it_says_what_now(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "shop", "--framework", "flask"]) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    assert "cd shop\n  make demo" in output
    assert (here / "shop" / "shop" / "app.py").is_file()


def test_an_empty_folder_is_taken(here: Path) -> None:
    (here / "shop").mkdir()
    make("shop", "fastapi")
    assert (here / "shop" / "README.md").is_file()


def test_a_folder_with_something_in_it_is_left_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "shop").mkdir()
    (here / "shop" / ".keep").touch()
    assert main(["new", "shop", "--framework", "flask"]) == 2
    assert "shop exists already" in capsys.readouterr().err
    assert [path.name for path in (here / "shop").iterdir()] == [".keep"]


@pytest.mark.parametrize("what", ["file", "link"])
def test_what_is_no_folder_is_left_alone(here: Path, what: str) -> None:
    (here / "shop").symlink_to("nowhere") if what == "link" else (here / "shop").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="shop exists already"):
        make("shop", "flask")
    assert not (here / "nowhere").exists()
    assert what == "link" or (here / "shop").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    "name, proposal",
    [
        *(("my-shop", "my_shop"), ("Shop", "shop"), ("1shop", "shop"), ("a/b", "a_b"), ("..", "shop"), ("café", "caf")),
        *(("class", "class_app"), ("json", "json_app"), ("tests", "tests_app")),
        *(("respool", "respool_app"), ("shop_", "shop"), ("s" * 41, "s" * 40), ("", "shop"), ("shop\n", "shop")),
    ],
)
def test_a_name_that_cannot_be_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], name: str, proposal: str
) -> None:
    assert main(["new", name, "--framework", "flask"]) == 2
    assert f"respool new {proposal} " in capsys.readouterr().err
    assert list(here.iterdir()) == []
    make(proposal, "flask")


def test_without_a_framework_it_says_which_there_are(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "shop"]) == 2
    errors = capsys.readouterr().err
    assert all(f"--framework {each}" in errors for each in FRAMEWORKS)
    assert list(here.iterdir()) == []


def test_the_list(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "--list"]) == 0
    output = capsys.readouterr().out
    assert all(f"--framework {each}" in output for each in FRAMEWORKS)
    assert all(each in output for each in DATABASES)
    assert list(here.iterdir()) == []


def test_the_command_line_knows_all_that_there_is() -> None:
    for framework, database in KINDS:
        chosen = build_parser().parse_args(["new", "shop", "--framework", framework, "--database", database])
        assert (chosen.framework, chosen.database) == (framework, database)


@pytest.mark.parametrize("existed", [False, True])
def test_nothing_is_left_when_the_disk_is_full(here: Path, monkeypatch: pytest.MonkeyPatch, existed: bool) -> None:
    write, written = Path.write_text, []

    def until_it_is_full(path: Path, *arguments: object, **options: object) -> None:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        write(path, *arguments, **options)  # type: ignore[arg-type]
        written.append(path)

    if existed:
        (here / "shop").mkdir()
    monkeypatch.setattr(Path, "write_text", until_it_is_full)
    assert main(["new", "shop", "--framework", "flask"]) == 1
    assert len(written) == 3
    assert [path.name for path in here.rglob("*")] == (["shop"] if existed else [])


def test_it_needs_no_framework(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "for name in ('fastapi', 'flask', 'litestar', 'django', 'alembic', 'sqlalchemy'): sys.modules[name] = None\n"
        "from respool.cli.new.command import application; application('shop', 'flask', 'sqlite')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
