"""What a measurement consists of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from benchmarks.peers import Setup, TaskPeer, ThreadPeer
from benchmarks.rounds import Budget, Row, Rows

__all__ = ["Column", "Measurement", "Target", "ratio", "with_task_peer", "with_thread_peer"]

T = TypeVar("T")


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    figure: str
    header: str
    digits: int = 1
    spread: bool = False  #: show the least and the largest sample too


@dataclass(frozen=True)
class Target:
    """What we want to reach: ``value`` of the rows is at most ``limit``."""

    claim: str
    value: Callable[[Rows], float]
    limit: float
    unit: str = "×"


def ratio(claim: str, case: str, figure: str, most: float) -> Target:
    """Of a case ours is at most so many times SQLAlchemy's own, which is called ``stock``."""
    return Target(claim, lambda rows: rows.ratio(figure, (case, "respool"), (case, "stock")), most)


@dataclass(frozen=True)
class Measurement:
    """One question, how it is asked, and what the answer should be."""

    name: str
    title: str
    text: str  #: what is done, for the report
    columns: tuple[Column, ...]
    run: Callable[[Budget], Rows]
    targets: tuple[Target, ...] = ()
    compare: str | None = None  #: the figure that is compared with ours, as a ratio
    repeat: Callable[[Row], str] | None = None  #: the command that measures one row by itself


def with_thread_peer(kind: type[ThreadPeer], setup: Setup, use: Callable[[Any], T]) -> T:
    """Make a pool, use it, end it."""
    peer = kind(setup)
    try:
        return use(peer)
    finally:
        peer.close()


def with_task_peer(kind: type[TaskPeer], setup: Setup, use: Callable[[Any], Awaitable[T]]) -> T:
    """The same in an event loop of its own."""

    async def main() -> T:
        peer = kind(setup)
        await peer.open()
        try:
            return await use(peer)
        finally:
            await peer.close()

    return asyncio.run(main())
