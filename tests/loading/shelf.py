"""A shelf of books, and what is done with it twice: with plans and without. What can be told has to be the same."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ForeignKey, String, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from respool import Database, PoolConfig

__all__ = ["Author", "Base", "Book", "both", "collecting_all_the_time", "fill", "listened", "opened", "raised"]


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "authors"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    books: Mapped[list[Book]] = relationship(back_populates="author")


class Book(Base):
    __tablename__ = "books"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(50))
    pages: Mapped[int] = mapped_column(default=100)
    author_id: Mapped[int | None] = mapped_column(ForeignKey("authors.id"))
    author: Mapped[Author | None] = relationship(back_populates="books")


def fill(url: str, *, books: int = 10) -> str:
    """Make the tables anew, with two authors and some books; returns the URL."""
    engine = create_engine(url)
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(Author.__table__.insert(), [{"id": n, "name": f"author {n}"} for n in (1, 2)])
        rows = [{"id": n, "title": f"book {n}", "pages": n, "author_id": n % 2 + 1} for n in range(1, books + 1)]
        connection.execute(Book.__table__.insert(), rows)
    engine.dispose()
    return url


@contextmanager
def opened(url: str, **keywords: Any) -> Iterator[Database]:
    """A database whose plans for both classes are learned already, where it has any."""
    database = Database(
        url, **{"plans": True, "pool": PoolConfig(max_size=2, timeout=5.0, check_after=None), **keywords}
    )
    try:
        with database.scope("warm up") as session:
            session.get(Book, 1)
            session.get(Author, 1)
        yield database
    finally:
        database.close()


def both(url: str, program: Callable[[Database], Any], **keywords: Any) -> Any:
    """What a program comes to, without plans and with them, each on a shelf filled anew; both have to be the same."""
    found = []
    for plans in (False, True):
        fill(url)
        with opened(url, plans=plans, **keywords) as database:
            found.append(program(database))
            assert database.pool.stats().acquired == 0
    assert found[0] == found[1]
    return found[1]


def raised(call: Callable[[], Any]) -> tuple[Any, ...]:
    """An error, as far as a caller can tell."""
    try:
        return ("no error", call())
    except Exception as error:
        facts = [getattr(error, name, None) for name in ("statement", "params", "connection_invalidated", "code")]
        cause = error.__cause__
        return (
            type(error),
            str(error).partition("\n[SQL")[0],
            facts,
            type(cause),
            getattr(error, "orig", None) is cause,
        )


@contextmanager
def listened(engine: Any, name: str) -> Iterator[list[str]]:
    """Somebody listens for the length of a block, to the engine, its pool, the class or all sessions; what is heard."""
    targets: dict[str, Any] = {"before_execute": engine, "checkout": engine.pool, "load": Book}
    target = targets.get(name, Session)
    heard: list[str] = []

    def listen(*anything: Any) -> None:
        heard.append(name)

    event.listen(target, name, listen)
    try:
        yield heard
    finally:
        event.remove(target, name, listen)


@contextmanager
def collecting_all_the_time() -> Iterator[None]:
    """Garbage is collected in the midst of whatever is done in a block."""
    thresholds = gc.get_threshold()
    gc.set_threshold(3)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
