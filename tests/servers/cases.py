"""What holds on every server. Each case runs on each (``serving.py``) against a real PostgreSQL.

``python -m tests.servers.cases`` writes the table of what runs where into ``docs/reference/servers.md``.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psycopg

from tests.servers.serving import PATIENCE, SERVERS, Running, Server, running, until

__all__ = ["ALONE", "CASES", "PAGE", "Place", "page"]

Case = Callable[["Place"], None]
CASES: dict[str, Case] = {}
#: The cases that start a server of their own: they end it.
ALONE: set[str] = set()

CLIENTS, REQUESTS = 16, 20

#: Signs in a server's log that an answer was not whole, or that there were two.
MUDDLE = re.compile(
    r"already (?:started|sent|been sent|answered)|unexpected asgi message|LocalProtocolError|AssertionError"
    r"|too (?:much|little) data|headers already|InterfaceError|never awaited|ResourceWarning|Traceback.*respool.web",
    re.IGNORECASE,
)


class Place:
    """Where a case runs: a server, and somebody who looks into its database from outside.

    Args:
        server: which.
        url: of its database, for SQLAlchemy.
        folder: for logs.
        shared: the one that is running for all cases, where there is one.
    """

    def __init__(self, server: Server, url: str, folder: Path, shared: Running | None = None) -> None:
        self.server = server
        self.url = url
        self.folder = folder
        self._shared = shared
        self.outside = psycopg.connect(url.replace("postgresql+psycopg", "postgresql"), autocommit=True)

    def close(self) -> None:
        self.outside.close()

    @property
    def running(self) -> Running:
        assert self._shared is not None
        return self._shared

    def start(self) -> AbstractContextManager[Running]:
        """A server of the case's own."""
        return running(self.server, self.url, self.folder)

    def ask(self, statement: str, *values: object) -> Any:
        row = self.outside.execute(statement, values).fetchone()  # type: ignore[arg-type]
        assert row is not None
        return row[0]

    def notes(self, like: str) -> list[str]:
        rows = self.outside.execute("SELECT note FROM orders WHERE note LIKE %s", [like]).fetchall()
        return [note for (note,) in rows]

    def connections(self, state: str = "%") -> int:
        """How many the application has, beside ours."""
        return int(
            self.ask(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type ="
                " 'client backend' AND pid <> pg_backend_pid() AND state LIKE %s",
                state,
            )
        )

    def wait_for_lock(self) -> None:
        """Until a request of the application waits for a lock that we hold."""
        waits = (
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
            " WHERE datname = current_database() AND NOT granted"
        )
        until(lambda: self.ask(waits) > 0, "the request waits for the lock")

    @contextmanager
    def under_way(self, there: Running, note: str) -> Iterator[Future[tuple[int, bytes]]]:
        """A request that has written, and waits as long as the block lasts."""
        with ThreadPoolExecutor(1) as thread:
            self.outside.execute("SELECT pg_advisory_lock(7)")
            try:
                answer = thread.submit(there.ask, f"/slow/7/{note}", "POST")
                self.wait_for_lock()
                yield answer
            finally:
                self.outside.execute("SELECT pg_advisory_unlock(7)")

    def settled(self) -> None:
        """Nothing is in use, in no process, and no transaction is open."""
        until(lambda: self.connections("idle in transaction%") == 0, "no connection is idle in transaction")
        for _ in range(8):  # there may be several processes
            until(lambda: _in_use(self.running) == 0, "nothing is in use")


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


def alone(function: Case) -> Case:
    ALONE.add(function.__name__)
    return case(function)


def _in_use(there: Running) -> int:
    told = json.loads(there.ask("/figures")[1])
    return int(told["acquired"] + told["scopes"])


# -- one request ---------------------------------------------------------------------------------------------------------


@case
def success(place: Place) -> None:
    """It is committed when the answer comes."""
    status, _ = place.running.ask("/order/1/success", "POST")
    assert (status, place.notes("success")) == (200, ["success"])
    place.settled()


@case
def failing_commit(place: Place) -> None:
    """One complete 500, the framework's own, and nothing in the log of a second one."""
    whole = place.running.raw("/order/99/broken")
    head, _, body = whole.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500 ")
    assert whole.count(b"HTTP/1.") == 1, whole
    headers = {name.lower(): value.strip() for name, _, value in (h.partition(b":") for h in head.split(b"\r\n")[1:])}
    if b"content-length" in headers:
        assert len(body) == int(headers[b"content-length"])
    else:
        assert body.endswith(b"0\r\n\r\n"), whole
    assert b"Internal Server Error" in body
    assert place.notes("broken") == []
    assert place.running.ask("/order/1/after", "POST")[0] == 200
    log = place.running.log
    assert "ForeignKeyViolation" in log
    assert MUDDLE.search(log) is None, log
    place.settled()


