"""The limit: SQL by hand on psycopg_pool, a connection for each block."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flask import Flask
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from benchmarks.applications.frameworks import in_flask

ORDER = "INSERT INTO orders (token, item_id) VALUES (%s, %s)"


class Work:
    def __init__(self, pool: Any) -> None:
        self.pool = pool

    def read(self, session: Any, number: int) -> dict[str, Any]:
        with self.pool.connection() as connection:
            found = connection.execute("SELECT id, name, stock FROM item WHERE id = %s", [number]).fetchone()
        return dict(found)

    def listing(self, session: Any) -> list[dict[str, Any]]:
        with self.pool.connection() as connection:
            return list(connection.execute("SELECT id, name, stock FROM item ORDER BY id LIMIT 100").fetchall())

    def stock(self, session: Any, number: int) -> int:
        with self.pool.connection() as connection:
            return int(connection.execute("SELECT stock FROM item WHERE id = %s", [number]).fetchone()["stock"])

    def write(self, session: Any, token: str, item: int) -> None:
        with self.pool.connection() as connection:
            connection.execute(ORDER, [token, item])

    def sell(self, session: Any, number: int, token: str) -> None:
        with self.pool.connection() as connection:
            connection.execute("SELECT id, name, stock FROM item WHERE id = %s", [number]).fetchone()
            connection.execute("UPDATE item SET stock = stock - 1 WHERE id = %s", [number])
            connection.execute(ORDER, [token, number])

    def sleep(self, session: Any, seconds: float) -> None:
        with self.pool.connection() as connection:
            connection.execute("SELECT pg_sleep(%s)", [seconds])

    def declined(self, session: Any, token: str, error: Exception) -> None:
        with self.pool.connection() as connection:
            connection.execute(ORDER, [token, 1])
            raise error

    def shared(self, session: Any, tokens: Sequence[str]) -> None:
        with self.pool.connection() as connection, ThreadPoolExecutor(len(tokens)) as threads:
            for job in [threads.submit(connection.execute, ORDER, [token, 1]) for token in tokens]:
                job.result()


def make(url: str, size: int) -> Any:
    pool = ConnectionPool(url, min_size=1, max_size=size, kwargs={"row_factory": dict_row}, open=True)
    app = Flask(__name__)
    in_flask(app, Work(pool), lambda: None)
    return app
