"""The same application in every framework, for the contract."""

from __future__ import annotations

from importlib import import_module

from tests.web.stands.base import Stand

__all__ = ["ALL"]

_MODULES = (
    *("fastapi", "starlette", "litestar", "quart", "sanic", "aiohttp"),
    *("flask", "django", "falcon", "pyramid", "bottle", "plain"),
)

ALL: list[type[Stand]] = [stand for name in _MODULES for stand in import_module(f"tests.web.stands.{name}").STANDS]
