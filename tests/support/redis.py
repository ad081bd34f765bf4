"""A Redis server of our own, where Redis is installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["redis_server"]


@contextmanager
def redis_server() -> Iterator[str]:
    """A server for the length of a block; gives the path of its socket. Nothing of it is kept."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("no redis-server is installed")
    with tempfile.TemporaryDirectory(prefix="respool-redis-") as folder:  # not pytest's: a socket's path is short
        socket = str(Path(folder) / "socket")
        command = [program, "--port", "0", "--unixsocket", socket, "--save", "", "--daemonize", "no", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                if not any("eady to accept connections" in line for line in server.stdout):
                    raise RuntimeError("redis-server ended before it was ready")
                yield socket
            finally:
                server.terminate()
