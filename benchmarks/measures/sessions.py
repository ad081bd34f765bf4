"""What a request's session costs the processor, beside ``with Session(engine, expire_on_commit=False)``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import thread_time
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from benchmarks.measures.base import Column, Measurement, Target, ratio
from benchmarks.rounds import Budget, Rows, collect
from benchmarks.shop import Product, fill
from respool import Database
from tests.support.postgres import PostgresServer

DATABASES = ("SQLite file", "PostgreSQL, psycopg")
READ, WRITE, UNUSED = "one read by primary key", "one INSERT and COMMIT", "nothing"


@dataclass(frozen=True)
class Variant:
    """Makes a request out of an open database and what is done in it."""

    name: str
    key: str
    open: Callable[[str], Any]
    request: Callable[[Any, Callable[[Any], object]], object]
    ours: bool = False


def _in_scope(db: Database, work: Callable[[Any], object]) -> None:
    with db.scope("request") as session:
        work(session)


def _in_session(engine: Any, work: Callable[[Any], object]) -> None:
    with Session(engine, expire_on_commit=False) as session:
        work(session)


def _unused(db: Database, work: Callable[[Any], object]) -> None:
    scope = db.new_scope("GET /")
    scope.enter()
    scope.leave()
    scope.end()


OURS = Variant("respool, `db.scope()`", "respool", Database, _in_scope, ours=True)
STOCK = Variant("`with Session(engine, expire_on_commit=False)`", "stock", create_engine, _in_session)
IDLE = Variant("respool, a scope that nobody uses", "respool", Database, _unused, ours=True)


def read(session: Any) -> None:
    session.get(Product, 1)


def write(session: Any) -> None:
    session.add(Product(name="milk", stock=1))
    session.commit()


def run(budget: Budget) -> Rows:
    rounds, times = budget.pick((15, 300), (3, 40))
    rows = Rows()
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as folder, PostgresServer() as server:
        urls = (f"sqlite:///{Path(folder)}/bench.db", server.url("psycopg"))
        for name, url in zip(DATABASES, urls, strict=True):
            fill(url)
            for what, work in ((READ, read), (WRITE, write)):
                case = f"{name}: {what}"
                rows += collect(case, [OURS, STOCK], rounds, lambda v, u=url, w=work: _alone(v, u, w, times))  # type: ignore[misc]
        rows += collect(UNUSED, [IDLE], rounds, lambda v: _alone(v, urls[0], read, times * 10))
    return rows


def _alone(*sample: Any) -> dict[str, float]:
    """In a process of its own, as in production: what Python has learned about one would slow the other down."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_sample, *sample).result()


def _sample(variant: Variant, url: str, work: Callable[[Any], object], times: int) -> dict[str, float]:
    database = variant.open(url)
    try:
        for _ in range(100):  # until Python knows what it runs
            variant.request(database, work)
        best = float("inf")
        for _ in range(5):  # the least disturbed part of the round
            began = thread_time()
            for _ in range(times // 5):
                variant.request(database, work)
            best = min(best, (thread_time() - began) / (times // 5))
        return {"us": best * 1e6}
    finally:
        getattr(database, "close", None) and database.close()
        getattr(database, "dispose", None) and database.dispose()


MEASUREMENT = Measurement(
    name="sessions",
    title="What a request's session costs",
    text=(
        "The time of the processor for one request, in one thread: `with db.scope()` beside SQLAlchemy's own"
        " `with Session(engine, expire_on_commit=False)`, each in a process of its own with a pool at its defaults, on a"
        " real database. A scope that nobody uses is what a request pays that never touches the database."
    ),
    columns=(Column("us", "µs a request", 1, spread=True),),
    compare="us",
    run=run,
    targets=(
        *(ratio(f"{name}: a read at most 1.0 × Session", f"{name}: {READ}", "us", 1.0) for name in DATABASES),
        *(ratio(f"{name}: a write at most 1.1 × Session", f"{name}: {WRITE}", "us", 1.1) for name in DATABASES),
        Target("an unused scope: at most 5 µs", lambda rows: rows.at(UNUSED, "respool").median("us"), 5.0, " µs"),
    ),
)
