"""Simulated clients against a running demo shop, over real HTTP: ``python -m respool.cli.demo.load URL --clients 30``.

Each client looks around, orders, and reads its order back at once: an order that was answered with 201 and is not there
is an error, as is any 5xx, any broken connection and any content that does not add up.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence

from respool.cli.demo.figures import Figures
from respool.cli.demo.http import BadAnswer, HttpConnection, Reply

__all__ = ["main", "run_load"]

#: Seconds between two looks at the pool, between two lines of progress, and until all must be at rest after the end.
_LOOK, _PROGRESS, _REST = 0.25, 5.0, 5.0
#: What a request may end in: no connection, a broken one, or an answer that is not what was asked for.
_WRONG = (OSError, EOFError, TimeoutError, BadAnswer, LookupError, TypeError, ValueError)


class Client:
    """One simulated customer with a connection of their own."""

    def __init__(self, base_url: str, figures: Figures, stop: asyncio.Event, dice: random.Random) -> None:
        self._http = HttpConnection(base_url)
        self._figures = figures
        self._stop = stop
        self._dice = dice
        self._products = 1

    async def shop(self) -> None:
        """Do one thing after the other until told to stop."""
        habits: dict[Callable[[], Awaitable[None]], int] = {
            self.browse: 35,
            self.search: 10,
            self.look: 35,
            self.order: 10,
            self.latest: 10,
        }
        actions, weights = list(habits), list(habits.values())
        try:
            while not self._stop.is_set():
                await self._survive(self._dice.choices(actions, weights)[0])
                await asyncio.sleep(self._dice.uniform(0, 0.3))
        finally:
            self._http.close()

    async def browse(self) -> None:
        page = await self._ask("browse", "GET", f"/products?limit=20&offset={self._dice.randrange(0, 200, 20)}")
        _expect(page, 200)
        self._products = page.data["total"]
        _check(0 < len(page.data["items"]) <= 20, "a page of products without products")

    async def search(self) -> None:
        word = self._dice.choice(["thread", "yarn", "teal", "indigo", "button"])
        found = await self._ask("search", "GET", f"/products?q={word}&limit=10")
        _expect(found, 200)
        _check(all(word in item["name"].lower() for item in found.data["items"]), "a search found something else")

    async def look(self) -> None:
        number = self._dice.randint(1, self._products)
        product = await self._ask("look", "GET", f"/products/{number}")
        _expect(product, 200)
        _check(product.data["id"] == number and product.data["stock"] >= 0, "another product than the one asked for")

    async def order(self) -> None:
        number, quantity = self._dice.randint(1, self._products), self._dice.randint(1, 3)
        placed = await self._ask("order", "POST", "/orders", {"product_id": number, "quantity": quantity})
        if placed.status == 409:
            _expect(await self._ask("restock", "POST", f"/products/{number}/restock"), 200)
            return
        _expect(placed, 201)
        (line,) = placed.data["lines"]
        expected = (number, quantity, quantity * line["price_cents"])
        _check(
            (line["product_id"], line["quantity"], placed.data["total_cents"]) == expected,
            "another order than the one that was placed",
        )
        again = await self._ask("read back", "GET", placed.headers["location"])
        _expect(again, 200)
        _check(again.data == placed.data, "an order that reads back otherwise than it was placed")

    async def latest(self) -> None:
        orders = await self._ask("latest", "GET", "/orders?limit=5")
        _expect(orders, 200)
        numbers = [order["id"] for order in orders.data["items"]]
        _check(numbers == sorted(numbers, reverse=True), "the latest orders in a wrong order")

    async def _ask(self, kind: str, method: str, path: str, body: object = None) -> Reply:
        started = time.perf_counter()
        reply = await self._http.request(method, path, body)
        self._figures.latencies.add(time.perf_counter() - started)
        self._figures.requests[kind] += 1
        return reply

    async def _survive(self, action: Callable[[], Awaitable[None]]) -> None:
        """Count what goes wrong; a client that met a failure rests for a moment before it goes on."""
        try:
            await action()
        except _WRONG as error:
            self._figures.errors[_said(error)] += 1
            await asyncio.sleep(0.2)


def _expect(reply: Reply, status: int) -> None:
    if reply.status != status:
        detail = reply.data.get("detail", "") if isinstance(reply.data, dict) else reply.data
        raise BadAnswer(f"status {reply.status} instead of {status}: {str(detail)[:120]}")


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BadAnswer(otherwise)


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, BadAnswer) else f"{type(error).__name__}: {error}"


async def _look(http: HttpConnection, figures: Figures) -> None:
    try:
        reply = await http.request("GET", "/_respool")
        _expect(reply, 200)
        figures.watch.see(reply.data)
    except _WRONG as error:
        figures.errors[_said(error)] += 1
        await asyncio.sleep(0.2)


async def _watch(http: HttpConnection, figures: Figures, started: float) -> None:
    """Look at the pool all the time; a line of progress every few seconds. Runs until cancelled."""
    shown_at, shown = started, 0
    while True:
        await _look(http, figures)
        now = time.monotonic()
        if now - shown_at >= _PROGRESS:
            count = figures.latencies.count
            print(figures.progress(now - started, answered=count - shown, seconds=now - shown_at), flush=True)
            shown_at, shown = now, count
        await asyncio.sleep(_LOOK)


async def run_load(base_url: str, *, clients: int, seconds: float | None, stop: asyncio.Event) -> tuple[Figures, float]:
    """Let the clients shop until ``stop`` is set or the time is over, then wait until the server is at rest.

    Args:
        base_url: the shop, as in ``http://127.0.0.1:8000``.
        clients: how many there are at once.
        seconds: how long; ``None``: until ``stop``.
        stop: ends the run when set.

    Returns:
        What was counted, and the seconds that the clients shopped.
    """
    figures, started = Figures(clients), time.monotonic()
    http = HttpConnection(base_url, timeout=10.0)
    shopping = [asyncio.create_task(Client(base_url, figures, stop, random.Random(n)).shop()) for n in range(clients)]
    watching = asyncio.create_task(_watch(http, figures, started))
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        stop.set()
    await asyncio.gather(*shopping)
    elapsed = time.monotonic() - started
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    deadline = time.monotonic() + _REST
    await _look(http, figures)
    while not figures.watch.at_rest and time.monotonic() < deadline:
        await asyncio.sleep(_LOOK)
        await _look(http, figures)
    http.close()
    return figures, elapsed


def _stop_at_end_of_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Whoever started us holds the other end of our input: when it closes, or dies, we finish."""
    descriptor = sys.stdin.fileno()

    def read() -> None:
        while os.read(descriptor, 1024):  # not sys.stdin, whose lock must be free when the interpreter ends
            pass
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=read, daemon=True, name="end-of-input").start()


async def _main(options: argparse.Namespace) -> int:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    if options.attached:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent tells us when to end
        _stop_at_end_of_input(loop, stop)
    else:
        signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(stop.set))
    figures, elapsed = await run_load(options.url, clients=options.clients, seconds=options.seconds, stop=stop)
    print(figures.report(elapsed), flush=True)
    wrong = figures.verdict()
    print(f"  verdict    {'clean' if not wrong else '; '.join(wrong)}", flush=True)
    return 1 if wrong else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the clients that the command line asks for; 0 when all went well, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m respool.cli.demo.load", description=__doc__)
    parser.add_argument("url", help="the shop, as in http://127.0.0.1:8000")
    parser.add_argument("--clients", type=int, default=10, help="simulated clients at once (default: 10)")
    parser.add_argument("--seconds", type=float, help="how long (default: until Ctrl-C)")
    parser.add_argument("--attached", action="store_true", help="finish when the standard input closes, not at Ctrl-C")
    return asyncio.run(_main(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
