"""What processes could tell: written down, so that it is the same each time."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from respool.cli.top import views
from respool.observe.format import Merged, Snapshot
from respool.observe.workers import merged

#: The moment at which it is looked.
NOW = 1_000_000.0

ZERO = {"bounds": [1.0], "counts": [0, 0], "total": 0, "sum": 0.0, "max": 0.0}

POOL: dict[str, Any] = {
    "name": "shop", "min_size": 0, "max_size": 5, "total": 3, "idle": 1, "acquired": 2, "connecting": 0, "waiting": 2,
    "oldest_wait": 3.5, "timeouts": 1, "closes": {"max_idle": 2}, "wait_time": ZERO, "database_away": False,
    "suspended": False, "closed": False,
}  # fmt: skip

HELD: dict[str, Any] = {
    "number": 1, "state": "acquired", "seconds": 12.5, "age": 60.0, "uses": 9, "holder": "GET /pay (thread web-3)",
    "place": "/srv/app/shop/payments/providers/card.py:48 in charge()", "note": "idle in transaction",
    "route": "GET /pay", "label": "GET /pay", "taken_at": "shop/views.py:20 in pay()", "executing": False,
    "idle": 12.0, "sql": "UPDATE cart SET paid = ?", "statements": 2, "in_sql": 0.004,
}  # fmt: skip

BUSY = {**HELD, "number": 2, "seconds": 0.03, "idle": None, "executing": True, "note": None, "label": "GET /list",
        "place": "shop/views.py:31 in list()", "sql": "SELECT 1\n\x1b[2J[bold]", "statements": 7}  # fmt: skip

RESTING = {**HELD, "number": 3, "state": "idle", "seconds": 2.0, "holder": None, "place": None, "note": None,
           "route": None, "label": None, "taken_at": None, "idle": None, "sql": None, "statements": 0}  # fmt: skip

SCOPE: dict[str, Any] = {
    "label": "GET /pay", "state": "open", "phase": "working", "age": 12.6, "holds_connection": True, "place": None,
    "handler": "pay", "route": "/pay", "objects": {"persistent": 3}, "statements": 2, "waited": 0.001, "held": 12.5,
    "in_sql": 0.004, "waiting": None,
}  # fmt: skip

REQUEST: dict[str, Any] = {
    "label": "GET /list?page=2", "route": "GET /list", "method": "GET", "status": 200, "began": NOW - 8.0, "seconds": 0.5,
    "waited": 0.1, "held": 0.3, "in_sql": 0.2, "idle": 0.1, "statements": 21, "leases": 1, "outcome": "committed",
    "events": [
        {"kind": "sql", "start": 0.15, "seconds": 0.2, "sql": "SELECT 1", "place": None},
        {"kind": "wait", "start": 0.0, "seconds": 0.1, "sql": None, "place": "shop/views.py:31"},
    ],
    "dropped": 4,
}  # fmt: skip

ROUTE: dict[str, Any] = {
    "route": "GET /list", "requests": 10, "statements": 210, "leases": 10, "outcomes": {"committed": 9, "failed": 1},
    "seconds": 5.0, "waited": 1.0, "held": 3.0, "in_sql": 2.0, "idle": 1.0, "slowest": 0.9, "most_idle": 0.4,
}  # fmt: skip

FINDING: dict[str, Any] = {
    "code": "F001", "kind": "held-idle", "title": "a connection was held while something else was waited for",
    "what": "charge() holds a connection and does not use it", "database": "shop",
    "place": "/srv/app/shop/payments/providers/card.py:48", "route": "GET /pay",
    "facts": ["taken at shop/views.py:20 in pay()", "last statement: UPDATE cart SET paid = ?"],
    "advice": ["do the slow call before the first write", "or give the connection back"],
    "count": 3, "worst": 12.0, "first": NOW - 60, "last": NOW - 5,
}  # fmt: skip


PLANS: dict[str, Any] = {
    "on": True, "advice": None, "known": 2, "planned": 1,
    "obstacles": [{"what": "somebody listens to after_begin of Session", "stops": False, "advice": "listen otherwise"}],
    "statements": [
        {"kind": "select", "text": "SELECT cart.id \nFROM cart\x1b[2J", "planned": False,
         "why": "it does not select one mapped class", "advice": "select a mapped class"},
        {"kind": "get", "text": "SELECT item.id FROM item WHERE item.id = ?", "planned": True, "why": None, "advice": None},
    ],
}  # fmt: skip


def process(pid: int, application: str = "shop", **changes: Any) -> Snapshot:
    """What one process tells."""
    database: dict[str, Any] = {
        "name": "shop", "url": "sqlite:///shop.db", "asynchronous": False, "observed": True, "pool": POOL, "settings": [],
        "connections": [HELD, BUSY, RESTING], "scopes": [SCOPE], "requests": [REQUEST], "routes": [ROUTE],
        "plans": PLANS,
        "waiters": [{"seconds": 3.5, "who": "GET /cart (thread web-4)", "place": "shop/views.py:60 in cart()"},
                    {"seconds": 0.5, "who": "GET /cart (thread web-5)", "place": "shop/views.py:60 in cart()"}],
    }  # fmt: skip
    seen: dict[str, Any] = {
        "format": 1, "version": "0.1.0", "time": "2026-11-30T12:00:00.000+00:00",
        "process": {"pid": pid, "application": application, "command": f"gunicorn {application}:app",
                    "started": NOW - 3600, "python": "3.11.7", "sqlalchemy": "2.1.9"},
        "verdict": "Database 'shop': 2 wait.", "databases": [{**database, **changes}], "findings": [FINDING],
    }  # fmt: skip
    return copy.deepcopy(seen)  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is always the same moment."""
    monkeypatch.setattr(views, "time", lambda: NOW)


@pytest.fixture
def seen() -> Merged:
    """Two processes of one application."""
    return merged([process(41), process(42, connections=[], waiters=[], scopes=[])])


@pytest.fixture
def other() -> Merged:
    """Another application, in which all is well."""
    quiet = process(77, "mail", connections=[], waiters=[], scopes=[], requests=[], routes=[])
    quiet["databases"][0]["pool"] |= {"waiting": 0, "acquired": 0, "timeouts": 0, "oldest_wait": 0.0}
    quiet["findings"], quiet["verdict"] = [], "All is well."
    return merged([quiet])


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A private folder for sockets, with a short name; it is the only one that is looked into."""
    with tempfile.TemporaryDirectory(prefix="rs-") as name:
        for variable in ("RESPOOL_OBSERVE_SOCKET", "XDG_RUNTIME_DIR"):
            monkeypatch.setenv(variable, name)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


@pytest.fixture
def serve(sockets: Path) -> Iterator[Callable[[Snapshot], None]]:
    """Answers with a snapshot as its process would."""
    from respool.observe.workers.server import Server

    started: list[Server] = []

    def serve(seen: Snapshot) -> None:
        server = Server(seen["process"]["application"], {"snapshot": lambda: seen}, sockets)
        server.start()
        started.append(server)

    yield serve
    for each in started:
        each.stop()
