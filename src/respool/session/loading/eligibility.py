"""Which sessions may read by plans, and by whose."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from sqlalchemy import Engine, orm

from respool.session.life import Life
from respool.session.loading.plans.kept import PLANS, Plans, plans_of

__all__ = ["Eligibility"]

#: What a read passes through of SQLAlchemy's. Whoever has put something else there wants to be asked.
_EXECUTE = orm.Session.execute
_GET_IMPL = orm.Session._get_impl
_IDENTITY_LOOKUP = orm.Session._identity_lookup
#: SQLAlchemy 2.0 keeps them as its secret.
_binds = attrgetter("binds" if hasattr(orm.Session(), "binds") else "_Session__binds")
#: Where there is an ``execute`` of another's that only hands on.
_HANDS_ON = "sqlmodel.orm.session"


class Eligibility:
    """See the head of the file."""

    __slots__ = ("_connection_for_bind", "_execute_internal", "_get_bind")

    def settle(self, ours: Any) -> None:
        """Our class of sessions is complete: what it has overridden counts as well."""
        self._get_bind = ours.get_bind
        self._execute_internal = ours._execute_internal
        self._connection_for_bind = ours._connection_for_bind

    def ways_of_its_own(self, cls: Any) -> list[str]:
        """The methods of a class by which its sessions' reads go another way than ours, so that there is no plan for any.

        Args:
            cls: a class of sync sessions.
        """
        ours = {
            "get_bind": self._get_bind,
            "_execute_internal": self._execute_internal,
            "_connection_for_bind": self._connection_for_bind,
            "_get_impl": _GET_IMPL,
            "_identity_lookup": _IDENTITY_LOOKUP,
        }
        found = [name for name, method in ours.items() if getattr(cls, name) is not method]
        hands_on = cls.execute is _EXECUTE or cls.execute.__module__ == _HANDS_ON
        return found if hands_on else ["execute", *found]

    def plans(self, session: Any, life: Life) -> Plans | None:
        """The plans of the engine that all of a session's statements go to; ``None`` if they are not all its own."""
        bind, cls, own = session.bind, type(session), session.__dict__
        if life.units is not None or _binds(session) or not isinstance(bind, Engine):
            return None
        if own.get("execution_options") or "execute" in own or "get_bind" in own:  # the former since SQLAlchemy 2.1
            return None
        if (
            (cls.execute is _EXECUTE or cls.execute.__module__ == _HANDS_ON)
            and cls.get_bind is self._get_bind
            and cls._execute_internal is self._execute_internal
            and cls._connection_for_bind is self._connection_for_bind
            and cls._get_impl is _GET_IMPL
            and cls._identity_lookup is _IDENTITY_LOOKUP
        ):
            plans: Plans | None = bind.__dict__.get(PLANS)
            if plans is None or plans.options is not bind._execution_options:
                plans = plans_of(bind)
            return plans
        return None