@case
def client_hangs_up(place: Place) -> None:
    """In the middle of the answer: what was committed stays, and nothing stays in use."""
    with socket.create_connection(("127.0.0.1", place.running.port), PATIENCE) as connection:
        connection.sendall(b"POST /long/gone HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert place.notes("gone") == ["gone"]
    place.settled()


# -- load ----------------------------------------------------------------------------------------------------------------


@case
def load(place: Place) -> None:
    """Some hundred requests, with a connection of the database's killed in between: no row goes astray."""
    half = threading.Barrier(CLIENTS + 1)
    with ThreadPoolExecutor(CLIENTS) as threads:
        clients = [threads.submit(_client, place.running.client(), name, half) for name in range(CLIENTS)]
        half.wait(PATIENCE)
        place.outside.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1"
        )
        half.wait(PATIENCE)
        told = [line for client in clients for line in client.result(PATIENCE * 2)]
    done = [note for status, note in told if status == 200 and note]
    failed = [note for status, note in told if status != 200]
    saved = place.notes("load-%")
    assert len(told) == 2 * CLIENTS * REQUESTS
    assert len(failed) <= 1, "one connection costs one request at the most"
    assert len(saved) == len(set(saved))
    assert set(done) <= set(saved) <= {*done, *failed}
    place.settled()


def _client(client: HTTPConnection, name: int, half: threading.Barrier) -> list[tuple[int, str]]:
    told = []
    try:
        for number in range(REQUESTS):
            if number == REQUESTS // 2:
                half.wait(PATIENCE)
                half.wait(PATIENCE)
                client.close()  # servers close a connection that rests for some seconds, as this one may have
            mark, note = name * 1000 + number, f"load-{name}-{number}"
            status, body = _say(client, "GET", f"/check/{mark}")
            assert status != 200 or json.loads(body)["number"] == mark, "somebody else's row"
            written, _ = _say(client, "POST", f"/order/1/{note}")
            told += [(status, ""), (written, note)]
    finally:
        client.close()
    return told


def _say(client: HTTPConnection, method: str, path: str) -> tuple[int, bytes]:
    try:
        client.request(method, path)
        answer = client.getresponse()
        return answer.status, answer.read()
    except (HTTPException, OSError):
        client.close()
        return 0, b""


@case
def fork(place: Place) -> None:
    """A pool that was used before the fork: every worker has connections of its own, and the parent's is left alone."""
    seen: dict[int, set[int]] = defaultdict(set)
    before = 0

    def ask(number: int) -> dict[str, int]:
        told: dict[str, int] = json.loads(place.running.ask(f"/check/{number}")[1])
        assert told["number"] == number
        return told

    def both_answer() -> bool:
        nonlocal before
        with ThreadPoolExecutor(8) as threads:
            for told in threads.map(ask, range(40)):
                seen[told["pid"]].add(told["backend"])
                before = told["before"]
        return len(seen) == 2

    until(both_answer, "both workers answer")
    first, second = seen.values()
    assert not first & second
    assert before not in first | second
    assert place.ask("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", before) == 1, "the parent's is alive"


# -- the end -------------------------------------------------------------------------------------------------------------


@alone
def graceful_stop(place: Place) -> None:
    """SIGTERM: the request under way is finished and committed, and no connection is left."""
    with place.start() as there:
        with place.under_way(there, "stopped") as answer:
            there.terminate()
        assert answer.result(PATIENCE)[0] == 200
        assert there.process.wait(PATIENCE) == place.server.exit_code, there.log
        assert place.notes("stopped") == ["stopped"]
        until(lambda: place.connections() == 0, "the connections are closed")


@alone
def kill(place: Place) -> None:
    """SIGKILL: nothing of the request under way is saved, and no connection is left."""
    with place.start() as there:
        with place.under_way(there, "killed") as answer:
            there.kill()
        assert isinstance(answer.exception(PATIENCE), HTTPException | OSError)
        until(lambda: place.connections() == 0, "the connections are closed")
        assert place.notes("killed") == []


# -- the table -----------------------------------------------------------------------------------------------------------


def table() -> str:
    """The table of the reference, in Markdown: a row for each server, and the reasons below."""
    reasons: dict[str, str] = {}
    rows = [f"| server | {' | '.join(name.replace('_', ' ') for name in CASES)} |", f"| --- |{' --- |' * len(CASES)}"]
    for server in SERVERS:
        cells = []
        for name in CASES:
            why = server.missing.get(name)
            cells.append(reasons.setdefault(why, f"n/a [{len(reasons) + 1}]") if why else "yes")
        rows.append(f"| {server.name} | {' | '.join(cells)} |")
    notes = [f"* {sign.removeprefix('n/a ')}: {reason}" for reason, sign in reasons.items()]
    return "\n".join([*rows, "", "Not applicable:", "", *notes, ""])


#: Where the table stands, and between which lines.
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "servers.md"
BEGIN, END = "<!-- the table of tests/servers/cases.py -->\n", "<!-- the end of the table -->\n"


def page(text: str) -> str:
    """A page with the table of now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
