"""What a session's plain reads run on, at this moment: one rule, that knows its database, its engine and its session."""

from __future__ import annotations

import weakref
from collections.abc import Collection
from typing import Any, Literal

from sqlalchemy import Engine, orm

from respool.engine.listeners import more_than
from respool.engine.pools.leases import NONE, Kind, LeaseRule

__all__ = ["Begin", "BeginRule", "events_heard", "hears_of_end", "hears_of_reads", "is_unheard", "rule_of"]

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

    __slots__ = ("at_any_level", "may_lease")

    def __init__(self, begin: Begin) -> None:
        self.may_lease = begin != "on_use"  #: ``False`` if no session of the database ever does
        self.at_any_level = begin == "on_write"  #: reads are leased at every isolation level: that was asked for

    def kind(self, engine: Engine, session: orm.Session) -> Kind:
        """What a plain read of the session may run on now. The first call may open a connection."""
        if not self.may_lease or not session.autobegin or hears_of_transactions(session):
            return NONE
        if getattr(session, "execution_options", None):  # since SQLAlchemy 2.1: they are set when a transaction begins
            return NONE
        rule = rule_of(engine)
        kind = rule.kind()
        return kind if rule.committed or self.at_any_level else NONE


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

#: How many listeners of ours there are to the former, and to the latter.
_BY_US = [*(1 for _ in _TRANSACTIONS), *(0 for _ in _READS)]


class _Heard:
    """Who listens to a class of sessions: the collections that SQLAlchemy appends to for as long as it lives."""

    __slots__ = ("_cls", "commits", "every", "partings", "reads", "transactions")

    def __init__(self, cls: type[Any]) -> None:
        nobody, key = orm.Session.__new__(cls), id(cls)

        def to(names: tuple[str, ...]) -> list[Collection[Any]]:
            return [getattr(nobody.dispatch, name).parent_listeners for name in names]

        self.transactions, self.commits = to(_TRANSACTIONS), to(_COMMITS)
        self.partings, self.reads = to(_PARTINGS), to(_READS)
        self.every = [*self.transactions, *self.reads]
        self._cls = weakref.ref(cls, lambda _: _heard.pop(key, None))


#: By the identity of the class: looking it up is asked for at every read.
_heard: dict[int, _Heard] = {}


def _heard_of(session: Any) -> _Heard | None:
    """Who listens to the session's class; ``None`` if somebody may listen to this one by itself."""
    if "dispatch" in session.__dict__:  # in which SQLAlchemy keeps such listeners, once it was asked for
        return None
    cls = type(session)
    heard = _heard.get(id(cls))
    if heard is None:
        heard = _heard[id(cls)] = _Heard(cls)
    return heard


def hears_of_transactions(session: Any) -> bool:
    """Whether somebody beside us listens to the session's transactions."""
    heard = _heard_of(session)
    if heard is None:
        return more_than(1, session.dispatch, _TRANSACTIONS)
    return max(map(len, heard.transactions)) > 1


def hears_of_reads(session: Any) -> bool:
    """Whether somebody listens to what the session reads."""
    # as _heard_of(), written out: every planned read asks
    heard = None if "dispatch" in session.__dict__ else _heard.get(id(type(session)))
    if heard is None and (heard := _heard_of(session)) is None:
        return more_than(0, session.dispatch, _READS)
    return any(heard.reads)


def hears_of_end(session: Any, *, commits: bool) -> bool:
    """Whether it makes a difference how a session is ended that has changed nothing.

    Args:
        session: the session.
        commits: whether that is a commit. Then somebody may listen to it, or values expire.

    Returns:
        also where somebody listens to what the session lets go of: by then it has to be usable still.
    """
    if commits and session.expire_on_commit:
        return True
    heard = None if "dispatch" in session.__dict__ else _heard.get(id(type(session)))  # as above
    if heard is None and (heard := _heard_of(session)) is None:
        partings = more_than(0, session.dispatch, _PARTINGS)
        return partings or (commits and more_than(1, session.dispatch, _COMMITS))
    return any(heard.partings) or (commits and max(map(len, heard.commits)) > 1)


def events_heard(cls: type[Any]) -> tuple[list[str], list[str]]:
    """Of which events of a class of sessions somebody beside us hears: those of reads, and those of transactions."""
    heard = _heard.get(id(cls)) or _Heard(cls)
    reads = [name for name, listeners in zip(_READS, heard.reads, strict=True) if listeners]
    transactions = zip(_TRANSACTIONS, heard.transactions, strict=True)
    return reads, [name for name, listeners in transactions if len(listeners) > 1]


def is_unheard(session: Any) -> bool:
    """Whether nobody beside us hears of transactions or reads of the session's."""
    heard = None if "dispatch" in session.__dict__ else _heard.get(id(type(session)))  # as above
    if heard is None and (heard := _heard_of(session)) is None:
        return not (more_than(1, session.dispatch, _TRANSACTIONS) or more_than(0, session.dispatch, _READS))
    return [*map(len, heard.every)] == _BY_US
