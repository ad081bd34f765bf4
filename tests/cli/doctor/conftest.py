"""The command as it is typed in, and servers that are prepared for it."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from respool.cli.doctor import judging
from respool.cli.main import main
from tests.support.pgbouncer import BouncerMissing, PgBouncer
from tests.support.postgres import PostgresServer


@dataclass
class Report:
    """What the doctor has said."""

    code: int
    told: dict[str, Any]

    @property
    def codes(self) -> dict[str, str]:
        """Each code with its level, in order."""
        return {each["code"]: each["level"] for each in self.told["found"]}

    @property
    def grave(self) -> list[str]:
        """The codes of all that is worse than a note."""
        return [code for code, level in self.codes.items() if level != "note"]

    def __getitem__(self, code: str) -> dict[str, Any]:
        (found,) = [each for each in self.told["found"] if each["code"] == code]
        return found

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = self.told["facts"]
        return facts


Doctor = Callable[..., Report]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """``respool doctor URL … --json``."""
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    for name in ("SLOW_CONNECT", "FAR_AWAY"):  # what is measured on a busy machine is no matter of these tests
        monkeypatch.setattr(judging, name, math.inf)

    def call(url: str, *arguments: str) -> Report:
        code = main(["doctor", url, *arguments, "--json"])
        output, printed = capsys.readouterr()
        assert printed == ""
        return Report(code, json.loads(output))

    return call


class Prepared:
    """One database on the common server, with a role of its own.

    Args:
        server: whose.
    """

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.role = f"shop_{uuid.uuid4().hex[:8]}"
        self.database = f"db_{self.role}"

    def do(self, statement: str) -> None:
        """Execute it as the administrator; ``ROLE`` and ``DB`` stand for the names."""
        with psycopg.connect(self.server.url(None), autocommit=True, sslmode="disable") as connection:
            connection.execute(statement.replace("ROLE!", self.role).replace("DB!", self.database).encode())

    def url(self, driver: str = "psycopg", **parts: Any) -> str:
        """By which the role comes in."""
        user, database = parts.get("user", self.role), parts.get("database", self.database)
        return f"postgresql+{driver}://{user}@127.0.0.1:{parts.get('port', self.server.port)}/{database}"


@pytest.fixture
def prepared(postgres: PostgresServer) -> Iterator[Prepared]:
    postgres.start()
    made = Prepared(postgres)
    made.do("CREATE ROLE ROLE! LOGIN")
    made.do("CREATE DATABASE DB!")
    yield made
    postgres.drop_database(made.database)
    made.do("DROP ROLE ROLE!")


@pytest.fixture
def bouncer(postgres: PostgresServer) -> Iterator[Callable[..., PgBouncer]]:
    """PgBouncers in front of the common server, each with its settings; the role ``shop`` is there."""
    postgres.start()
    with ExitStack() as running:
        with psycopg.connect(postgres.url(None), autocommit=True, sslmode="disable") as connection:
            connection.execute("CREATE ROLE shop LOGIN")

        def drop() -> None:
            with psycopg.connect(postgres.url(None), autocommit=True, sslmode="disable") as connection:
                connection.execute("DROP ROLE shop")

        running.callback(drop)

        def start(**settings: str) -> PgBouncer:
            try:
                made = PgBouncer(postgres, **settings)
            except BouncerMissing as missing:
                pytest.skip(str(missing))
            return running.enter_context(made)

        yield start
