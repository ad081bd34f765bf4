"""Four workers of gunicorn: whichever is scraped, it tells the sums of all, and they equal what the proxy counts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import URL

from respool.testing import FaultProxy
from tests.servers.serving import Running, Server, running, until

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

_APP = "tests.observe.metrics.workers_app"
_GUNICORN = (
    "gunicorn --bind 127.0.0.1:{port} --workers 4 -k gthread --threads 4 "
    f"--config python:tests.observe.metrics.gunicorn_settings --graceful-timeout 5 {_APP}:app"
)


def scraped(server: Running, name: str, **labels: str) -> float:
    """The sum of the samples of a name whose labels have these values."""
    answers: list[bytes] = []

    def answered() -> bool:
        """A worker that begins makes a file before it has anything in it: then prometheus-client cannot read that yet."""
        status, body = server.ask("/metrics")
        answers.append(body)
        return status == 200

    until(answered, "it can be scraped")
    body = answers[-1]
    found = [
        sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sum(found)


def connections(server: Running) -> float:
    return scraped(server, "db_client_connection_count")


@pytest.mark.parametrize("preload", [False, True])
def test_four_workers(through: Callable[[str], URL], proxy: FaultProxy, tmp_path: Path, preload: bool) -> None:
    files = tmp_path / "prometheus"
    files.mkdir()
    command = _GUNICORN.replace("gunicorn ", "gunicorn --preload ") if preload else _GUNICORN
    server = Server("gunicorn", command, "gunicorn", used=preload)
    url = through("psycopg").render_as_string(hide_password=False)
    with running(server, url, tmp_path, PROMETHEUS_MULTIPROC_DIR=str(files)) as there:
        with ThreadPoolExecutor(16) as pool:
            pids = {pid for _, pid in pool.map(there.ask, ["/order"] * 60)}
        assert len(pids) > 1

        def scopes() -> float:
            return scraped(there, "respool_scopes_total", respool_route="order")

        until(lambda: scopes() == 60, "all workers have told their requests")
        assert scraped(there, "respool_commits_total", respool_outcome="committed") == 60
        assert scraped(there, "respool_hold_time_seconds_count", respool_route="order") == 60
        assert scraped(there, "respool_hold_time_seconds_sum", respool_route="order") > 60 * 0.05
        assert scraped(there, "db_client_connection_use_time_seconds_count") == 60 + 1 * preload
        until(lambda: connections(there) == proxy.open > 0, "the connections of all are told")
        assert scraped(there, "db_client_connection_create_time_seconds_count") == len(proxy.accepted)

        os.kill(int(next(iter(pids))), signal.SIGKILL)
        until(lambda: connections(there) == proxy.open > 0, "those of the worker that is gone are told no more")
        until(
            lambda: scraped(there, "db_client_connection_max") == 3 * (4 + preload), "another worker tells its limits"
        )
        assert scopes() == 60  # what was counted stays
        there.ask("/order")
        until(lambda: scopes() == 61, "and the next is added")
