"""What reads and writes of tracked objects cost the processor, beside SQLAlchemy's own sessions; with plans and without.

Each variant has a process of its own on each driver, as in production, and they are asked for slices in turn.  Whatever is
read is looked at: a read that gives something else ends the run.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import process_time
from typing import Any

from sqlalchemy import ForeignKey, bindparam, create_engine, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

from benchmarks.measures.base import Column, Measurement, Target, ratio
from benchmarks.rounds import Budget, Rows, collect
from respool import AsyncDatabase, Database
from tests.support.postgres import PostgresServer

SHELVES, EACH = 200, 5
BOOKS = SHELVES * EACH


class Base(DeclarativeBase):
    pass


class Shelf(Base):
    __tablename__ = "bench_shelf"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    books: Mapped[list[Book]] = relationship(order_by="Book.id", back_populates="shelf")


class Book(Base):
    __tablename__ = "bench_book"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    shelf_id: Mapped[int] = mapped_column(ForeignKey(Shelf.id))
    shelf: Mapped[Shelf] = relationship(back_populates="books")


def fill(url: str) -> None:
    """Make the tables, with their rows."""
    engine = create_engine(url)
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        for shelf in range(SHELVES):
            books = [Book(title=title(shelf * EACH + n + 1)) for n in range(EACH)]
            session.add(Shelf(name=f"shelf {shelf}", books=books))
        session.commit()
    engine.dispose()


# -- what is done: with a session and a number, and the answer that is right -------------------------------------------------

ONCE = select(Book).where(Book.id == bindparam("number"))
TEN = select(Shelf).options(selectinload(Shelf.books)).order_by(Shelf.id).limit(10)


def listed(count: int) -> Any:
    """A statement that gives so many rows."""
    return select(Book).order_by(Book.id).limit(count)


def title(number: int) -> str:
    """Of the book with this number."""
    return f"book {number - 1}"


def put_elsewhere(book: Book) -> None:
    """Onto the next shelf, so that it is changed each time."""
    book.shelf_id = book.shelf_id % SHELVES + 1


class Sync:
    """With :class:`~sqlalchemy.orm.Session`."""

    @staticmethod
    def nothing(session: Any, number: int) -> bool:
        return True

    @staticmethod
    def get(session: Any, number: int) -> bool:
        return bool(session.get(Book, number).title == title(number))

    @staticmethod
    def select(session: Any, number: int) -> bool:
        return bool(session.scalars(select(Book).where(Book.id == number)).one().title == title(number))

    @staticmethod
    def built_once(session: Any, number: int) -> bool:
        return bool(session.scalars(ONCE, {"number": number}).one().title == title(number))

    @staticmethod
    def lazy(session: Any, number: int) -> bool:
        return bool(session.get(Book, number).shelf.name == f"shelf {(number - 1) // EACH}")

    @staticmethod
    def selectin(session: Any, number: int) -> bool:
        return [len(shelf.books) for shelf in session.scalars(TEN).all()] == [EACH] * 10

    @staticmethod
    def hundred(session: Any, number: int) -> bool:
        found = session.scalars(listed(100)).all()
        return len(found) == 100 and found[99].title == title(100)

    @staticmethod
    def thousand(session: Any, number: int) -> bool:
        found = session.scalars(listed(1000)).all()
        return len(found) == 1000 and found[999].title == title(1000)

    @staticmethod
    def change(session: Any, number: int) -> bool:
        book = session.get(Book, number)
        put_elsewhere(book)
        session.commit()
        return True

    @staticmethod
    def insert(session: Any, number: int) -> bool:
        book = Book(title="new", shelf_id=1)
        session.add(book)
        session.commit()
        return book.id > BOOKS


class Async:
    """The same with :class:`~sqlalchemy.ext.asyncio.AsyncSession`, which loads nothing lazily."""

    @staticmethod
    async def nothing(session: Any, number: int) -> bool:
        return True

    @staticmethod
    async def get(session: Any, number: int) -> bool:
        return bool((await session.get(Book, number)).title == title(number))

    @staticmethod
    async def select(session: Any, number: int) -> bool:
        return bool((await session.scalars(select(Book).where(Book.id == number))).one().title == title(number))

    @staticmethod
    async def built_once(session: Any, number: int) -> bool:
        return bool((await session.scalars(ONCE, {"number": number})).one().title == title(number))

    @staticmethod
    async def selectin(session: Any, number: int) -> bool:
        return [len(shelf.books) for shelf in (await session.scalars(TEN)).all()] == [EACH] * 10

    @staticmethod
    async def hundred(session: Any, number: int) -> bool:
        found = (await session.scalars(listed(100))).all()
        return len(found) == 100 and found[99].title == title(100)

    @staticmethod
    async def thousand(session: Any, number: int) -> bool:
        found = (await session.scalars(listed(1000))).all()
        return len(found) == 1000 and found[999].title == title(1000)

    @staticmethod
    async def change(session: Any, number: int) -> bool:
        book = await session.get(Book, number)
        put_elsewhere(book)
        await session.commit()
        return True

    @staticmethod
    async def insert(session: Any, number: int) -> bool:
        book = Book(title="new", shelf_id=1)
        session.add(book)
        await session.commit()
        return book.id > BOOKS


#: What is measured: the function, how it is called in the table, how often in a slice, and the ratio that is wanted.
#: The writes are last: a changed book is on another shelf.
WORKS = (
    ("nothing", "a scope without a session's work", 1000, 1.0),
    ("get", "`session.get()`", 200, {"SQLite file": 0.20, "psycopg": 0.25, "asyncpg": 0.22}),
    ("select", "`select().where(key == …)`", 150, 0.37),
    ("built_once", "the same, built once with `bindparam`", 150, 0.28),
    ("lazy", "`get()`, and a many-to-one that is loaded lazily", 100, 0.25),
    ("selectin", "10 objects, `selectinload` of 5 for each", 40, 0.45),
    ("hundred", "100 objects", 50, 0.45),
    ("thousand", "1000 objects", 10, 0.60),
    ("change", "read, change, commit", 60, 0.80),
    ("insert", "insert, commit", 60, 1.05),
)
DRIVERS = ("SQLite file", "psycopg", "asyncpg")
TRACED = "asyncpg, OpenTelemetry on"


@dataclass(frozen=True)
class Variant:
    """Opens sessions: of SQLAlchemy, or of ours."""

    name: str
    key: str
    options: dict[str, Any] | None = None  #: of our database; ``None``: SQLAlchemy's own

    @property
    def ours(self) -> bool:
        """Whether it is what others are compared with."""
        return self.key == "respool"


STOCK = Variant("`with Session(engine, expire_on_commit=False)`", "stock")
VARIANTS = (
    Variant("respool", "respool", {"plans": True}),
    Variant("respool, `plans=False`", "unplanned", {"plans": False}),
    STOCK,
)


# -- in the process of one variant and driver --------------------------------------------------------------------------------

_runner = asyncio.Runner()
_open: Any = None
_warm: set[str] = set()


def start(variant: Variant, driver: str, url: str) -> None:
    """Open the database."""
    global _open
    is_async = driver.startswith("asyncpg")
    if driver == TRACED:
        _trace()
    if variant.options is None:
        engine = create_async_engine(url) if is_async else create_engine(url)
        if driver == TRACED:
            _instrument(engine.sync_engine)
        session: Any = AsyncSession if is_async else Session
        _open = partial(session, engine, expire_on_commit=False)
    else:
        db = (AsyncDatabase if is_async else Database)(url, **variant.options)
        if driver == TRACED:
            _instrument(db.engine.sync_engine)
        _open = partial(db.scope, "request")


def _trace() -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())


def _instrument(engine: Any) -> None:
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

    SQLAlchemyInstrumentor().instrument(engine=engine)


def sample(driver: str, work: str, times: int) -> dict[str, float]:
    """µs of the processor for one, of the least disturbed of three slices."""
    if work not in _warm:  # until Python knows what it runs
        _warm.add(work)
        do(driver, work, max(times, 60))
    return {"us": min(do(driver, work, times) for _ in range(3)) / times * 1e6}


def do(driver: str, work: str, times: int) -> float:
    """Do it so often; the seconds of the processor that it took."""
    is_async = driver.startswith("asyncpg")
    done = getattr(Async if is_async else Sync, work)
    began = process_time()
    if is_async:
        _runner.run(_all_async(done, times))
    else:
        _all(done, times)
    return process_time() - began


def _all(work: Callable[[Any, int], bool], count: int) -> None:
    for each in range(count):
        with _open() as session:
            if not work(session, each * 7 % BOOKS + 1):
                raise SystemExit(f"{work} has read something else")


async def _all_async(work: Callable[[Any, int], Awaitable[bool]], count: int) -> None:
    for each in range(count):
        async with _open() as session:
            if not await work(session, each * 7 % BOOKS + 1):
                raise SystemExit(f"{work} has read something else")


# -- from outside ----------------------------------------------------------------------------------------------------------


def run(budget: Budget) -> Rows:
    rounds, part = budget.pick((7, 1), (2, 4))
    rows = Rows()
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as folder, PostgresServer() as server:
        urls = {
            "SQLite file": f"sqlite:///{Path(folder)}/bench.db",
            **{name: server.url(name.split(",")[0]) for name in (*DRIVERS[1:], TRACED)},
        }
        for driver, url in urls.items():
            fill(url if driver == "SQLite file" else server.url("psycopg"))
            with started(driver, url) as processes:
                for work, what, times, _ in WORKS:
                    if (driver == TRACED and work != "get") or (work == "lazy" and driver == "asyncpg"):
                        continue

                    one = partial(_one, processes, driver, work, max(4, times // part))
                    rows += collect(f"{driver}: {what}", VARIANTS, rounds, one)
    return rows


def _one(processes: dict[str, ProcessPoolExecutor], *what: Any) -> dict[str, float]:
    *asked, variant = what
    return processes[variant.key].submit(sample, *asked).result()


@contextmanager
def started(driver: str, url: str) -> Iterator[dict[str, ProcessPoolExecutor]]:
    """A process for each variant."""
    with ExitStack() as stack:
        spawn = get_context("spawn")
        yield {
            variant.key: stack.enter_context(
                ProcessPoolExecutor(1, mp_context=spawn, initializer=start, initargs=(variant, driver, url))
            )
            for variant in VARIANTS
        }


def limit_on(driver: str, limit: Any) -> float:
    """The ratio that is wanted on a driver."""
    most: float = limit[driver] if isinstance(limit, dict) else limit
    return most


def targets() -> Iterator[Target]:
    for driver in DRIVERS:
        for work, what, _, limit in WORKS:
            if work != "lazy" or driver != "asyncpg":
                yield target(driver, what, limit_on(driver, limit))
    yield target(TRACED, WORKS[1][1], 0.32)


def target(driver: str, what: str, most: float) -> Target:
    case = f"{driver}: {what}"
    return ratio(f"{case}: at most {most:.2f} × Session", case, "us", most)


MEASUREMENT = Measurement(
    name="reads",
    title="What tracked objects cost",
    text=(
        "The time of the processor for one request that does this and nothing else: `with db.scope()` beside SQLAlchemy's own"
        " `with Session(engine, expire_on_commit=False)`, and its `AsyncSession` on asyncpg, each in a process of its own."
        " Without plans each read goes SQLAlchemy's whole way. With OpenTelemetry's instrumentation on, it is on for all."
    ),
    columns=(Column("us", "µs", 1, spread=True),),
    compare="us",
    run=run,
    targets=tuple(targets()),
)
