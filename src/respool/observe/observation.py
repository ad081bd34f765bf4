"""Whether this process is observed, and by whom: a recorder for each database, the findings, and one thread that looks.

The thread looks five times a second at what is going on.  It never asks a database, takes no connection, and does nothing
in a request's own time; so it goes on while an event loop stands still and while a pool is exhausted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from respool.database.base import DatabaseBase
from respool.errors import RespoolError
from respool.observe.findings.board import Board
from respool.observe.findings.connects import Connects
from respool.observe.findings.holding import Holding
from respool.observe.findings.loops import Loops
from respool.observe.findings.scopes import look_back
from respool.observe.findings.told import note_error
from respool.observe.naming import application_name
from respool.observe.recording.account import Account
from respool.observe.recording.errors import Errors
from respool.observe.recording.recorder import Recorder, recorder_of
from respool.pool.drivers.forks import in_a_child

__all__ = ["Observation", "observation"]

logger = logging.getLogger("respool.observe")

#: Seconds between two looks.
EVERY = 0.2


class Observation:
    """What is seen of this process; there is one. See :func:`respool.observe.observe`."""

    def __init__(self) -> None:
        self._recorders: list[Recorder] = []
        self._ticks: list[Callable[[], object]] = []
        self._at_end: list[Callable[[], object]] = []
        #: What the application is called, of which this process is a worker.
        self.application = application_name()
        self._begin()
        in_a_child(self._in_a_child)

    def _begin(self) -> None:
        self.started = time.time()  #: when this process was, or was forked
        self.board = Board()
        self.errors = Errors()
        self.holding = Holding(self.board, 0.5)
        self.loops = Loops(self.board, 0.5)
        self.connects = Connects(self.board, 1.0)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def _in_a_child(self) -> None:
        self._begin()
        for recorder in self._recorders:
            recorder.forget()
        if self._recorders:
            self._run()

    @property
    def databases(self) -> list[DatabaseBase[Any]]:
        """What is observed."""
        return [database for recorder in self._recorders if (database := recorder.database) is not None]

    @property
    def recorders(self) -> list[Recorder]:
        """Who takes notes of it."""
        return list(self._recorders)

    def add(self, database: DatabaseBase[Any]) -> Recorder:
        """Observe a database; once is enough."""
        with self._starting:
            recorder = recorder_of(database)
            if recorder is None:
                recorder = Recorder(database)
                recorder.listeners.append(partial(self._look_back, database.name))
                self._recorders.append(recorder)
            if self._told not in RespoolError.told:
                RespoolError.told.append(self._told)
        self._run()
        return recorder

    def remove(self, database: DatabaseBase[Any]) -> None:
        """Observe it no more. With the last one everything ends."""
        recorder = recorder_of(database)
        if recorder is not None:
            self._drop([recorder])

    def _drop(self, dropped: list[Recorder]) -> None:
        with self._starting:
            for recorder in dropped:
                recorder.close()
            self._recorders = [each for each in self._recorders if each not in dropped]
            over = not self.databases
            if over:
                self._stopped.set()
                self._thread = None
                if self._told in RespoolError.told:
                    RespoolError.told.remove(self._told)
        for function in list(self._at_end) if over else ():
            function()

    def each_tick(self, function: Callable[[], object]) -> None:
        """Have something done at each look, by the thread that looks: what others publish from here."""
        if function not in self._ticks:
            self._ticks.append(function)

    def no_tick(self, function: Callable[[], object]) -> None:
        """Have it done no more."""
        self._ticks = [each for each in self._ticks if each != function]

    def at_end(self, function: Callable[[], object]) -> None:
        """Have something done when the last database is observed no more."""
        if function not in self._at_end:
            self._at_end.append(function)

    def look(self) -> None:
        """Look once, now."""
        if gone := [recorder for recorder in self._recorders if recorder.database is None]:
            self._drop(gone)
        for recorder in self.recorders:
            database = recorder.database
            if database is None or database.closed:
                continue
            recorder.read()
            self.holding.look(recorder, late=self.loops.are_late(database.pool))
            self.loops.look(database)
            self.connects.look(database)
        for tick in list(self._ticks):
            tick()

    def _look_back(self, database: str, accounts: Sequence[Account]) -> None:
        look_back(self.board, database, 5, accounts)

    def _told(self, error: RespoolError) -> None:
        self.errors.note(error)
        note_error(self.board, error)

    def _run(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._stopped = threading.Event()
                self._thread = threading.Thread(
                    target=self._work, args=(self._stopped,), name="respool-observe", daemon=True
                )
                self._thread.start()

    def _work(self, stopped: threading.Event) -> None:
        while not stopped.wait(EVERY):
            try:
                self.look()
            except Exception:
                logger.exception("observing failed; it goes on")


#: The one of this process.
observation = Observation()
