"""``db.session`` where none is in force yet: an object that stands for whichever is, at the time it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import orm

from respool.errors import ScopeError

__all__ = ["SessionInForce"]


class _Asked:
    """What SQLAlchemy's ``scoped_session`` asks for its session."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask = ask

    def __call__(self) -> Any:
        return self._ask()

    def has(self) -> bool:
        return True

    def clear(self) -> None:
        """The scope does that, at its end."""


class SessionInForce(orm.scoped_session[Any]):
    """The session in force, as an object that can be handed out when the application is made.

    Whoever takes a ``scoped_session`` of SQLAlchemy's takes it: ``event.listen``, Flask-Admin, factory_boy, marshmallow.

    Args:
        ask: gives the session, or refuses.
        cls: gives the class of the sessions, for those who listen to its events.
        look: gives the session, if there is one already.
    """

    def __init__(
        self, ask: Callable[[], Any], cls: Callable[[], type[orm.Session]], look: Callable[[], Any | None]
    ) -> None:
        self.registry = _Asked(ask)  # type: ignore[assignment]
        self._class = cls
        self._look = look

    @property
    def session_factory(self) -> Any:  # type: ignore[override]
        """The class of the sessions."""
        return self._class()

    def __repr__(self) -> str:
        return "<the session in force>"

    def remove(self) -> None:
        """The same as the session's ``remove()``. None is made for it: clean-ups call it where all is over, too."""
        if (session := self._look()) is not None:
            session.remove()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            try:
                session = self._proxied
            except ScopeError as none:
                if hasattr(self._class(), name):
                    raise
                raise AttributeError(name) from none  # whoever looks what kind of object this is gets an answer
            return getattr(session, name)
