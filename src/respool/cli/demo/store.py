"""The shop's database: opened, its tables made, its shelves filled."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from respool import AsyncDatabase, PoolConfig
from respool.cli.demo.catalogue import products
from respool.cli.demo.models import Base, Product

__all__ = ["open_database", "prepare"]


def open_database(url: str, pool: PoolConfig | None = None, *, name: str = "shop") -> AsyncDatabase:
    """The shop's database; nothing is connected yet.

    Requests commit by themselves when they succeed (``commit="on_success"``).

    Args:
        url: of any database with an async driver.
        pool: the pool's settings, ours when not given.
        name: what errors and pages call it.

    Raises:
        ConfigError: the URL is not one that SQLAlchemy can open asynchronously.
    """
    db = AsyncDatabase(url, name=name, commit="on_success", pool=pool or PoolConfig())
    if db.engine.dialect.name == "sqlite":
        event.listen(db.engine.sync_engine, "connect", _set_up_sqlite)
    return db


def _set_up_sqlite(connection: Any, _record: object) -> None:
    """Readers beside a writer, references that hold, and writers that wait for one another."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 30000")  # milliseconds
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


async def prepare(db: AsyncDatabase) -> None:
    """Make the tables that are missing and fill the shelves if they are empty; several processes may do so at once.

    Raises:
        RespoolError, sqlalchemy.exc.SQLAlchemyError: the database cannot be reached or refuses.
    """
    for last in (False, False, True):
        try:
            async with db.engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
            break
        except DBAPIError:  # another process made them between our look and our CREATE: look again
            if last:
                raise
    async with db.scope("fill the shelves") as session:
        if await session.scalar(select(Product.id).limit(1)) is None:
            try:
                await session.execute(insert(Product), list(products()))
                await session.commit()
            except IntegrityError:  # another process was first: the ids are given, so nothing is there twice
                await session.rollback()
