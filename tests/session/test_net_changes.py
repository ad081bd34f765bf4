"""What changes come to: keys of several columns, inheritance, keys that move, orphans, values that change in place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import JSON, ForeignKey, delete, update
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from respool import Database, ObjectState, state_of
from respool.session.changes.log import Unloaded
from tests.session.shop import SMALL


class Base(DeclarativeBase):
    pass


class Place(Base):
    __tablename__ = "places"

    row: Mapped[int] = mapped_column(primary_key=True)
    seat: Mapped[int] = mapped_column(primary_key=True)
    guest: Mapped[str] = mapped_column(default="")


class Animal(Base):
    __tablename__ = "animals"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str] = mapped_column(default="")
    more: Mapped[Any] = mapped_column(MutableDict.as_mutable(JSON), default=dict)
    toys: Mapped[list[Toy]] = relationship(back_populates="owner", cascade="all, delete-orphan")


class Dog(Animal):
    __tablename__ = "dogs"
    __mapper_args__ = {"polymorphic_identity": "dog"}

    id: Mapped[int] = mapped_column(ForeignKey("animals.id"), primary_key=True)
    trick: Mapped[str] = mapped_column(default="")


class Toy(Base):
    __tablename__ = "toys"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("animals.id"))
    owner: Mapped[Animal] = relationship(back_populates="toys")


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest) -> Iterator[Database]:
    url = request.getfixturevalue("pg_url") if request.param == "postgresql" else None
    database = Database(url or f"sqlite:///{request.getfixturevalue('sqlite_file')}", pool=SMALL)
    Base.metadata.create_all(database.engine)
    with database.scope("fill") as session:
        session.add_all([Place(row=1, seat=1, guest="a"), Place(row=1, seat=2, guest="b")])
        session.add(Dog(id=1, name="rex", toys=[Toy(id=1), Toy(id=2)]))
        session.commit()
    yield database
    database.close()


def test_keys_of_several_columns(db: Database) -> None:
    with db.scope("job") as session:
        session.get_one(Place, (1, 2)).guest = "c"
        session.delete(session.get_one(Place, (1, 1)))
        session.flush()
        assert session.changes().lines() == ["Place(row=1, seat=2) updated: guest", "Place(row=1, seat=1) deleted"]
        session.rollback()


def test_inheritance(db: Database) -> None:
    with db.scope("job") as session:
        dog = session.get_one(Animal, 1)
        dog.name, dog.trick = "fido", "sit"  # type: ignore[attr-defined]
        session.add(puppy := Dog(id=2))
        session.flush()
        changes = session.changes()
        assert changes.lines() == ["Dog(id=2) inserted", "Dog(id=1) updated: name, trick"]
        assert changes.updates[0].attributes == {"name": ("rex", "fido"), "trick": (Unloaded.UNLOADED, "sit")}
        assert changes.inserts[0].object is puppy
        assert changes.inserts[0].values == {"id": 2, "kind": "dog", "name": "", "more": {}, "trick": ""}
        session.rollback()


def test_a_key_that_moves_is_one_row(db: Database) -> None:
    with db.scope("job") as session:
        place = session.get_one(Place, (1, 1))
        place.seat = 9
        session.flush()
        place.guest = "z"
        session.flush()
        (change,) = session.changes().updates
        assert str(change) == "Place(row=1, seat=1) updated: seat, guest"
        assert change.attributes == {"seat": (1, 9), "guest": ("a", "z")}
        session.delete(place)
        session.flush()
        assert session.changes().lines() == ["Place(row=1, seat=1) deleted"]
        session.rollback()


def test_a_row_that_takes_the_key_of_one_that_moved(db: Database) -> None:
    with db.scope("job") as session:
        session.get_one(Place, (1, 1)).seat = 9
        session.flush()
        session.add(Place(row=1, seat=1, guest="new"))
        session.flush()
        assert session.changes().lines() == ["Place(row=1, seat=1) inserted", "Place(row=1, seat=1) updated: seat"]
        session.rollback()


@pytest.mark.parametrize("flushed", [False, True])
def test_what_has_its_old_value_again_is_no_change(db: Database, flushed: bool) -> None:
    with db.scope("job") as session:
        place = session.get_one(Place, (1, 1))
        for guest in ("x", "y", "a"):
            place.guest = guest
            if flushed:
                session.flush()
        assert not session.changes()
        session.rollback()


@pytest.mark.parametrize("guest, told", [("a", []), ("q", ["Place(row=1, seat=1) updated: guest"])])
def test_a_row_in_the_place_of_a_deleted_one(db: Database, guest: str, told: list[str]) -> None:
    with db.scope("job") as session:
        place = session.get_one(Place, (1, 1))
        session.delete(place)
        session.flush()
        session.add(again := Place(row=1, seat=1, guest=guest))
        session.flush()
        assert session.changes().lines() == told
        assert (again.guest, place.guest) == (guest, "a")
        session.rollback()


def test_orphans_and_cascades(db: Database) -> None:
    with db.scope("job") as session:
        dog = session.get_one(Dog, 1)
        first = dog.toys[0]
        dog.toys.remove(first)
        session.flush()
        assert "Toy(id=1) deleted" in session.changes().lines()
        assert state_of(first) is ObjectState.DELETED
        session.delete(dog)
        session.flush()
        assert {str(change) for change in session.changes().deletes} == {
            *("Toy(id=1) deleted", "Toy(id=2) deleted", "Dog(id=1) deleted"),
        }
        session.rollback()


def test_values_that_change_in_place(db: Database) -> None:
    with db.scope("job") as session:
        dog = session.get_one(Dog, 1)
        dog.more["age"] = 3
        session.flush()
        assert session.changes().updates[0].attributes == {"more": (Unloaded.UNLOADED, {"age": 3})}
        session.rollback()


def test_inserted_and_deleted_is_nothing_and_detached_in_the_end(db: Database) -> None:
    with db.scope("job") as session:
        session.add(place := Place(row=5, seat=5))
        session.flush()
        session.delete(place)
        session.flush()
        assert session.objects()[ObjectState.DELETED] == [place]
        assert not session.changes()
        session.commit()
        assert state_of(place) is ObjectState.DETACHED


def test_a_savepoint_brings_a_deleted_object_back(db: Database) -> None:
    with db.scope("job") as session:
        place = session.get_one(Place, (1, 1))
        savepoint = session.begin_nested()
        session.delete(place)
        session.flush()
        assert session.objects()[ObjectState.DELETED] == [place]
        savepoint.rollback()
        assert session.objects()[ObjectState.DELETED] == []
        assert (state_of(place), bool(session.changes())) == (ObjectState.PERSISTENT, False)
        session.rollback()


def test_merge(db: Database) -> None:
    with db.scope("job") as session:
        session.merge(Place(row=1, seat=1, guest="a"))
        session.merge(Place(row=1, seat=2, guest="m"))
        session.merge(Place(row=7, seat=7))
        session.flush()
        assert session.changes().lines() == ["Place(row=7, seat=7) inserted", "Place(row=1, seat=2) updated: guest"]
        session.rollback()


def test_statements_that_change_loaded_objects_are_told_once(db: Database) -> None:
    with db.scope("job") as session:
        place = session.get_one(Place, (1, 1))
        session.execute(update(Place).values(guest="all"), execution_options={"synchronize_session": "fetch"})
        session.execute(delete(Place).where(Place.seat == 2))
        assert place.guest == "all"
        told = ["UPDATE places (Core statement)", "DELETE FROM places (Core statement)"]
        assert session.changes().lines() == told
        session.flush()
        assert session.changes().lines() == told
        session.rollback()
