"""``python -m tests.fresh [PAGE …]``: follows the pages in fresh environments; see the package."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.docs.pages import ROOT, Block, blocks, commands, wants_postgres
from tests.fresh.environments import Environment, build, requirements
from tests.fresh.reader import Reader, busy
from tests.support.postgres import PostgresServer

#: What a page brings along that does not say what to install: respool itself, and SQLAlchemy.
_NOTHING_SAID = ("respool",)
_PORT = re.compile(r"http://(?:127\.0\.0\.1|localhost):(\d+)")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fresh", description=__doc__)
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="such as README.md; all of them, without any")
    parser.add_argument(
        "--newest", action="store_true", help="install the newest versions, not those of constraints.txt"
    )
    options = parser.parse_args()
    pages = [ROOT / page for page in options.pages] or found()
    read = {page: blocks(page) for page in pages}
    taken = [port for port in sorted(ports(read)) if busy(port)]
    if taken:
        print(f"somebody listens on {', '.join(map(str, taken))}, which the pages use: stop that first")
        return 1
    extra = () if options.newest else ("-c", "constraints.txt")
    with tempfile.TemporaryDirectory(prefix="respool-pages-") as name, contextlib.ExitStack() as servers:
        postgres = None
        if any(map(wants_postgres, read.values())):
            postgres = servers.enter_context(PostgresServer())
        return follow(read, Path(name), extra, postgres)


def follow(
    read: dict[Path, list[Block]], root: Path, extra: tuple[str, ...], postgres: PostgresServer | None = None
) -> int:
    """Make the environments, two at a time; follow the pages, one after the other: they say which port is used."""
    began = time.monotonic()
    wheel = build(root / "dist")
    lines = sorted({installed(page) for page in read.values()})
    with ThreadPoolExecutor(2) as makers:
        made = {
            wanted: makers.submit(Environment, root / f"environment-{number}", wheel, wanted, extra)
            for number, wanted in enumerate(lines)
        }
        failed = []
        for page, text in read.items():
            wanted = installed(text)
            folder = root / page.relative_to(ROOT).as_posix().replace("/", "-")
            folder.mkdir()
            (folder / "examples").symlink_to(ROOT / "examples")
            try:
                environment = made[wanted].result()
                start = time.monotonic()
                variables = {}
                if postgres is not None and wants_postgres(text):
                    postgres.create_database(database := re.sub(r"\W", "_", page.stem))
                    variables["DATABASE_URL"] = postgres.url(database=database)
                with Reader(folder, environment, variables) as reader:
                    reader.follow(text)
            except Exception as error:
                failed.append(page)
                print(f"FAILED {page.relative_to(ROOT)} ({' '.join(wanted)}): {error}", flush=True)
            else:
                took = time.monotonic() - start
                print(f"ok     {page.relative_to(ROOT)} ({' '.join(wanted)}), {took:.1f} s", flush=True)
    print(f"{len(read)} pages, {len(lines)} environments, {time.monotonic() - began:.0f} s: {len(failed)} failed")
    return 1 if failed else 0


def found() -> list[Path]:
    """Every page with something to run or to type in."""
    candidates = [ROOT / "README.md", ROOT / "examples/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in candidates if any(each.runs or each.words == ("console",) for each in blocks(page))]


def installed(page: list[Block]) -> tuple[str, ...]:
    """What a page says to install."""
    typed = [command for block in page if block.words == ("console",) for command, _ in commands(block.text)]
    lines = [requirements(shlex.split(command)) for command in typed if command.startswith("pip install")]
    assert len(set(lines)) <= 1, f"{page[0]}: two install lines: {lines}"
    return lines[0] if lines else _NOTHING_SAID


def ports(read: dict[Path, list[Block]]) -> set[int]:
    """The ports that the pages use."""
    return {int(port) for page in read.values() for block in page for port in _PORT.findall(block.text)}


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
