"""Where the time of one INSERT goes: respool beside ``Depends(scope="function")``, in one process, by whose code it is.

Usage: python -m benchmarks.rooms [--instructions]

The first table is processor time without a profiler; the second is a profile, which makes calls dearer than they are: its
shares say where to look. With ``--instructions`` valgrind counts those of one request, which a busy machine does not change.
Each order has to be in the database at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.applications.peers import depends_function, respool
from benchmarks.applications.store import Store
from benchmarks.callgrind import count as count_instructions
from benchmarks.callgrind import counting, missing
from tests.support.postgres import PostgresServer

__all__ = ["main"]

SIZE, REQUESTS, ROUNDS = 5, 400, 7
CLIENTS = (1, SIZE, 16)
#: Requests before those whose instructions are counted, and these.
WARM, TIMES = 150, 100
PEERS: dict[str, Any] = {"respool": respool, 'Depends(scope="function")': depends_function}

_numbers = count(1)


class Load:
    """Clients that ask one application for one order after the other.

    Args:
        app: the application.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.tokens: set[str] = set()

    async def __call__(self, clients: int, requests: int = REQUESTS) -> float:
        """So many requests; microseconds of the processor for each."""
        left, began = iter(range(requests)), time.process_time()
        await asyncio.gather(*[self._client(left) for _ in range(clients)])
        return (time.process_time() - began) / requests * 1e6

    async def _client(self, left: Iterator[int]) -> None:
        for _ in left:
            token = f"t{next(_numbers)}"
            assert await self._order(token) == 200
            self.tokens.add(token)

    async def _order(self, token: str) -> int:
        path, status, said = f"/orders/{token}", [0], asyncio.Event()
        scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}

        async def receive() -> dict[str, Any]:
            if said.is_set():
                await asyncio.Event().wait()  # the client stays
            said.set()
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            status[0] = message.get("status", status[0])

        await self.app({**scope, "headers": [], "http_version": "1.1", "asgi": {"version": "3.0"}}, receive, send)
        return status[0]


async def measure(url: str) -> set[str]:
    """Print both tables; returns the tokens of the orders."""
    loads = {name: Load(peer.make(url, SIZE)) for name, peer in PEERS.items()}
    for load in loads.values():
        await load(max(CLIENTS))
    print(f"| µs of the processor a request, {SIZE} connections | {' | '.join(loads)} | ratio |")
    print("| --- |" + " ---: |" * (len(loads) + 1))
    for clients in CLIENTS:
        rounds = [[await load(clients) for load in loads.values()] for _ in range(ROUNDS)]
        figures = [median(each) for each in zip(*rounds, strict=True)]
        ratio = median(ours / theirs for ours, theirs in rounds)
        print(f"| {clients} at a time | {' | '.join(f'{figure:.0f}' for figure in figures)} | {ratio:.2f} |")
    profiles = [await _profiled(load) for load in loads.values()]
    print(f"\n| of the profile: µs (calls), {max(CLIENTS)} at a time | {' | '.join(loads)} |")
    print("| --- |" + " ---: |" * len(loads))
    for owner in sorted(set().union(*profiles), key=lambda owner: -max(each[owner][0] for each in profiles)):
        shares = [each[owner] for each in profiles]
        if max(share[0] for share in shares) >= 10:
            print(f"| {owner} | {' | '.join(f'{us:.0f} ({calls:.0f})' for us, calls in shares)} |")
    return set().union(*(load.tokens for load in loads.values()))


async def _profiled(load: Load) -> _Shares:
    profile = cProfile.Profile()
    profile.enable()
    await load(max(CLIENTS))
    profile.disable()
    found = _Shares()
    stats: Any = pstats.Stats(profile)
    for (file, _, _), (_, calls, own, _, _) in stats.stats.items():
        us, number = found[_owner(file)]
        found[_owner(file)] = us + own / REQUESTS * 1e6, number + calls / REQUESTS
    return found


class _Shares(dict[str, tuple[float, float]]):
    def __missing__(self, owner: str) -> tuple[float, float]:
        return 0.0, 0.0


def _owner(file: str) -> str:
    """``respool/ending``, ``sqlalchemy``, ``Python``."""
    parts: Sequence[str] = file.replace("\\", "/").split("/")
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    if "respool" in parts and "src" in parts:
        return "/".join(parts[parts.index("src") + 1 :][:2])
    return "the benchmark" if "benchmarks" in parts else "Python"


async def serve(url: str) -> None:
    """In the process that valgrind watches."""
    for number, peer in enumerate(PEERS.values()):
        load = Load(peer.make(url, SIZE))
        await load(1, WARM)
        with counting(f"peer{number}"):
            await load(1, TIMES)


def instructions(url: str) -> int:
    """Print them; returns how many orders there are."""
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as folder:
        found = count_instructions("benchmarks.rooms", "--serve", url, folder=Path(folder))
    ours, theirs = (found[f"peer{number}"][0] / TIMES for number in range(len(PEERS)))
    print(f"| thousand instructions a request, 1 at a time | {' | '.join(PEERS)} | ratio |")
    print("| --- | ---: | ---: | ---: |")
    print(f"| one INSERT | {ours / 1000:.0f} | {theirs / 1000:.0f} | {ours / theirs:.2f} |")
    return len(PEERS) * (WARM + TIMES)


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.rooms", description=__doc__)
    parser.add_argument("--instructions", action="store_true", help="count them, which takes valgrind")
    parser.add_argument("--serve", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
        return
    if options.instructions and (tool := missing()):
        parser.error(f"{tool} is missing, it comes with valgrind")
    with PostgresServer() as server:
        store = Store(server, "rooms")
        if options.instructions:
            made = instructions(store.url())
            assert len(store.tokens()) == made, "an order is missing, or is there that nobody made"
        else:
            tokens = asyncio.run(measure(store.url()))
            assert store.tokens() == tokens, "an order is missing, or is there that nobody made"


if __name__ == "__main__":
    main()
