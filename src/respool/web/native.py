"""The request for asyncio servers that are not ASGI: what ``asgi.py`` does around an application, in two calls."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from respool.session.base import DatabaseBase
from respool.session.ending import end_async
from respool.session.scope import Scope
from respool.session.transaction import Stays
from respool.session.workers import perform
from respool.web.departures import Watch
from respool.web.requests import RequestScopes

__all__ = ["NativeRequest"]


class NativeRequest:
    """One request: its scopes are in force from :meth:`enter` to :meth:`leave`, and end before the answer leaves.

    Args:
        databases: those of the application.
        found: where the scopes can be found by name.
        label: what people call the request: ``"POST /orders"``.
        is_gone: whether the client has hung up.
    """

    __slots__ = ("enter", "leave", "scopes")

    def __init__(
        self,
        databases: Sequence[DatabaseBase[Any]],
        found: MutableMapping[str, Scope],
        label: str,
        is_gone: Callable[[], bool],
    ) -> None:
        self.scopes = RequestScopes(databases, found, label, Watch(is_gone))
        self.enter = self.scopes.enter
        self.leave = self.scopes.leave

    async def end(self, status: int | None, error: BaseException | None = None, stays: Stays = Stays.NEVER) -> None:
        """Commit or roll back, and give every connection back; a second call does nothing.

        Args:
            status: the answer's, which has not begun to leave.
            error: what escaped from the application.
            stays: whether the session can be used afterwards, by an error page.

        Raises:
            Exception: what the end itself raises. The answer must not be sent then.
        """
        if not self.scopes.end_unused():
            await end_async(self.scopes.end(status, error or self.scopes.failure, stays), perform)
