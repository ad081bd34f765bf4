"""How each workload is measured: one slice of one peer at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.applications import external
from benchmarks.applications.load import Answers, Ask, crowd, storm
from benchmarks.applications.peers import Peer
from benchmarks.applications.serving import POOL, Running, ServingError
from benchmarks.applications.store import Store, Watch
from benchmarks.applications.workloads import LOADS, Load, read_one
from respool.testing import FaultProxy
from tests.support.postgres import PostgresServer
from tests.support.trips import TripCounter

__all__ = ["Field", "run"]

Figures = dict[str, float]

_LATEST = 3.0  # seconds after the last answer, for those who save after they have answered


def run(main: Any) -> Any:
    """Run a coroutine, on uvloop where that is: the clients should not be what is measured."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


class Field:
    """Where the applications run: a database each, on one server.

    Args:
        server: PostgreSQL.
        peers: who takes part.
        generator: who asks under the steady loads: ``own``, or ``wrk``, which checks nothing but statuses.
    """

    def __init__(self, server: PostgresServer, peers: list[Peer], generator: str = "own") -> None:
        self.server = server
        self.generator = generator
        self.peers = peers
        self._stores = {
            peer.key: Store(server, f"shop_{peer.key.replace('-', '_')}") for peer in peers if not peer.only
        }
        self._once: dict[str, Store] = {}  # for applications that are started for one sample
        self._running: dict[str, Running] = {}
        self._trips: dict[str, dict[str, float]] = {}
        self._stack = ExitStack()

    def start(self) -> dict[str, str]:
        """Have an application of each peer run, for the steady loads; returns those that do not come up, and why.

        They take no further part: a peer may not work with the versions that are installed here.
        """
        failed = {}
        for peer in self._steady():
            running = self._stack.enter_context(Running(peer, self._stores[peer.key].url()))
            try:
                running.wait()
            except ServingError as error:
                failed[peer.key] = str(error)
            self._running[peer.key] = running
        self.peers = [peer for peer in self.peers if peer.key not in failed]
        return failed

    def stop(self) -> None:
        """End them, and remove the databases."""
        self._stack.close()
        for store in (*self._stores.values(), *self._once.values()):
            self.server.drop_database(store.name)

    def count_trips(self) -> None:
        """How often a request of each workload waits for the database, as the least of two requests."""
        for peer in self._steady():
            store = self._stores[peer.key]
            with (
                TripCounter("127.0.0.1", self.server.port) as counter,
                Running(peer, store.url(counter.port)) as running,
            ):
                running.wait()
                self._trips[peer.key] = {load.name: _trips(running, load, counter) for load in LOADS if load.trips}
            store.empty()

    def _store_once(self, peer: Peer) -> Store:
        """A database that the application of the steady loads has no connections to."""
        if peer.key not in self._once:
            self._once[peer.key] = Store(self.server, f"once_{peer.key.replace('-', '_')}")
        return self._once[peer.key]

    def _steady(self) -> list[Peer]:
        """Who is there for all workloads."""
        return [peer for peer in self.peers if not peer.only]

    # -- steady loads

    def warm_up(self, load: Load) -> None:
        """Have each peer do the work once before it is measured."""
        for peer in self._steady():
            run(crowd(self._running[peer.key].port, load.clients, 0.2, load.asks))
            self._stores[peer.key].empty()

    def steady(self, load: Load, peer: Peer, seconds: float) -> Figures:
        """A crowd, for so long."""
        running, store = self._running[peer.key], self._stores[peer.key]
        cpu = running.cpu()
        with Watch(store) as watch:
            if self.generator == "wrk":
                figures = external.measure(running.port, load, seconds)
                count = figures.pop("requests")
                time.sleep(0.3)  # for those who save after they have answered
                store.empty()
            else:
                answers: Answers = run(crowd(running.port, load.clients, seconds, load.asks))
                untrue = _untrue(store, answers)
                figures, count = answers.figures() | untrue, answers.count
        return (
            figures
            | {
                "cpu": (running.cpu() - cpu) / max(count, 1) * 1e3,
                "connections": watch.most,
                "idle": watch.most_in_transaction,
                "memory": running.memory(),
            }
            | ({"trips": self._trips[peer.key][load.name]} if load.trips and peer.key in self._trips else {})
        )

    # -- each in a process of its own

    def overload(self, peer: Peer, seconds: float) -> Figures:
        """Ten times as many requests as can be served, from clients that leave; and then one that stays."""
        hold, patience, longest = 0.2, 1.0, 2.0
        capacity = POOL / hold
        store = self._store_once(peer)
        with Running(peer, store.url()) as running:
            running.wait()
            run(crowd(running.port, POOL, 0.2, _sleep(hold)))  # warm
            with Watch(store) as watch:
                answers: Answers = run(storm(running.port, 10 * capacity, seconds, patience, _sleep(hold)))
                began = time.perf_counter()
                status, _ = running.ask("GET", "/items/1", longest)
                after = time.perf_counter() - began if status == 200 else longest
            figures = answers.figures()
            return {
                "goodput": figures["rate"] / capacity * 100,
                "loss": capacity / max(figures["rate"], 1.0),
                "refused": answers.statuses[503],
                "gone": answers.statuses[0],
                "p50": figures["p50"],
                "p99": figures["p99"],
                "after": after,
                "connections": watch.most,
                "wrong": figures["wrong"],
            }

    def cold(self, peer: Peer, burst: int) -> Figures:
        """From the start of the process to the first answer, and a burst onto a pool that has hardly begun."""
        store = self._store_once(peer)
        with FaultProxy("127.0.0.1", self.server.port) as proxy:
            with Running(peer, store.url(proxy.port)) as running:
                first = running.wait()
                answers: Answers = run(crowd(running.port, burst, 10.0, read_one, limit=burst))
                figures = answers.figures()
                return {
                    "first": first,
                    "p50": figures["p50"],
                    "max": figures["max"],
                    "errors": figures["errors"],
                    "wrong": figures["wrong"],
                    "attempts": len(proxy.attempts),
                    "memory": running.memory(),
                }

    def restart(self, peer: Peer, server: PostgresServer, store: Store, down: float, up: float) -> Figures:
        """The database stops under a steady crowd, and comes back."""
        with FaultProxy("127.0.0.1", server.port) as proxy, Running(peer, store.url(proxy.port)) as running:
            running.wait()
            before = len(proxy.attempts)
            with _outage(server, down) as outage:
                seconds = 0.3 + down + up
                answers: Answers = run(crowd(running.port, 16, seconds + 1.0, read_one))
            back = outage["up"]
            right_after = [at for at, right in answers.at if right and at > back]
            return {
                "errors": answers.errors,
                "errors_after": sum(not right for at, right in answers.at if at > back),
                "again": (min(right_after) - back) if right_after else 10.0,
                "max": answers.figures()["max"],
                "attempts": len(proxy.attempts) - before,
                "wrong": answers.wrong,
            }


