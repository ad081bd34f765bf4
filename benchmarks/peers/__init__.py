"""The pools under test, one file each, behind one small interface.

``acquire`` and ``release`` are the peer's own callables wherever it has them, not wrappers: nobody pays for the
interface.
"""

from __future__ import annotations

from benchmarks.peers.async_adapted import AsyncAdapted
from benchmarks.peers.asyncpg_pool import AsyncpgPool
from benchmarks.peers.bare import Bare, BareAsync
from benchmarks.peers.base import Setup, TaskPeer, ThreadPeer
from benchmarks.peers.psycopg_pool import PsycopgPool, PsycopgPoolAsync
from benchmarks.peers.queuepool import Queue
from benchmarks.peers.respool import Respool, RespoolAsync
from benchmarks.peers.respool_engine import RespoolAsyncEngine, RespoolEngine

__all__ = ["TASK_PEERS", "THREAD_PEERS", "Bare", "BareAsync", "Setup", "TaskPeer", "ThreadPeer"]

#: In the order of tables and plots: ours first.
THREAD_PEERS: list[type[ThreadPeer]] = [Respool, RespoolEngine, PsycopgPool, Queue]
TASK_PEERS: list[type[TaskPeer]] = [RespoolAsync, RespoolAsyncEngine, PsycopgPoolAsync, AsyncpgPool, AsyncAdapted]
