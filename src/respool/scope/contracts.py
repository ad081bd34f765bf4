"""What a scope asks of its session, and of the database that it belongs to: all that it knows of either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from respool.scope.policy import CommitPolicy
from respool.scope.session_phase import SessionPhase
from respool.whereabouts import Place

__all__ = ["Account", "MakesWay", "Owner", "Tenant"]


class Account(Protocol):
    """What is noted of a scope's use of its database."""

    status: int | None  #: the answer's, of a request

    def over(self, scope: Any) -> None:
        """The scope is over. Called once or more often; it does little, and never fails."""


class Tenant(Protocol):
    """What there is to know of a scope's session. It holds none, so its methods are handed it."""

    scope: Any  #: the session's ``Scope``; ``None`` for one that is managed by hand

    @property
    def title(self) -> str:
        """The scope that the session belongs to, in words."""

    @property
    def phase(self) -> SessionPhase:
        """Where the session is in its life."""

    @property
    def holds_connection(self) -> bool:
        """Whether it has a connection of the pool now."""

    @property
    def watch(self) -> Any:
        """What is to be ended when nobody is inside any more; ``None`` if there is nothing."""

    def objects(self, session: Any) -> Mapping[Any, Sequence[object]]:
        """The model objects that it tracks, by state."""

    def to_be_sealed(self, session: Any) -> Any:
        """What it has to be committed with an answer that is made, if anything."""

    def has_passed(self, session: Any) -> None:
        """Who was inside goes out, and there is something to be ended."""

    def last_one_out(self, session: Any) -> None:
        """Who was inside goes out, and its scope is over."""

    def forget(self, session: Any) -> None:
        """This is a forked child: the session and its connection belong to the parent."""


class Owner(Protocol):
    """A database, as its scopes know it."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def installed(self) -> bool:
        """Whether an application's requests have scopes of it."""

    @property
    def asynchronous(self) -> bool:
        """Whether its sessions are used by ``async with``."""

    @property
    def nesting(self) -> Any:
        """Its sessions inside of which others are open: a ``Nesting``."""

    @property
    def max_connections(self) -> int | None:
        """How many connections the pool may have; ``None`` for no limit, or none that is known."""

    def require_own_name(self) -> None:
        """Refuse to have a scope in force beside one of another database of this name."""

    def open_session(self, scope: Any) -> Any:
        """The session of a scope, which is made there unless it has one."""

    def block_of(self, scope: Any) -> Any:
        """A block in which a scope is in force."""

    @property
    def session(self) -> Any:
        """The session in force."""

    def scope_here(self) -> Any:
        """The ``Scope`` in force here, if there is one and it is not over."""

    def new_scope(self, label: str, *, place: Place | str | None = None, commit: CommitPolicy | None = None) -> Any:
        """A ``Scope`` that is not in force yet."""


class MakesWay(Protocol):
    """What is done before a scope is opened within another one."""

    def make_way(self) -> None:
        """Do it, where nothing can be awaited."""

    async def make_way_async(self) -> None:
        """Do it."""
