"""The configuration that is judged: of the command line and the environment, or of processes that run."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import URL
from sqlalchemy.engine import make_url

from respool.cli.doctor.facts import Plan
from respool.config import PoolConfig
from respool.errors import ConfigError
from respool.observe.workers.client import ask, understood
from respool.observe.workers.places import NotPrivate, workers

__all__ = ["plan_of", "plan_of_running", "plan_of_snapshots", "read_snapshots"]

#: The options that are settings of the pool.
_SETTINGS = ("max_size", "min_size", "max_idle", "max_lifetime", "leak_after")


def plan_of(options: argparse.Namespace, environ: Mapping[str, str]) -> Plan:
    """What the command line says, and for what it leaves out ``WEB_CONCURRENCY`` and the ``RESPOOL_…`` variables.

    Raises:
        ConfigError: a variable or a setting is not accepted.
    """
    given = {name: getattr(options, name) for name in _SETTINGS if hasattr(options, name)}
    config = PoolConfig.from_env(environ).merged(given, source="the command line")
    workers, whence = options.workers, "--workers"
    if workers is None:
        workers, whence = _concurrency(environ), "WEB_CONCURRENCY"
    sources = [whence] if workers is not None else []
    sources += [f"{name}={_word(getattr(config, name))}" for name in config.sources]
    return Plan(
        workers=workers or 1,
        config=config,
        source=", ".join(sources) or "the defaults; say --workers and --pool",
        reads_only=options.reads_only,
        prepares=not options.no_prepare,
    )


def read_snapshots(text: str) -> list[Mapping[str, Any]]:
    """What ``respool.observe.snapshot`` gave, as JSON: one, or a list with one of each process.

    Raises:
        ConfigError: it is something else.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise _no_snapshot(str(error)) from None
    found = value if isinstance(value, list) else [value]
    if not found or not all(isinstance(each, dict) and isinstance(each.get("databases"), list) for each in found):
        raise _no_snapshot("it has no databases")
    return found


def plan_of_snapshots(snapshots: Sequence[Mapping[str, Any]], url: URL, otherwise: Plan) -> Plan:
    """The configuration of processes that run, of which each has told what it does.

    Args:
        snapshots: one of each process, in the form of :mod:`respool.observe.format`.
        url: whose settings are wanted: of the database of the same host, port and name.
        otherwise: where the number of processes and the pool's settings are not what is asked for.

    Raises:
        ConfigError: none of them has that database.
    """
    rows = [row for each in snapshots for row in each["databases"]]
    here = [row for row in rows if _same(row["url"], url)]
    if not here:
        raise ConfigError(
            f"none of {len(snapshots)} snapshots has the database {url.database!r} at {url.host or 'this machine'}",
            advice=[f"they have: {', '.join(sorted({row['url'] for row in rows})) or 'none'}"],
            setting="snapshot",
        )
    configs = [_config_of(row) for row in here]
    # every process counts with its own limit; the largest stands for each, so that the product is no less than the sum
    largest = max(configs, key=lambda config: config.max_size)
    workers = -(-sum(config.max_size for config in configs) // largest.max_size)
    source = "a pool that runs" if len(here) == 1 else f"{len(here)} pools that run"
    return replace(otherwise, workers=workers, config=largest, source=source)


def plan_of_running(url: URL, otherwise: Plan) -> Plan:
    """The configuration of this user's processes that observe the database now; ``otherwise`` where there are none.

    Args:
        url: of the database.
        otherwise: as for :func:`plan_of_snapshots`.
    """
    try:
        answers = [understood(answer) for answer in ask(workers())]
    except (NotPrivate, OSError):
        return otherwise
    seen = [answer.value for answer in answers if answer.error is None]
    here = [each for each in seen if any(_same(row["url"], url) for row in each["databases"])]
    return plan_of_snapshots(here, url, otherwise) if here else otherwise


def _same(other: str, url: URL) -> bool:
    theirs = make_url(other)
    return _place(theirs) == _place(url)


def _place(url: URL) -> tuple[str, str | None, int | None, str | None]:
    default = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}.get(backend := url.get_backend_name())
    return backend.replace("mariadb", "mysql"), url.host, url.port or default, url.database


def _config_of(row: Mapping[str, Any]) -> PoolConfig:
    known: Iterable[str] = PoolConfig.names()
    return PoolConfig.of({each["name"]: each["value"] for each in row["settings"] if each["name"] in known})


def _concurrency(environ: Mapping[str, str]) -> int | None:
    text = environ.get("WEB_CONCURRENCY", "")
    return int(text) if text.isdecimal() and int(text) else None


def _word(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"


def _no_snapshot(why: str) -> ConfigError:
    return ConfigError(
        f"this is no snapshot: {why}",
        advice=["write one with: json.dump(respool.observe.snapshot(db), file)", "or a list with one of each process"],
        setting="snapshot",
    )
