"""A long time on real servers, while backends, workers and clients are killed at random: ``python -m benchmarks.soak``.

Clients order, read, order what cannot be committed, and hang up in the middle of answers. Meanwhile connections are
terminated on the server, and workers are killed; observers fail, block and go back in, an extension writes at the last
moment before the first byte, and a time limit cuts ends off. At the end the books must balance: what was answered 200 is
saved, once, with the extension's row; what was answered otherwise, and knew so before its COMMIT, is not, and if it is the
answer has said so; no answer had somebody else's row; nothing is in use, no connection is idle in transaction, and none is
left when the server has stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.servers.cases import Place
from tests.servers.serving import SERVERS, Running, Server, running, until
from tests.session.shop import fill
from tests.support.postgres import PostgresServer

CLIENTS = 6
WORKERS = 2

#: uvicorn with workers, so that one can be killed and the other goes on; and those of the tests that have some anyway.
UVICORN = Server(
    f"uvicorn, {WORKERS} workers", f"uvicorn --workers {WORKERS} --port {{port}} tests.servers.asgi_shop:app", "uvicorn"
)
CHOICE = {
    "uvicorn": UVICORN,
    "preload": next(server for server in SERVERS if server.name == "gunicorn gthread, preload"),
}  # fmt: skip


class Soak:
    """One server under load and under fire.

    Args:
        place: the server and its database.
        there: the running server.
        seconds: how long.
        seed: of all that is random.
    """

    def __init__(self, place: Place, there: Running, seconds: float, seed: int) -> None:
        self.place = place
        self.there = there
        self.until = time.monotonic() + seconds
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.saved: set[str] = set()  #: answered 200
        self.open: set[str] = set()  #: answered otherwise, or not at all
        self.late: set[str] = set()  #: those that an extension has a row of
        self.cut: dict[str, bool] = {}  #: answered 504: whether that said that it is saved
        self.refused: set[str] = set()  #: cannot be committed
        self.workers: dict[int, float] = {}  #: when each process last answered
        self._lock = threading.Lock()

    def run(self) -> None:
        """Until the time is over."""
        with ThreadPoolExecutor(CLIENTS + 1) as threads:
            jobs = [threads.submit(self._client, name, self.random.random()) for name in range(CLIENTS)]
            jobs.append(threads.submit(self._killer, self.random.random()))
            for job in jobs:
                job.result()

    # -- what clients do

    def _client(self, name: int, seed: float) -> None:
        chance = random.Random(seed)
        client = self.there.client()
        number = 0
        while time.monotonic() < self.until:
            number += 1
            acts = (self._check, self._order, self._refused, self._hang_up, self._cut_off)
            act = chance.choices(acts, (10, 10, 3, 1, 5 if self.place.server is UVICORN else 0))[0]
            act(client, name * 10_000_000 + number)
            if chance.random() < 0.1:
                client.close()  # the next connection may be another worker's
            time.sleep(chance.uniform(0, 0.02))
        client.close()

    def _check(self, client: HTTPConnection, number: int) -> None:
        status, body, _ = self._say(client, "GET", f"/check/{number}")
        if status == 200:
            told = json.loads(body)
            with self._lock:
                self.workers[told["pid"]] = time.monotonic()
                self.counts["wrong rows"] += told["number"] != number

    def _order(self, client: HTTPConnection, number: int) -> None:
        status, body, _ = self._say(client, "POST", f"/order/1/n{number}")
        with self._lock:
            self.late.add(f"n{number}")
            (self.saved if status == 200 else self.open).add(f"n{number}")
            self.counts["wrong rows"] += status == 200 and f"n{number}" not in body.decode()

    def _refused(self, client: HTTPConnection, number: int) -> None:
        status, _, _ = self._say(client, "POST", f"/order/99/n{number}")
        with self._lock:
            self.refused.add(f"n{number}")
            self.counts["untrue 200"] += status == 200

    def _cut_off(self, client: HTTPConnection, number: int) -> None:
        status, _, told = self._say(client, "POST", f"/cut/{self.random.randint(500, 8000)}/n{number}")
        with self._lock:
            if status == 504:
                self.cut[f"n{number}"] = told
            else:
                (self.saved if status == 200 else self.open).add(f"n{number}")

    def _hang_up(self, _: HTTPConnection, number: int) -> None:
        with self._lock:
            self.open.add(f"n{number}")
            self.counts["clients hung up"] += 1
        try:
            with socket.create_connection(("127.0.0.1", self.there.port), 20) as connection:
                head = f"POST /long/n{number} HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n"
                connection.sendall(head.encode())
                if number % 2:
                    connection.recv(1000)
        except OSError:
            pass

    def _say(self, client: HTTPConnection, method: str, path: str) -> tuple[int, bytes, bool]:
        """Status and body, and whether an error says that what it was about is saved."""
        try:
            client.request(method, path)
            answer = client.getresponse()
            status, body, told = answer.status, answer.read(), "respool-saved" in answer.headers
        except (HTTPException, OSError):
            client.close()
            status, body, told = 0, b"", False
        with self._lock:
            self.counts["requests"] += 1
            self.counts[f"answered {status}" if status else "not answered"] += 1
        return status, body, told

    # -- what happens to them

    def _killer(self, seed: float) -> None:
        chance = random.Random(seed)
        while time.monotonic() < self.until - 1:
            if chance.random() < 0.8:
                self._kill_backend()
            else:
                self._kill_worker(chance)
            time.sleep(chance.uniform(0.2, 2.0))

    def _kill_backend(self) -> None:
        self.counts["backends killed"] += int(
            self.place.ask(
                "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity WHERE datname ="
                " current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
                " ORDER BY random() LIMIT 1) AS victim"
            )
        )

    def _kill_worker(self, chance: random.Random) -> None:
        children = {process.pid for process in self.there.workers()}
        with self._lock:
            there = sorted(children & set(self.workers))
        if len(there) == WORKERS:  # one at a time: the other one goes on
            victim = chance.choice(there)
            os.kill(victim, signal.SIGKILL)
            with self._lock:
                del self.workers[victim]
                self.counts["workers killed"] += 1

    # -- the books

    def balance(self) -> None:
        """Look at what is left, stop the server, and compare what was said with what was saved."""
        until(lambda: self._calm(), "nothing is in use")
        self.counts["idle in transaction"] = self.place.connections("idle in transaction%")
        self.counts["connections before the stop"] = self.place.connections()
        self.there.terminate()
        self.there.process.wait(60)
        until(lambda: self.place.connections() == 0, "the connections are closed")
        rows = Counter(self.place.notes("n%"))
        self.counts["rows"] = rows.total()
        told = {note for note, told in self.cut.items() if told}
        self.counts["cut off, and saved"] = len(told)
        self.counts["cut off, and not told"] = len(set(self.cut) & set(rows) - told)
        self.counts["lost rows"] = len((self.saved | told) - set(rows))
        self.counts["rows out of nowhere"] = len(set(rows) - self.saved - self.open - set(self.cut))
        late = Counter(note.removeprefix("late ") for note in self.place.notes("late %"))
        self.counts["rows of one without the other's"] = len(set(late) ^ (set(rows) & self.late))
        self.counts["rows twice"] = sum(number > 1 for number in rows.values())

    def _calm(self) -> bool:
        told = [json.loads(self.there.ask("/figures")[1]) for _ in range(4 * WORKERS)]
        return all(figures["acquired"] + figures["scopes"] == 0 for figures in told)

    def report(self) -> str:
        """The figures, and how many are faults."""
        faults = (
            *("wrong rows", "untrue 200", "lost rows", "rows out of nowhere", "rows twice", "idle in transaction"),
            *("cut off, and not told", "rows of one without the other's"),
        )
        lines = [f"{self.place.server.name}:"]
        lines += [f"  {name:32} {number:>8,}" for name, number in sorted(self.counts.items()) if name not in faults]
        lines += [f"  {name:32} {self.counts[name]:>8,}  (must be 0)" for name in faults]
        self.sound = not any(self.counts[name] for name in faults)
        return "\n".join(lines)


def soak(server: Server, postgres: PostgresServer, seconds: float, seed: int, folder: Path) -> Soak:
    """One server from its start to its books."""
    url = postgres.create_database(f"soak_{abs(hash(server.name)) % 10_000}")
    fill(url)
    place = Place(server, url, folder)
    try:
        with running(server, url, folder, SHOP_TROUBLE="1") as there:
            run = Soak(place, there, seconds, seed)
            run.run()
            run.balance()
    finally:
        place.close()
    return run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long (600)")
    parser.add_argument("--only", choices=CHOICE, help="one server instead of all at once")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    servers = [CHOICE[options.only]] if options.only else list(CHOICE.values())
    with tempfile.TemporaryDirectory() as folder, PostgresServer() as postgres, ThreadPoolExecutor() as threads:
        jobs = [
            threads.submit(soak, server, postgres, options.seconds, options.seed, Path(folder)) for server in servers
        ]
        runs = [job.result() for job in jobs]
    print(f"{options.seconds:g} s, seed {options.seed}, {CLIENTS} clients each")
    print("\n".join(run.report() for run in runs))
    return 0 if all(run.sound for run in runs) else 1


if __name__ == "__main__":
    raise SystemExit(main())
