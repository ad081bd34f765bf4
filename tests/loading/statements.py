"""The statements that scripts execute: what people write, with other values each time."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, inspect, literal, or_, select
from sqlalchemy.orm import defer, selectinload, subqueryload, with_expression
from sqlalchemy.orm.interfaces import UserDefinedOption

from tests.loading.mappings import Mapping

__all__ = ["collections", "statement_of"]


class Noting(UserDefinedOption):
    """An option that objects are marked with; SQLAlchemy's key of a statement does not tell of it."""

    propagate_to_loaders = True


def _keys(mapping: Mapping, number: int) -> list[Any]:
    return [mapping.key(n)[0] if mapping.shape.key == "pair" else mapping.key(n) for n in range(2, 2 + number)]


def statement_of(mapping: Mapping, n: int, time: int) -> tuple[Any, Any]:
    """The n-th statement, with the values of this time."""
    thing, key = mapping.Thing, inspect(mapping.Thing).primary_key[0]
    last = f"thing {1 + (n + time) % 5}"
    statements: list[Any] = [
        select(thing).where(thing.name == last),
        select(thing).order_by(thing.name),
        select(thing).order_by(thing.name).limit(1 + time),
        select(thing).where(thing.name.in_([f"thing {i}" for i in range(time, n + time)])).order_by(thing.name),
        select(thing).where(thing.name == bindparam("name"), thing.owner_id > time),
        select(thing).where(thing.owner_id == None).order_by(thing.name.desc()),  # noqa: E711
        select(thing)
        .join(mapping.Owner, mapping.Owner.id == thing.owner_id)
        .where(mapping.Owner.id == 1 + time % 2)
        .order_by(thing.name),
        select(thing, thing.name).order_by(thing.name).offset(time).limit(3),
        select(mapping.Owner).order_by(mapping.Owner.id.desc()),
        select(thing).where(thing.name > bindparam("a", last), thing.kind >= bindparam("a", last)),
        select(thing).where(thing.name > bindparam("a", last), thing.kind >= bindparam("b", "a")).limit(1 + n % 3),
        select(thing).where(or_(thing.name < last, key.is_(None))).order_by(thing.name).offset(1),
        select(thing).where(key.in_(_keys(mapping, (n + time) % 5)), thing.kind.in_(["thing"])).order_by(thing.name),
        select(thing).where(key.not_in(_keys(mapping, n % 3))).options(Noting(time)).order_by(thing.name).limit(4),
    ]
    statements += collections(mapping, n, last)
    if hasattr(thing, "extra"):
        statements += [select(thing).options(with_expression(thing.extra, literal(last))).order_by(thing.name)]
    if mapping.shape.one is not None:
        statements += [select(thing).options(selectinload(thing.owner), defer(thing.kind)).order_by(thing.name)]
    return statements[n % len(statements)], {"name": last} if n % len(statements) == 4 else None


def collections(mapping: Mapping, n: int, last: str) -> list[Any]:
    """Statements that load a collection, too; none if it is not loaded so."""
    owner, thing = mapping.Owner, mapping.Thing
    found = [select(thing).options(each).order_by(thing.name) for each in _of_things(mapping, last)]
    if mapping.shape.many in (None, "dynamic", "write_only"):
        return found
    more = selectinload(owner.things)
    loaders = [
        [more],
        [more, *[Noting(last)] * (n % 2)],
        [selectinload(owner.things.and_(thing.name <= last))],
        [more.load_only(thing.name)],
        [subqueryload(owner.things)],
        *[[more.options(each)] for each in _of_things(mapping, last)],
    ]
    if mapping.shape.one is not None:
        loaders += [[more.selectinload(thing.owner)]]
    if "first" in mapping.shape.extras:
        loaders += [[selectinload(owner.first)], [more, selectinload(owner.first)]]
    if hasattr(thing, "extra"):
        loaders += [[more.with_expression(thing.extra, literal(last))]]
    return found + [select(owner).options(*each).where(owner.id < 2 + n % 2).order_by(owner.id) for each in loaders]


def _of_things(mapping: Mapping, last: str) -> list[Any]:
    """Options that load more of each thing."""
    thing, loaders = mapping.Thing, []
    if "tags" in mapping.shape.extras:
        loaders += [selectinload(thing.tags)]
    if "tree" in mapping.shape.extras:
        loaders += [selectinload(thing.children), selectinload(thing.children, recursion_depth=2)]
        loaders += [selectinload(thing.parent), selectinload(thing.children.and_(thing.name <= last))]
    return loaders
