"""``python -m tests.lowest``: what is run with the lowest versions that ``pyproject.toml`` allows (``make test-lowest``).

Sessions, and every framework and library for jobs by its contract. What is left out is about the tests, not about respool,
and stands here with its reason.
"""

from __future__ import annotations

import sys

import pytest

__all__ = ["CHOSEN", "LEFT_OUT", "arguments"]

CHOSEN = (
    *(
        "tests/scope",
        "tests/session",
        "tests/ending",
        "tests/database",
        "tests/engine/test_pools.py",
        "tests/engine/test_listeners.py",
        "tests/jobs/test_contract.py",
    ),
    *("tests/web/test_contract.py", "tests/web/test_asgi.py", "tests/web/test_wsgi.py", "tests/web/test_lifespan.py"),
    *("tests/web/test_fastapi.py", "tests/web/test_starlette.py", "tests/web/test_flask.py"),
    *("tests/web/test_flask_extension.py", "tests/web/test_overload.py"),
)

#: What cannot be run, and why.
LEFT_OUT = {
    "test_contract[FastAPI-async-late": "the stand asks for Depends(scope=…), which FastAPI has since 0.121",
    "test_contract[FastAPI-sync-late": "the same",
    "test_contract[FastAPI-async-after_the_answer": "the same",
    "test_contract[FastAPI-sync-after_the_answer": "the same",
    "test_what_a_dependency_makes_of_a_failed_commit_is_answered": "FastAPI keeps what dependencies raise for itself",
    "test_contract[Django (ASGI)-async-after_the_answer": "Django sends request_finished elsewhere",
    "test_contract[Sanic-async-websocket": "the lowest aiohttp, our client, cannot talk to the newest websockets",
    "test_contract[Starlette-async-route_template": "an old Starlette notes the handler, which stands for the route then",
    "test_contract[Starlette-sync-route_template": "the same",
    "test_flask.py::test_promise_05_streams_need_a_scope_of_their_own": "Flask leaves the context of a stream in force",
}

#: Old packages on a new Python; ``pyproject.toml`` makes errors of all warnings.
WARNINGS = (
    "DeprecationWarning",
    "PendingDeprecationWarning",
    "ResourceWarning",
    "pytest.PytestUnraisableExceptionWarning",
)


class LeaveOut:
    """A plugin that leaves out what stands above."""

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        left = [item for item in items if any(name in item.nodeid for name in LEFT_OUT)]
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)


def arguments() -> list[str]:
    """pytest's arguments."""
    quiet = [argument for warning in WARNINGS for argument in ("-W", f"ignore::{warning}")]
    return ["-p", "tests.lowest", "-m", "not stress and not postgres and not mariadb", *quiet, *CHOSEN]


def pytest_configure(config: pytest.Config) -> None:
    """Called by pytest, in each of its processes."""
    config.pluginmanager.register(LeaveOut(), "lowest")


if __name__ == "__main__":
    sys.exit(pytest.main([*arguments(), *sys.argv[1:]]))
