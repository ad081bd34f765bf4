"""What the clients ask for."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from benchmarks.applications.load import Ask
from benchmarks.applications.store import ITEMS

__all__ = ["ELSEWHERE", "LOADS", "SHARES", "Load"]

ELSEWHERE = 50  #: milliseconds that something else takes

_numbers = count(1)


def read_one() -> Ask:
    number = random.randint(1, ITEMS)
    return Ask("GET", f"/items/{number}", f'"item {number}"'.encode())


def list_100() -> Ask:
    return Ask("GET", "/items", b'"item ', times=100)


def write_one() -> Ask:
    token = f"t{next(_numbers)}"
    return Ask("POST", f"/orders/{token}", f'"{token}"'.encode(), token=token)


def sell() -> Ask:
    token = f"t{next(_numbers)}"
    return Ask("POST", f"/sell/{random.randint(1, ITEMS)}/{token}", f'"{token}"'.encode(), token=token)


def read_call_read() -> Ask:
    number = random.randint(1, ITEMS)
    return Ask("GET", f"/call/{number}/{ELSEWHERE}", f'"item {number}"'.encode())


#: Of a hundred requests of the shop.
SHARES = {"read-one": 60, "list-100": 15, "write-one": 10, "sell": 10, "read-call-read": 5}
_ACTS = (read_one, list_100, write_one, sell, read_call_read)


def shop() -> Ask:
    (act,) = random.choices(_ACTS, tuple(SHARES.values()))
    return act()


@dataclass(frozen=True)
class Load:
    """A workload under a steady crowd."""

    name: str
    title: str
    text: str
    asks: Callable[[], Ask]
    clients: int
    trips: bool = True  #: whether each request is the same


LOADS = (
    Load("read-one", "Read one", "One row by its key.", read_one, 16),
    Load("list-100", "List a hundred", "A hundred rows, as objects, and as JSON.", list_100, 16),
    Load(
        "write-one",
        "Write one",
        "One row is added and committed. Where that is done after the answer, a slice ends when the last row is there."
        " respool is behind here, by what the end of a request does that others leave out (`python -m benchmarks.rooms`"
        " shows whose code takes the time, and with `--instructions` that it is 6 % more of them for a client alone): it is"
        " decided by the answer's status, cannot be cut off by a client that goes, and"
        " knows whether it was saved; and of 16 clients on 5 connections each waits its turn, where a pool without an"
        " order lets most pass.",
        write_one,
        16,
    ),
    Load(
        "read-call-read",
        "Read, call, read",
        f"A read, {ELSEWHERE} ms of something else (another service, say), and a read again. Whoever keeps the"
        " connection meanwhile serves as many at a time as there are connections.",
        read_call_read,
        60,
    ),
    Load(
        "shop",
        "A shop",
        "Of a hundred requests 60 read one, 15 list a hundred, 10 write one, 10 read and change one and write another,"
        " and 5 are a read, a call and a read.",
        shop,
        32,
        trips=False,
    ),
)
