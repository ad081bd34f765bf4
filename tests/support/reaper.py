"""Outlives the process that started a database server, to stop the server and to remove its folder.

Usage: ``python -m tests.support.reaper FOLDER SIGNAL``; the signal makes the server end at once. It waits for the end of its standard input, which comes when the other
process closes it, or ends in whatever way: a finished test run leaves nothing behind, and neither does a killed one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

import psutil

from tests.support.processes import family, kill_all


def users_of(base: Path) -> list[psutil.Process]:
    """The processes that work in a folder, initdb or the server, with their children."""
    return [
        process
        for found in psutil.process_iter(["cmdline"])
        if found.pid != os.getpid() and any(str(base) in word for word in found.info["cmdline"] or ())
        for process in family(found.pid)
    ]


def main(base: Path, word: signal.Signals) -> None:
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # the end of the input is the only word that counts
    sys.stdin.buffer.read()
    if processes := users_of(base):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(word)
        kill_all(processes, after=20)
    shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), signal.Signals[sys.argv[2]])
