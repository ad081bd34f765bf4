"""The page that shows what an application's databases are doing, for a browser: mounted anywhere, by ASGI or by WSGI."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from respool.observe.dashboard.mounting import Dashboard, dashboard
from respool.observe.dashboard.request import Request, Response

__all__ = ["Dashboard", "Request", "Response", "dashboard"]


class _Room(ModuleType):
    """``from respool.observe import dashboard`` gets this module when it is there already: it can be called, too."""

    def __call__(self, *databases: Any, **options: Any) -> Dashboard:
        return dashboard(*databases, **options)


sys.modules[__name__].__class__ = _Room
