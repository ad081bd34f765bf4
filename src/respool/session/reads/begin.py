"""What a session's plain reads run on, at this moment: one rule, that knows its database, its engine and its session."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Engine, orm

from respool.engine.listeners import more_than
from respool.engine.pools.leases import NONE, Kind, LeaseRule

__all__ = ["Begin", "BeginRule", "hears_of_commits", "hears_of_partings", "rule_of"]

#: When a transaction begins; ``None``: with the first write, where the database's isolation level allows it.
Begin = Literal["on_write", "on_use"] | None

#: Where an engine keeps its rule.
_RULE = "_respool_lease_rule"


class BeginRule:
    """When the transactions of a database's sessions begin.

    By default with the first write on PostgreSQL, MySQL and MariaDB at READ COMMITTED, where every statement sees the
    database as it is at that moment anyway, and on SQLite; else with the first statement.

    Args:
        begin: what was asked for.
    """

    __slots__ = ("_begin",)

    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    @property
    def may_lease(self) -> bool:
        """``False`` if no session of the database ever does."""
        return self._begin != "on_use"

    def kind(self, engine: Engine, session: orm.Session) -> Kind:
        """What a plain read of the session may run on now. The first call may open a connection."""
        if self._begin == "on_use" or not session.autobegin or hears_of_transactions(session):
            return NONE
        if getattr(session, "execution_options", None):  # since SQLAlchemy 2.1: they are set when a transaction begins
            return NONE
        rule = rule_of(engine)
        kind = rule.kind()
        return kind if rule.committed or self._begin is not None else NONE


def rule_of(engine: Engine) -> LeaseRule:
    """The engine's part of the rule, which all who use the engine share."""
    try:
        rule: LeaseRule = engine._respool_lease_rule  # type: ignore[attr-defined]
    except AttributeError:
        rule = LeaseRule(engine)
        setattr(engine, _RULE, rule)
    return rule


#: The events by which somebody hears of a session's transactions; we are one of those who listen.
_TRANSACTIONS = ("after_begin", "after_transaction_create", "after_transaction_end")
_COMMITS = ("before_commit", "after_commit", "after_transaction_create", "after_transaction_end")
#: The events by which somebody hears that a session lets go of an object, and may use the session once more.
_PARTINGS = ("persistent_to_detached", "deleted_to_detached")


def hears_of_transactions(session: Any) -> bool:
    """Whether somebody beside us listens to the session's transactions."""
    return more_than(1, session.dispatch, _TRANSACTIONS)


def hears_of_commits(session: Any) -> bool:
    """Whether it makes a difference to commit a session that has changed nothing: somebody listens, or values expire."""
    return session.expire_on_commit or more_than(1, session.dispatch, _COMMITS)


def hears_of_partings(session: Any) -> bool:
    """Whether somebody listens to what the session lets go of: by then it has to be usable still."""
    return more_than(0, session.dispatch, _PARTINGS)
