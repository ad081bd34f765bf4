"""What ``install`` has to look at, whatever the library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

from respool.database import applications
from respool.database.applications import Words
from respool.errors import ConfigError

__all__ = ["check_databases", "check_install"]

#: What has its databases.
_installed: WeakSet[Any] = WeakSet()


def check_install(app: Any, databases: Sequence[Any], *, asynchronous: bool) -> None:
    """Look at the arguments of an ``install``, and remember that it was done.

    Args:
        app: the library's application, broker, scheduler or worker.
        databases: what it is to be given.
        asynchronous: whether the library has jobs that are coroutine functions.

    Raises:
        ConfigError: there is none, one is not a database, is given twice, or needs asyncio where there is none; or the
            application has databases already.
    """
    check_databases(databases, asynchronous=asynchronous)
    if app in _installed:
        raise ConfigError(
            f"install() was called for {app!r} before",
            advice=["give it all databases at once, so that they end together: install(app, db, other_db)"],
            setting="databases",
        )
    _installed.add(app)


_WORDS = Words(
    by="install()",
    none="no database was given for the jobs",
    name_them=["name those that they use: install(app, db)", "on a class of your own for RQ's jobs: databases = (db,)"],
    sync_only=" of a library whose jobs are no coroutines",
    instead="give it a Database with a sync driver",
)


def check_databases(databases: Sequence[Any], *, asynchronous: bool) -> None:
    """Refuse what cannot serve jobs; see :func:`check_install`."""
    applications.check_databases(databases, _WORDS, asynchronous=asynchronous)
