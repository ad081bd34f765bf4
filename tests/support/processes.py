"""Whether processes are there, and waiting for the end of those that are not our children."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil

__all__ = ["family", "kill_all", "runs"]


def runs(process: psutil.Process | int) -> bool:
    """Whether it runs. One that has ended, and that nobody has buried yet, does not."""
    try:
        process = psutil.Process(process) if isinstance(process, int) else process
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it started, itself first; empty when it is not there."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_all(processes: Iterable[psutil.Process], *, after: float = 0.0) -> None:
    """Wait ``after`` seconds for them to end by themselves, kill those that have not, and wait for the end of all."""
    deadline = time.monotonic() + after
    left = list(processes)
    while left := [process for process in left if runs(process)]:
        if time.monotonic() >= deadline:
            for process in left:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    pass
        time.sleep(0.005)
