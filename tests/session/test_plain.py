"""What is proved to be a plain read, and what is not: the proof errs on one side only."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, joinedload, mapped_column, relationship

from respool.session.plain import is_plain_read

DIALECTS = [postgresql.dialect(), asyncpg.dialect(), sqlite.dialect(), mysql.dialect()]


class Base(DeclarativeBase):
    pass


class Child(Base):
    __tablename__ = "child"

    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int] = mapped_column(sa.ForeignKey("parent.id"))


class Parent(Base):
    __tablename__ = "parent"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(30))
    data: Mapped[Any] = mapped_column(sa.JSON)
    update: Mapped[int]  # a name, and no statement
    children: Mapped[list[Child]] = relationship()


def tree() -> Any:
    root = select(Parent.id.label("n")).where(Parent.id == 1).cte("tree", recursive=True)
    return select(root.union_all(select(Parent.id).join(root, Parent.id == root.c.n + 1)).c.n)


PLAIN = {
    "entity": select(Parent),
    "in": select(Parent.id).where(Parent.id.in_([1, 2])),
    "joined": select(Parent).options(joinedload(Parent.children)).limit(3).offset(1),
    "count": select(func.count()).select_from(Parent),
    "window": select(func.row_number().over(partition_by=Parent.name, order_by=Parent.id)),
    "recursive": tree(),
    "exists": select(Parent.id).where(sa.exists().where(Child.parent_id == Parent.id)),
    "cast": select(sa.cast(Parent.id, sa.Numeric(10, 2)), sa.cast(Parent.name, sa.String(5))),
    "case and a string like a call": select(sa.case((Parent.id > 1, "a"), else_=sa.literal_column("'nextval(''s'')'"))),
    "union": select(Parent.id).union(select(Child.id)),
    "json": select(Parent.data["a"]),
    "group": select(Parent.id).join(Parent.children).group_by(Parent.id).having(func.count(Child.id) > 2),
    "like": select(Parent.id).where(Parent.name.ilike("%x(%")),
    "extract": select(sa.extract("year", func.now())),
    "a name like a call": select(aliased(Parent, name="order(")),
    "scalar subquery": select(Parent.id).where(Parent.id == select(func.max(Child.id)).scalar_subquery()),
    "between": select(Parent.id).where(Parent.id.between(1, 2)).order_by(Parent.id.desc()).distinct(),
}
MORE = {
    "lock": select(Parent).with_for_update(),
    "share": select(Parent).with_for_update(read=True),
    "sequence": select(func.nextval("s")),
    "advisory lock": select(func.pg_advisory_lock(1)),
    "unknown function": select(func.charge_the_customer(Parent.id)),
    "function of a schema": select(func.ours.count(Parent.id)),
    "volatile": select(func.random()),
    "text": sa.text("SELECT 1"),
    "textual": sa.text("SELECT 1 AS a").columns(sa.column("a")),
    "text with a call": select(sa.text("f(1)")),
    "literal with a call": select(sa.literal_column("f(1)")),
    "literal with a comment": select(sa.literal_column("1 -- )")),
    "hint": select(Parent).prefix_with("/*+ x */"),
    "insert": sa.insert(Parent),
    "update": sa.update(Parent),
    "delete": sa.delete(Parent),
    "into": select(sa.literal_column("1 INTO t")),
}


@pytest.mark.parametrize("what", PLAIN)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.driver)
def test_promise_02_a_plain_read_is_proved(what: str, dialect: sa.Dialect) -> None:
    assert is_plain_read(PLAIN[what].compile(dialect=dialect), {})


@pytest.mark.parametrize("what", MORE)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.driver)
def test_promise_02_all_else_is_more_than_a_read(what: str, dialect: sa.Dialect) -> None:
    assert not is_plain_read(MORE[what].compile(dialect=dialect), {})


def test_what_is_inside_of_a_read_counts_too() -> None:
    written = sa.insert(Parent).returning(Parent.id).cte("written")
    locked = select(Parent.id).with_for_update().subquery()
    for statement in (select(written.c.id), select(locked.c.id)):
        assert not is_plain_read(statement.compile(dialect=postgresql.dialect()), {})


def test_what_the_caller_says_counts() -> None:
    read = select(Parent).compile()
    assert not is_plain_read(read, {"respool_read": False})
    assert is_plain_read(MORE["volatile"].compile(), {"respool_read": True})
    assert is_plain_read(MORE["text"].compile(), {"respool_read": True})


@pytest.mark.parametrize("option", ["stream_results", "yield_per"])
def test_a_server_side_cursor_lives_in_a_transaction(option: str) -> None:
    assert not is_plain_read(select(Parent).compile(), {option: 10})
    assert not is_plain_read(select(Parent).compile(), {option: 10, "respool_read": True})


def test_a_string_for_the_driver_is_not_read() -> None:
    assert not is_plain_read("SELECT 1", {})
