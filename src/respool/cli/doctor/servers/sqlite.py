"""What an SQLite database and its file are asked."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, exc

from respool.cli.doctor.connecting import ask, measure, rows
from respool.cli.doctor.facts import Facts, File
from respool.engine.urls import is_memory

__all__ = ["examine"]


def examine(url: URL, facts: Facts, timeout: float) -> None:
    """Ask all.

    Args:
        url: which file; it is there.
        facts: what is filled in.
        timeout: of no meaning here.
    """
    facts.local = True
    ask(url, lambda engine: _ask(url, engine, facts), timeout=timeout)


def _ask(url: URL, engine: Engine, facts: Facts) -> None:
    with engine.connect() as connection:
        facts.version = str(rows(connection, "SELECT sqlite_version()")[0][0])
        options = [str(option) for (option,) in rows(connection, "PRAGMA compile_options")]
        threads = next((option.partition("=")[2] for option in options if option.startswith("THREADSAFE=")), "1")
        path = _path_of(connection)
        memory = is_memory(url) or path is None
        facts.file = File(
            path=None if memory else path,
            journal=str(rows(connection, "PRAGMA journal_mode")[0][0]),
            busy_timeout=float(rows(connection, "PRAGMA busy_timeout")[0][0]) / 1000,
            writable=_writable(connection),
            folder_writable=memory or os.access(Path(str(path)).parent, os.W_OK),
            threadsafe=int(threads),
        )
        if not facts.file.writable:
            facts.read_only = "the file is read-only, or was opened so"
        facts.trip, facts.connect = measure(engine, connection)


def _path_of(connection: Connection) -> str | None:
    return next(
        (str(path) for _, name, path in rows(connection, "PRAGMA database_list") if name == "main" and path), None
    )


def _writable(connection: Connection) -> bool:
    """Whether a write could be made: one that changes nothing is, and is rolled back. A locked file can be written to."""
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            connection.exec_driver_sql(f"PRAGMA user_version = {version}")
        finally:
            connection.exec_driver_sql("ROLLBACK")
    except exc.DBAPIError as error:
        return "readonly" not in str(error)
    return True
