"""The peers: one file each, with ``make(url, size)``, which returns the application.

Each is set up as its own documents say, with a pool of the same size. What its documents leave open (who commits, say)
is told in its file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["ASYNCIO", "GROUPS", "PEERS", "THREADS", "Peer", "missing"]

ASYNCIO, THREADS = "asyncio: FastAPI", "threads: WSGI"
GROUPS = (ASYNCIO, THREADS)


@dataclass(frozen=True)
class Peer:
    """One application.

    Args:
        key: what it is called in commands: the name of its file, with dashes.
        name: what it is called in tables.
        group: whom it is beside.
        packages: the distributions that it needs, and that its version is shown of.
        sqlalchemy: whether it is a session of SQLAlchemy.
        ours: whether it is respool.
        only: the workloads that it is there for; all, if none is named.
        without: cases of the correctness table that have no meaning for it, and why.
    """

    key: str
    name: str
    group: str
    packages: tuple[str, ...] = ()
    sqlalchemy: bool = True
    ours: bool = False
    only: tuple[str, ...] = ()
    without: dict[str, str] = field(default_factory=dict)

    def make(self, url: str, size: int) -> Any:
        """The application, on this database, with at most so many connections."""
        return import_module(f"benchmarks.applications.peers.{self.key.replace('-', '_')}").make(url, size)

    @property
    def wsgi(self) -> bool:
        """Whether it is called by threads."""
        return self.group == THREADS


FASTAPI, FLASK = ("fastapi", "asyncpg"), ("Flask", "psycopg")
NO_SESSION = {"late": "no session", "shared": "no session"}


def _mapper(key: str, name: str, group: str, *packages: str) -> Peer:
    return Peer(key, name, group, packages, sqlalchemy=False, without=NO_SESSION)


PEERS = {
    peer.key: peer
    for peer in (
        Peer("respool", "respool, FastAPI", ASYNCIO, FASTAPI, ours=True),
        Peer("respool-bounded", "respool, FastAPI, `max_waiting=10`", ASYNCIO, FASTAPI, ours=True, only=("overload",)),
        Peer("depends", "`Depends`, committed after the `yield`", ASYNCIO, FASTAPI),
        Peer("depends-function", '`Depends(scope="function")`, committed after the `yield`', ASYNCIO, FASTAPI),
        Peer("depends-handler", "`Depends`, handlers commit", ASYNCIO, FASTAPI),
        Peer("advanced-alchemy", "advanced-alchemy", ASYNCIO, (*FASTAPI, "advanced-alchemy")),
        Peer("fastapi-async-sqlalchemy", "fastapi-async-sqlalchemy", ASYNCIO, (*FASTAPI, "fastapi-async-sqlalchemy")),
        Peer("context-async-sqlalchemy", "context-async-sqlalchemy", ASYNCIO, (*FASTAPI, "context-async-sqlalchemy")),
        Peer("fastapi-sqla", "fastapi-sqla", ASYNCIO, (*FASTAPI, "fastapi-sqla")),
        _mapper("tortoise", "Tortoise ORM", ASYNCIO, *FASTAPI, "tortoise-orm"),
        _mapper("piccolo", "Piccolo", ASYNCIO, *FASTAPI, "piccolo"),
        _mapper("raw-asyncpg", "(limit: asyncpg's pool)", ASYNCIO, *FASTAPI),
        Peer("respool-flask", "respool, Flask", THREADS, FLASK, ours=True),
        Peer(
            "respool-flask-bounded", "respool, Flask, `max_waiting=10`", THREADS, FLASK, ours=True, only=("overload",)
        ),
        Peer("flask-sqlalchemy", "Flask-SQLAlchemy", THREADS, (*FLASK, "Flask-SQLAlchemy")),
        Peer("flask-sqlalchemy-lite", "Flask-SQLAlchemy-Lite", THREADS, (*FLASK, "Flask-SQLAlchemy-Lite")),
        _mapper("django", "Django ORM, psycopg's pool", THREADS, "Django", "psycopg", "psycopg_pool"),
        _mapper("peewee", "Peewee, its pool, Flask", THREADS, *FLASK, "peewee"),
        _mapper("raw-psycopg", "(limit: psycopg_pool)", THREADS, *FLASK, "psycopg_pool"),
    )
}


def missing(peer: Peer) -> list[str]:
    """What a peer needs and is not installed."""
    needed = (*peer.packages, "waitress" if peer.wsgi else "uvicorn")
    return [package for package in needed if not _installed(package)]


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
