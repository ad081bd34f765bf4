"""Sessions by template: what SQLAlchemy's constructor sets is the same in each session of a database, or empty.

One session is made by the constructor; others get what that one had. What it had that is neither empty nor unchangeable makes
no template, and each session is made by the constructor as ever.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import session as theirs
from sqlalchemy.orm.identity import IdentityMap
from sqlalchemy.util import immutabledict

__all__ = ["Template", "template_of"]

#: Values that sessions may share.
_SHARED = (bool, str, int, type(None), enum.Enum, Engine, type, immutabledict)


#: What is no other session's.
_ITS_OWN = ("hash_key", "_respool_life", "dispatch", "sync_session", "_proxied")

Fresh = tuple[tuple[str, Callable[[], Any]], ...]


class Template:
    """Makes sessions of one class.

    Args:
        cls: the class.
        bind: the engine, of either kind.
        shared: what all of its sessions have.
        fresh: what each has anew, by the name of the attribute.
    """

    __slots__ = ("_cls", "_fresh", "_shared", "bind")

    def __init__(self, cls: type[Any], bind: Any, shared: dict[str, Any], fresh: Fresh) -> None:
        self._cls, self._shared, self._fresh = cls, shared, fresh
        self.bind = bind

    def make(self, life: Any) -> Any:
        """A session with this life."""
        session: Any = object.__new__(self._cls)
        attributes = session.__dict__
        attributes.update(self._shared)
        for name, new in self._fresh:
            attributes[name] = new()
        attributes["_respool_life"] = life
        key = attributes["hash_key"] = theirs._new_sessionid()
        theirs._sessions[key] = session
        return session

    def around(self, session: Any) -> Any:
        """An async session around a sync one; this is the template of such."""
        face: Any = object.__new__(self._cls)
        attributes = face.__dict__
        attributes.update(self._shared)
        for name, new in self._fresh:
            attributes[name] = new()
        attributes["sync_session"] = attributes["_proxied"] = face._assign_proxied(session)
        return face


def template_of(session: Any, bind: Any) -> Template | None:
    """The template that makes sessions as this one, which nobody has used yet; ``None`` if there cannot be one.

    Args:
        session: of either kind.
        bind: the engine that it was made for.
    """
    shared: dict[str, Any] = {}
    fresh: list[tuple[str, Callable[[], Any]]] = []
    for name, value in vars(session).items():
        if name in _ITS_OWN:
            continue
        if value is bind or isinstance(value, _SHARED):
            shared[name] = value
        elif (type(value) in (dict, set, list) and not value) or (isinstance(value, IdentityMap) and not len(value)):
            fresh.append((name, type(value)))
        else:
            return None
    return Template(type(session), bind, shared, tuple(fresh))
