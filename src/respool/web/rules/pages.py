"""The pages that show an application's databases: answered before its routing and outside of any request's scope."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from respool.errors import ConfigError

__all__ = ["Pages"]

_PLACE = re.compile(r"(?:/[^/?#\s]+)+")


class Pages(dict[str, Any]):
    """The dashboards of one application by their places, such as ``/respool``; most applications have none."""

    def add(
        self, place: str | None, databases: Sequence[Any], authorize: Any = None, hosts: Sequence[str] = ()
    ) -> None:
        """Show databases at a place, beside those that are shown there already.

        Args:
            place: a path below the application's own root; ``None``: they are not shown.
            databases: whatever is installed.
            authorize, hosts: as for :func:`respool.observe.dashboard.dashboard`.

        Raises:
            ConfigError: the place is none, or somebody is let in to nothing.
        """
        if place is None:
            if authorize is not None or hosts:
                raise ConfigError(
                    "install() was told who may see the dashboard, and not where it is",
                    advice=['name its place, too: install(app, db, dashboard="/respool", authorize=…)'],
                    setting="dashboard",
                )
            return
        if not _PLACE.fullmatch(str(place)):
            raise ConfigError(
                f"dashboard={place!r} is not accepted",
                advice=['write a path that begins with a slash and does not end with one: dashboard="/respool"'],
                setting="dashboard",
            )
        there = self.get(place)
        if there is None:
            from respool.observe.dashboard import dashboard

            self[place] = dashboard(*databases, authorize=authorize, hosts=hosts)
        elif authorize is not None or hosts:
            raise ConfigError(
                f"who may see the dashboard at {place} is said twice",
                advice=["say it where the first database is installed"],
                setting="authorize",
            )
        else:
            there.add(databases)

    def place_of(self, path: str) -> str | None:
        """The place that a path is at, or below."""
        return next((place for place in self if path == place or path.startswith(f"{place}/")), None)

    def of_asgi(self, scope: Mapping[str, Any]) -> Callable[..., Any] | None:
        """The page that an ASGI request is for, as an application."""
        root, path = scope.get("root_path", "").rstrip("/"), scope["path"]
        path = path.removeprefix(root) if path.startswith(f"{root}/") else path
        place = self.place_of(path)
        return None if place is None else partial(self[place].asgi, place=place)

    def of_wsgi(self, environ: Mapping[str, Any]) -> Callable[..., Any] | None:
        """The same for WSGI."""
        place = self.place_of(environ.get("PATH_INFO", ""))
        return None if place is None else partial(self[place].wsgi, place=place)

    async def answer(
        self, raw: Any, method: str, path: str, place: str, headers: Iterable[tuple[str, str]], client: str | None
    ) -> tuple[Any, Any]:
        """The answer of the page at a place, and what it streams, for a server that is neither."""
        from respool.observe.dashboard import Request

        answer: tuple[Any, Any] = await self[place].answer(Request.of_native(raw, method, path, place, headers, client))
        return answer

    def close(self) -> None:
        """The server stops: end what is streamed."""
        for page in self.values():
            page.close()
