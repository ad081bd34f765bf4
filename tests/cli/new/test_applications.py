"""Each template's application: its own tests pass, and its migrations run."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

from respool.cli.new.command import make
from respool.cli.new.frameworks import FRAMEWORKS
from tests.cli.shops import environment
from tests.support.server import free_port

each_framework = pytest.mark.parametrize("framework", FRAMEWORKS)


def run(folder: Path, *command: str, **variables: str) -> str:
    """What a command prints, run in an application's folder."""
    done = subprocess.run(
        command, cwd=folder, env=around(**variables), capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


PLUGINS = ("-p", "respool.testing.plugin", "-p", "anyio.pytest_plugin", "-p", "no:cacheprovider")


def around(**variables: str) -> Mapping[str, str]:
    ours = {name: text for name, text in environment().items() if not name.startswith(("DATABASE_URL", "PYTEST"))}
    return {**ours, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **variables}  # ours by name, entry point or not


def outcome_of(folder: Path, **variables: str) -> str:
    # our own environment has advanced-alchemy in it, which Litestar imports and which warns
    options = (*PLUGINS, "-W", "ignore:The declarative_mixin", "-q")
    return run(folder, sys.executable, "-m", "pytest", *options, **variables)


@each_framework
def test_its_tests_pass(framework: str, tmp_path: Path) -> None:
    folder = make("tea", framework, "sqlite", tmp_path)
    assert "19 passed" in outcome_of(folder)
    assert not list(folder.glob("*.db")), "the developer's own database is not touched"


@pytest.mark.parametrize("framework", ["fastapi", "django"])
def test_its_tests_pass_on_postgresql(framework: str, tmp_path: Path, pg_url: str) -> None:
    folder = make("tea", framework, "postgresql", tmp_path)
    assert "19 passed" in outcome_of(folder, DATABASE_URL=pg_url.replace("postgresql+psycopg", "postgres"))


@pytest.mark.parametrize("framework", ["flask", "django"])
def test_ctrl_c_reaches_a_worker_by_its_arbiter_only(framework: str, tmp_path: Path) -> None:
    """Told twice a gthread worker waits for itself: gunicorn takes a lock in the handler of a signal."""
    pytest.importorskip("gunicorn")
    folder = make("tea", framework, "sqlite", tmp_path)
    port = free_port()
    application = "tea.app:app" if framework == "flask" else "tea.wsgi"
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", application, "--bind", f"127.0.0.1:{port}"],
            cwd=folder,
            env=around(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        worker = pid_of_worker(server, port)
        os.kill(worker, signal.SIGINT)
        assert pid_of_worker(server, port) == worker
        os.killpg(server.pid, signal.SIGINT)
        assert server.wait(60) == 0, (tmp_path / "log").read_text()
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def pid_of_worker(server: subprocess.Popen[bytes], port: int) -> int:
    """The process that answers."""
    until = time.monotonic() + 60
    while True:
        assert server.poll() is None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/respool/snapshot", timeout=30) as answer:
                return int(json.load(answer)["process"]["pid"])
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_threads_need_no_greenlet(tmp_path: Path) -> None:
    folder = make("tea", "flask", "sqlite", tmp_path)
    script = "import sys; sys.modules['greenlet'] = None; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    assert "19 passed" in run(folder, sys.executable, "-c", script, *PLUGINS, "-q")


@pytest.mark.parametrize("framework", ["fastapi", "flask"])
def test_a_broken_rule_is_noticed(framework: str, tmp_path: Path) -> None:
    folder = make("tea", framework, "sqlite", tmp_path)
    store = folder / "tea" / "store.py"
    text = store.read_text(encoding="utf-8")
    store.write_text(text.replace("product.stock = Product.stock - quantity", "pass"), encoding="utf-8")
    with pytest.raises(AssertionError, match="test_a_sale"):
        outcome_of(folder)


@each_framework
def test_it_is_migrated_and_filled_once(framework: str, tmp_path: Path) -> None:
    folder = make("tea", framework, "sqlite", tmp_path)
    run(folder, sys.executable, "-m", "alembic", "upgrade", "head")
    for _ in range(2):
        run(folder, sys.executable, "-m", "tea.seed")
    with sqlite3.connect(folder / "tea.db") as connection:
        assert connection.execute("SELECT count(*) FROM product").fetchone() == (3,)
    connection.close()
    assert "No new upgrade operations detected" in run(folder, sys.executable, "-m", "alembic", "check")


def test_a_new_migration_is_sound(tmp_path: Path) -> None:
    folder = make("tea", "fastapi", "sqlite", tmp_path)
    models = folder / "tea" / "models.py"
    text = models.read_text(encoding="utf-8")
    models.write_text(
        text.replace("    stock: Mapped[int]\n", "    stock: Mapped[int]\n    colour: Mapped[str | None]\n")
    )
    run(folder, sys.executable, "-m", "alembic", "upgrade", "head")
    run(folder, sys.executable, "-m", "alembic", "revision", "--autogenerate", "--message", "colours")
    (written,) = folder.glob("migrations/versions/*_colours.py")
    assert "colour" in written.read_text(encoding="utf-8")
    run(folder, sys.executable, "-m", "ruff", "check", "--no-cache", "--ignore", "E501,F401", str(written))
    run(folder, sys.executable, "-m", "alembic", "upgrade", "head")
    assert "No new upgrade operations detected" in run(folder, sys.executable, "-m", "alembic", "check")


def test_the_sql_of_a_migration_can_be_read(tmp_path: Path) -> None:
    folder = make("tea", "fastapi", "postgresql", tmp_path)
    assert "CREATE TABLE product" in run(folder, sys.executable, "-m", "alembic", "upgrade", "head", "--sql")


@pytest.mark.parametrize(
    "given, sync, used",
    [
        ("", "sqlite:///tea.db", "sqlite+aiosqlite:///tea.db"),
        ("sqlite:///other.db", "sqlite:///other.db", "sqlite+aiosqlite:///other.db"),
        ("postgres://a:b@h/d", "postgresql+psycopg://a:b@h/d", "postgresql+psycopg://a:b@h/d"),
        ("postgresql+asyncpg://h/d", "postgresql+psycopg://h/d", "postgresql+asyncpg://h/d"),
    ],
)
def test_its_settings(tmp_path: Path, given: str, sync: str, used: str) -> None:
    folder = make("tea", "fastapi", "sqlite", tmp_path)
    script = (
        "from tea.config import config\n"
        "shown = [url.render_as_string(False) for url in (config.sync_url, config.database_url)]\n"
        "print(*shown, config.pool.max_size)"
    )
    printed = run(folder, sys.executable, "-c", script, DATABASE_URL=given, RESPOOL_MAX_SIZE="7")
    assert printed.split() == [sync, used, "7"]
