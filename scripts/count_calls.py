"""Counts the calls into respool's own functions that one request costs, and the files that it enters.

Usage: python scripts/count_calls.py [--list "FastAPI, read"]      (--list: each call of that row, in order)

The applications are FastAPI and Flask on SQLite: a plain read by ``session.get()``, and a read, a change and the commit at
the request's end. Counted is the third request, when all that is made once is there.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import flask
from fastapi import FastAPI
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import respool
from respool import AsyncDatabase, Database
from respool.web.fastapi import install
from respool.web.flask import install as install_in_flask

_CAN_BE_SUSPENDED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
SOURCE = str(Path(respool.__file__).parent)


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    stock: Mapped[int]


class Calls:
    """The functions of ours that were called, in order: file and name."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self._suspended: set[FrameType] = set()  #: of coroutines and generators: going on is no call

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count during a block, in this thread."""
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(SOURCE) and frame not in self._suspended:
            if code.co_flags & _CAN_BE_SUSPENDED:
                self._suspended.add(frame)
            self.seen.append((code.co_filename[len(SOURCE) + 1 :], code.co_qualname))

    @property
    def figures(self) -> tuple[int, int, int]:
        """Calls; changes of file; files entered."""
        files = [file for file, _ in self.seen]
        return len(files), sum(one != other for one, other in pairwise(files)), len(set(files))


async def of_fastapi(url: str, write: bool) -> Calls:
    """One request of FastAPI's."""
    db = AsyncDatabase(url.replace("sqlite:", "sqlite+aiosqlite:"), commit="on_success", name=f"fastapi {write}")
    app: Any = FastAPI()
    install(app, db, lifespan=False)

    async def handle() -> dict[str, int]:
        product = await db.session.get(Product, 1)
        assert product is not None
        if write:
            product.stock += 1
        return {"stock": product.stock}

    app.add_api_route("/", handle)
    scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "headers": []}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) == 200, message

    calls = Calls()
    for number in range(3):
        if number == 2:
            with calls.counted():
                await app({**scope}, receive, send)
        else:
            await app({**scope}, receive, send)
    await db.close()
    return calls


def of_flask(url: str, write: bool) -> Calls:
    """One request of Flask's."""
    db = Database(url, commit="on_success", name=f"flask {write}")
    app: Any = flask.Flask("counted")
    install_in_flask(app, db)

    def handle() -> dict[str, int]:
        product = db.session.get(Product, 1)
        assert product is not None
        if write:
            product.stock += 1
        return {"stock": product.stock}

    app.add_url_rule("/", "handle", handle)

    def serve() -> None:
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO()}
        environ |= {"SERVER_NAME": "localhost", "SERVER_PORT": "80", "wsgi.url_scheme": "http"}
        call: Any = app
        body = call(environ, lambda status, headers, error=None: None)
        assert b"stock" in b"".join(body)
        body.close()

    calls = Calls()
    for _ in range(2):
        serve()
    with calls.counted():
        serve()
    db.close()
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--list", metavar="ROW", help="each call of the rows that begin so, in order")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/shop.db"
        with Database(url, name="fill").scope("fill") as session:
            Base.metadata.create_all(session.connection())
            session.add(Product(id=1, stock=3))
            session.commit()
        rows: dict[str, Callable[[], Calls]] = {
            "FastAPI, one session.get()": lambda: asyncio.run(of_fastapi(url, False)),
            "FastAPI, read, change, commit": lambda: asyncio.run(of_fastapi(url, True)),
            "Flask, the same read": lambda: of_flask(url, False),
            "Flask, the same write": lambda: of_flask(url, True),
        }
        print("| | calls | changes of file | files |\n| --- | ---: | ---: | ---: |")
        for name, count in rows.items():
            calls = count()
            print(f"| {name} | {' | '.join(map(str, calls.figures))} |")
            if options.list and name.startswith(options.list):
                print("\n".join(f"    {file} {function}" for file, function in calls.seen))


if __name__ == "__main__":
    main()
