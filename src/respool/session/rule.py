"""What a session's plain reads run on, at this moment: one rule, that knows its database, its engine and its session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Engine

from respool.engine.leases import NONE, Kind, LeaseRule

if TYPE_CHECKING:
    from respool.session.session import Session

__all__ = ["Begin", "BeginRule"]

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

    def kind(self, engine: Engine, session: Session) -> Kind:
        """What a plain read of the session may run on now. The first call may open a connection."""
        if self._begin == "on_use" or not session.autobegin or _hears_of_transactions(session):
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


def _hears_of_transactions(session: Any) -> bool:
    """Whether somebody beside us listens to the session's transactions, or options are set at their beginning."""
    dispatch = session.dispatch
    return (
        len(dispatch.after_begin) > 1
        or len(dispatch.after_transaction_create) > 1
        or len(dispatch.after_transaction_end) > 1
        or bool(getattr(session, "execution_options", None))  # since SQLAlchemy 2.1
    )
