"""``with db.scope("nightly") as session``: the scopes outside of HTTP, for threads and for asyncio."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from respool.ending.aio import end_async, in_greenlet
from respool.ending.end import End, drive, end_idle
from respool.scope.contracts import Owner
from respool.scope.scope import Scope
from respool.session.signposts import AsyncOnly, SyncOnly, refuse_decorating

__all__ = ["AsyncScopeBlock", "ScopeBlock"]

S = TypeVar("S")


class ScopeBlock(SyncOnly, AbstractContextManager[S]):
    """A block in which a scope is in force; it ends with the block."""

    __slots__ = ("_database", "_scope")

    def __init__(self, database: Owner, scope: Scope) -> None:
        self._database = database
        self._scope = scope

    if not TYPE_CHECKING:

        def __call__(self, function: object) -> NoReturn:
            refuse_decorating()

    def __enter__(self) -> S:
        self._database.require_own_name()
        around = self._scope.variable.get()  # perhaps its end is under way
        if around is not None and around.due is not None:
            around.due.make_way()
        self._scope.enter()
        try:
            session: S = self._database.open_session(self._scope)
            return session
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if not end_idle((self._scope,)):
                drive(End([self._scope], error=error))
        finally:
            self._scope.leave()


class AsyncScopeBlock(AsyncOnly, AbstractAsyncContextManager[S]):
    """The same for asyncio. The end is finished even if the task is cancelled meanwhile."""

    __slots__ = ("_database", "_scope")

    def __init__(self, database: Owner, scope: Scope) -> None:
        self._database = database
        self._scope = scope

    if not TYPE_CHECKING:

        def __call__(self, function: object) -> NoReturn:
            refuse_decorating()

    async def __aenter__(self) -> S:
        self._database.require_own_name()
        around = self._scope.variable.get()  # perhaps its end is under way
        if around is not None and around.due is not None:
            await around.due.make_way_async()
        self._scope.enter()
        try:
            session: S = self._database.open_session(self._scope)
            return session
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        try:
            if not end_idle((self._scope,)):
                await end_async(End([self._scope], error=error), in_greenlet)
        finally:
            self._scope.leave()