def _sleep(seconds: float) -> Callable[[], Ask]:
    return lambda: Ask("GET", f"/sleep/{int(seconds * 1000)}", b"{}")


def _trips(running: Running, load: Load, counter: TripCounter) -> float:
    found = []
    for _ in range(2):
        ask = load.asks()
        counter.take()
        running.ask(ask.method, ask.path)
        time.sleep(0.05)  # what comes after the answer belongs to it
        found.append(counter.take())
    return float(min(found))


def _untrue(store: Store, answers: Answers) -> Figures:
    """Answers that say otherwise than what is saved.

    Who answers before the COMMIT has work left when the last answer is there: the slice ends when that is done.
    """
    if not answers.done and not answers.not_done:
        return {"untrue": 0, "saved": 0, "later": 0}
    began = time.perf_counter()
    saved = store.tokens()
    later = len(answers.done - saved)
    while answers.done - saved and time.perf_counter() < began + _LATEST:
        time.sleep(0.02)
        saved = store.tokens()
    if later:
        answers.seconds += time.perf_counter() - began
    store.empty()
    return {"untrue": len(answers.done - saved), "saved": len(answers.not_done & saved), "later": later}


@contextmanager
def _outage(server: PostgresServer, down: float) -> Iterator[dict[str, float]]:
    """Stops the server after 0.3 s, and starts it again; when, is in what is yielded."""
    times: dict[str, float] = {}

    def work() -> None:
        time.sleep(0.3)
        server.stop()
        time.sleep(down)
        server.start()
        times["up"] = time.perf_counter()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield times
    finally:
        thread.join()
