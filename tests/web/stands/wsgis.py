"""What the stands of WSGI frameworks have in common: guests around the application, and in its body."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Body", "HoldsBack", "Wrapper"]


class Wrapper:
    """Somebody's wrapper of a WSGI application, with a guest when that has answered."""

    def __init__(self, app: Any, guest: Callable[[], Any]) -> None:
        self.app = app
        self.guest = guest

    def __call__(self, environ: Any, start_response: Any) -> Any:
        heads: list[Any] = []

        def start(*head: Any) -> Any:
            heads.append(head)
            return lambda data: None

        parts = list(self.app(environ, start))
        if status := self.guest():
            heads[-1] = (f"{status} Changed", [])
            parts = [b"changed"]
        start_response(*heads[-1])
        return parts


class HoldsBack:
    """As compression does: the start waits for the first part of the body."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        heads: list[Any] = []

        def start(*head: Any) -> Any:
            heads.append(head)
            return lambda data: None

        parts = iter(self.app(environ, start))
        first = next(parts, b"")
        start_response(*heads[-1])
        yield first
        yield from parts


class Body:
    """A body with a guest at its end."""

    def __init__(self, part: str, guest: Callable[[], Any]) -> None:
        self.part = part
        self.guest = guest

    def __iter__(self) -> Iterator[bytes]:
        return iter([self.part.encode()])

    def close(self) -> None:
        self.guest()
