"""What a session's plain reads run on, at this moment: one rule, that knows its database, its engine and its session."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

from sqlalchemy import Engine, orm

from respool.engine.listeners import more_than
from respool.engine.pools.leases import NONE, Kind, LeaseRule

__all__ = ["Begin", "BeginRule", "hears_of_commits", "hears_of_partings", "hears_of_reads", "rule_of"]

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

    def is_unheard(self, engine: Engine, session: orm.Session) -> bool:
        """Whether a plain read of the session is leased in autocommit now, and nobody hears of that."""
        if self._begin == "on_use" or not session.autobegin or not is_unheard(session):
            return False
        rule = rule_of(engine)
        return rule.is_unheard() and (rule.committed or self._begin is not None)

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
#: The events by which somebody hears of what is read, before it is and object by object.
_READS = ("do_orm_execute", "loaded_as_persistent")

#: Where a class of sessions keeps who listens to it.
_HEARD = "_respool_heard"
_UNHEARD = "_respool_unheard"
#: How many listeners of ours there are to each of these.
_BY_US = [*(1 for _ in _TRANSACTIONS), *(0 for _ in _READS)]


def hears_of_transactions(session: Any) -> bool:
    """Whether somebody beside us listens to the session's transactions."""
    return _more_than(1, session, _TRANSACTIONS)


def hears_of_commits(session: Any) -> bool:
    """Whether it makes a difference to commit a session that has changed nothing: somebody listens, or values expire."""
    return session.expire_on_commit or _more_than(1, session, _COMMITS)


def hears_of_partings(session: Any) -> bool:
    """Whether somebody listens to what the session lets go of: by then it has to be usable still."""
    return _any(session, _PARTINGS, "_respool_partings_heard")


def hears_of_reads(session: Any) -> bool:
    """Whether somebody listens to what the session reads."""
    return _any(session, _READS, "_respool_reads_heard")


def _any(session: Any, names: tuple[str, ...], kept: str) -> bool:
    """Whether anybody listens, told as quickly as it can be: for that a session's class keeps who listens to it."""
    if "dispatch" in session.__dict__:
        return more_than(0, session.dispatch, names)
    heard = type(session).__dict__.get(kept)
    if heard is None:
        heard = _of_class(session, names)
        setattr(type(session), kept, heard)
    return any(heard)


def _more_than(number: int, session: Any, names: tuple[str, ...]) -> bool:
    if "dispatch" in session.__dict__:
        return more_than(number, session.dispatch, names)
    # nobody listens to this one by itself, and SQLAlchemy has not made what it keeps listeners in: nor do we
    return max(map(len, _of_class(session, names))) > number


def is_unheard(session: Any) -> bool:
    """Whether nobody beside us hears of transactions or reads of the session's, told as quickly as it can be."""
    heard = type(session).__dict__.get(_UNHEARD)
    if heard is None or "dispatch" in session.__dict__:
        heard = _of_class(session, (*_TRANSACTIONS, *_READS))
        setattr(type(session), _UNHEARD, heard)
        return not (hears_of_transactions(session) or hears_of_reads(session))
    return [*map(len, heard)] == _BY_US


def _of_class(session: Any, names: tuple[str, ...]) -> Sequence[Collection[Any]]:
    """Who listens to a session's class: the collections that SQLAlchemy appends to for as long as it lives."""
    cls = type(session)
    if _HEARD not in cls.__dict__:
        setattr(cls, _HEARD, {})
    by_names: dict[tuple[str, ...], Sequence[Collection[Any]]] = getattr(cls, _HEARD)
    heard = by_names.get(names)
    if heard is None:
        nobody = orm.Session.__new__(cls)
        heard = by_names[names] = [getattr(nobody.dispatch, name).parent_listeners for name in names]
    return heard
