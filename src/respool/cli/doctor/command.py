"""The command itself: reads what is asked for, examines, judges, and says how it went by its exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import URL

from respool.cli.doctor.connecting import failure_of, is_drivers, missing_file, parse_url
from respool.cli.doctor.facts import Facts, Plan
from respool.cli.doctor.judging import Found, judge
from respool.cli.doctor.kinds import KINDS, LEVELS
from respool.cli.doctor.plans import plan_of, plan_of_running, plan_of_snapshots, read_snapshots
from respool.cli.doctor.report import as_json, as_text, colours
from respool.cli.doctor.servers import mysql, postgresql, sqlite
from respool.engine.urls import mask
from respool.errors import ConfigError
from respool.pool.core.messages import words_of

__all__ = ["examine", "run"]

#: Exit codes.
FINE, FOUND, NOT_EXAMINED = 0, 1, 2

_EXAMINE: dict[str, tuple[str, Callable[[URL, Facts, float], None]]] = {
    "postgresql": ("PostgreSQL", postgresql.examine),
    "mysql": ("MySQL", mysql.examine),
    "mariadb": ("MariaDB", mysql.examine),
    "sqlite": ("SQLite", sqlite.examine),
}


def run(options: argparse.Namespace) -> int:
    """Do what the command line asks for.

    Returns:
        0 if all is well, 1 if something was found that is to be changed, 2 if nothing could be examined.
    """
    try:
        url, plan = _asked(options)
    except (ConfigError, OSError) as error:
        print(error, file=sys.stderr)
        return NOT_EXAMINED
    facts, found = examine(url, plan, options.timeout)
    where = mask(url)
    if options.json:
        print(as_json(facts, plan, found, where))
    else:
        print(as_text(facts, plan, found, where, colour=colours()))
    if facts is None:
        return NOT_EXAMINED
    bad = LEVELS[:3] if options.strict else LEVELS[:2]
    return FOUND if any(each.kind.level in bad for each in found) else FINE


def examine(url: URL, plan: Plan, timeout: float) -> tuple[Facts | None, list[Found]]:
    """Ask a database all, and judge a plan against it.

    Args:
        url: where.
        plan: what is going to use it.
        timeout: seconds that a connect may take.

    Returns:
        what was found out, ``None`` where there was no connection; and what is wrong, the worst first.
    """
    product, ask = _EXAMINE[url.get_backend_name()]
    if (path := missing_file(url)) is not None:
        kind = KINDS["database-unknown"]
        return None, [
            Found(kind, f"there is no file {path}, and a doctor makes none", do=["start the application once"])
        ]
    facts = Facts(product=product, version="?", driver=url.get_dialect().driver, url=mask(url), user=url.username)
    try:
        ask(url, facts, timeout)
    except Exception as error:
        if not is_drivers(url, error):
            raise
        kind = failure_of(error)
        return None, [Found(kind, words_of(getattr(error, "orig", None) or error), do=list(kind.advice))]
    return facts, judge(facts, plan)


def _asked(options: argparse.Namespace) -> tuple[URL, Plan]:
    text = options.url or os.environ.get("RESPOOL_URL")
    if not text:
        raise ConfigError(
            "no database was named",
            advice=["respool doctor postgresql+psycopg://user@host/shop", "or set RESPOOL_URL, which ps does not show"],
            setting="url",
        )
    url = parse_url(text)
    if url.get_backend_name() not in _EXAMINE:
        raise ConfigError(
            f"nothing is known here of {url.get_backend_name()}",
            advice=[f"the doctor knows {', '.join(_EXAMINE)}"],
            setting="url",
        )
    plan = plan_of(options, os.environ)
    if options.snapshot:
        given = sys.stdin.read() if options.snapshot == "-" else Path(options.snapshot).read_text(encoding="utf-8")
        plan = plan_of_snapshots(read_snapshots(given), url, plan)
    elif options.workers is None and not hasattr(options, "max_size"):
        plan = plan_of_running(url, plan)
    return url, plan
