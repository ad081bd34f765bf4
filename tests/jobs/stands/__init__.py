"""The same job in every library, for the contract."""

from __future__ import annotations

from importlib import import_module

from tests.jobs.stands.base import Stand

__all__ = ["ALL"]

_MODULES = ("celery", "rq", "dramatiq", "taskiq", "arq", "apscheduler", "commands")

ALL: list[type[Stand]] = [stand for name in _MODULES for stand in import_module(f"tests.jobs.stands.{name}").STANDS]
