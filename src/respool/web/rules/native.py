"""The request for asyncio servers that are not ASGI: what ``asgi.py`` does around an application, in two calls."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, Self

from respool.database.base import DatabaseBase
from respool.ending.aio import end_async
from respool.ending.end import Stays, end_idle
from respool.ending.workers import perform
from respool.scope.scope import Scope
from respool.web.rules.client import Watch
from respool.web.rules.scopes import RequestScopes

__all__ = ["NativeRequest"]


class NativeRequest:
    """One request: its scopes are in force from :meth:`enter` to :meth:`leave`, and end before the answer leaves.

    Args:
        databases: those of the application.
        found: where the scopes can be found by name.
        label: what people call the request: ``"POST /orders"``.
        is_gone: whether the client has hung up.
    """

    __slots__ = ("scopes",)

    def __init__(
        self,
        databases: Sequence[DatabaseBase[Any]],
        found: MutableMapping[str, Scope],
        label: str,
        is_gone: Callable[[], bool],
    ) -> None:
        self.scopes = RequestScopes(databases, found, label, Watch(is_gone))

    @classmethod
    def of(cls, scopes: RequestScopes) -> Self:
        """The request whose scopes somebody else has made, and puts in force."""
        request = cls.__new__(cls)
        request.scopes = scopes
        return request

    def enter(self) -> None:
        """Put the scopes in force."""
        self.scopes.enter()

    def leave(self) -> None:
        """Put back what was in force before."""
        self.scopes.leave()

    async def end(self, status: int | None, error: BaseException | None = None, stays: Stays = Stays.NEVER) -> None:
        """Commit or roll back, and give every connection back; a second call does nothing.

        But where a commit has failed, a success is refused again.

        Args:
            status: the answer's, which has not begun to leave.
            error: what escaped from the application.
            stays: whether the session can be used afterwards, by an error page.

        Raises:
            Exception: what the end itself raises. The answer must not be sent then.
        """
        broken = self.scopes.broken
        if broken is not None and status is not None and status < 400:
            raise broken
        if stays is Stays.ALWAYS or not end_idle(self.scopes.scopes):
            await end_async(self.scopes.end(status, error or self.scopes.failure, stays), perform)
