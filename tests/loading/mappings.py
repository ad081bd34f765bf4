"""Mapped classes by description: what Hypothesis makes, and what a plan must not be able to be told from SQLAlchemy by."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from hypothesis import strategies as st
from sqlalchemy import event, orm

__all__ = ["Mapping", "Shape", "mapped", "shapes"]


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Reversed(sa.TypeDecorator[str]):
    """Has a processor in each direction."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value[::-1]

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value[::-1]


class Point:
    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y

    def __composite_values__(self) -> tuple[Any, Any]:
        return self.x, self.y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    __hash__ = None  # type: ignore[assignment]


#: By name: the type, and the value of the n-th row.
TYPES: dict[str, tuple[Callable[[], Any], Callable[[int], Any]]] = {
    "int": (sa.Integer, lambda n: n * 3),
    "str": (lambda: sa.String(50), lambda n: f"text {n}"),
    "text": (sa.Text, lambda n: None if n % 2 else "long" * n),
    "float": (sa.Float, lambda n: n / 2),
    "numeric": (lambda: sa.Numeric(10, 2), lambda n: Decimal(n) / 4),
    "bool": (sa.Boolean, lambda n: bool(n % 2)),
    "date": (sa.Date, lambda n: dt.date(2024, 1, 1 + n)),
    "datetime": (sa.DateTime, lambda n: dt.datetime(2024, 1, 1, n, 2, 3, tzinfo=dt.UTC).replace(tzinfo=None)),
    "time": (sa.Time, lambda n: dt.time(n, 1)),
    "bytes": (sa.LargeBinary, lambda n: bytes([n])),
    "json": (sa.JSON, lambda n: {"n": [n]}),
    "enum": (lambda: sa.Enum(Colour, native_enum=False), lambda n: list(Colour)[n % 2]),
    "uuid": (sa.Uuid, lambda n: uuid.UUID(int=n)),
    "interval": (sa.Interval, lambda n: dt.timedelta(hours=n)),
    "reversed": (lambda: Reversed(50), lambda n: f"back {n}"),
}
PLAIN = ("int", "str", "numeric", "bool", "datetime", "uuid", "reversed")
DEFERRED = ("no", "no", "no", "yes", "group", "raise")
KEYS = ("int", "str", "reversed", "uuid", "pair")
LAZY_ONE = ("select", "select", "select", "raise", "joined", "selectin", "immediate", "raise_on_sql")
LAZY_MANY = ("select", "select", "select", "selectin", "subquery", "dynamic", "write_only", "raise")
EXTRAS = (
    *("column_property", "composite", "synonym", "version", "server_default", "hybrid", "validator", "reconstructor"),
    *(
        "own_new",
        "own_setattr",
        "own_init",
        "dataclass",
        "single",
        "joined",
        "load_event",
        "refresh_event",
        "set_event",
    ),
    *("partial_keys_off", "order_by", "query_expression", "mutable", "tags", "tree", "keyed", "as_set", "first"),
)
#: What leaves the reads of a mapping as simple as they are.
SIMPLE_EXTRAS = ("query_expression", "tags", "tree", "keyed", "as_set", "first")


@dataclass(frozen=True)
class Shape:
    """What a mapping is made of."""

    key: str = "int"
    columns: tuple[tuple[str, str], ...] = (("str", "no"),)  #: types, and how each is deferred
    one: str | None = "select"  #: how a many-to-one is loaded
    many: str | None = "select"  #: how a one-to-many is
    extras: frozenset[str] = frozenset()

    @property
    def simple(self) -> bool:
        """Whether its reads have to be planned."""
        return (
            not self.extras
            - {"version", "server_default", "hybrid", "synonym", "own_init", "set_event", "column_property"}
            - {*SIMPLE_EXTRAS}
            | {"query_expression"} & self.extras
            and all(how in ("no", "yes") for _, how in self.columns)
            and self.one in (None, "select", "raise", "raise_on_sql")
            and self.many in (None, "select", "raise", "dynamic", "write_only")
        )


@st.composite
def shapes(draw: Any) -> Shape:
    """Half of them plain, so that plans are made at all."""
    plain = draw(st.booleans())
    columns = draw(
        st.lists(st.tuples(st.sampled_from(PLAIN if plain else [*TYPES]), st.sampled_from(DEFERRED)), max_size=6)
    )
    if plain:
        columns = [(kind, "yes" if how == "yes" else "no") for kind, how in columns]
    return Shape(
        key=draw(st.sampled_from(KEYS)),
        columns=tuple(columns),
        one=draw(st.sampled_from(["select", None] if plain else [*LAZY_ONE, None])),
        many=draw(st.sampled_from(["select", None] if plain else [*LAZY_MANY, None])),
        extras=frozenset(draw(st.lists(st.sampled_from(SIMPLE_EXTRAS if plain else EXTRAS), max_size=3))),
    )


@dataclass
class Mapping:
    """The classes of a shape, and what was heard of them."""

    shape: Shape
    base: Any
    Thing: Any
    Owner: Any
    heard: list[tuple[Any, ...]] = field(default_factory=list)

    ROWS = 6

    def key(self, n: int) -> Any:
        """The key of the n-th thing."""
        return {
            "int": n,
            "str": f"k{n}",
            "reversed": f"key {n}",
            "uuid": uuid.UUID(int=n),
            "pair": (n, n * 10),
        }[self.shape.key]

    def fill(self, connection: Any) -> None:
        """Give the tables their rows, and no others."""
        things, owners, metadata = self.Thing.__table__, self.Owner.__table__, self.base.metadata
        parents = {column.name: None for column in things.c if column.name.startswith("parent_")}
        if parents:  # InnoDB looks at each row by itself
            connection.execute(things.update().values(parents))
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
        connection.execute(owners.insert(), [{"id": n, "name": f"owner {n}"} for n in (1, 2)])
        rows = []
        for n in range(1, self.ROWS + 1):
            key = self.key(n)
            values: dict[str, Any] = {"a": key[0], "b": key[1]} if self.shape.key == "pair" else {"id": key}
            for i, (kind, _) in enumerate(self.shape.columns):
                values[f"c{i}"] = TYPES[kind][1](n)
            if parents:
                values |= zip(parents, _parts(self.key(n // 2)) if n > 1 else [None] * len(parents), strict=True)
            values["owner_id"] = None if n == 6 else n % 2 + 1
            values["kind"] = "thing"
            values["name"] = f"thing {n}"
            if "version" in self.shape.extras:
                values["version"] = 1
            if "mutable" in self.shape.extras:
                values["bag"] = {"n": n}
            rows.append(values)
        connection.execute(things.insert(), rows)
        if "tags" in self.shape.extras:
            connection.execute(metadata.tables["tags"].insert(), [{"id": n, "word": f"tag {n}"} for n in (1, 2, 3)])
            links = metadata.tables["links"]
            pairs = [(n, tag) for n in range(1, self.ROWS + 1) for tag in (1, 2, 3) if n % (tag + 1)]
            names = [column.name for column in links.c]
            connection.execute(
                links.insert(), [dict(zip(names, (tag, *_parts(self.key(n))), strict=True)) for n, tag in pairs]
            )


def _parts(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def mapped(shape: Shape) -> Mapping:
    """Make the classes of a shape."""
    registry = orm.registry()
    dataclass_ = "dataclass" in shape.extras
    bases: Any = (orm.MappedAsDataclass, orm.DeclarativeBase) if dataclass_ else (orm.DeclarativeBase,)
    base: Any = type("Base", bases, {"registry": registry, "__module__": __name__})
    owner = _owner(base, shape)
    thing = _thing(base, shape)
    mapping = Mapping(shape, base, thing, owner)
    base.registry.configure()
    _listen(mapping)
    return mapping


def _owner(base: Any, shape: Shape) -> Any:
    body: dict[str, Any] = {
        "__tablename__": "owners",
        "__module__": __name__,
        "__annotations__": {"id": orm.Mapped[int], "name": orm.Mapped[str]},
        "id": orm.mapped_column(primary_key=True),
        "name": orm.mapped_column(sa.String(50)),
    }
    if shape.many is not None:
        more: dict[str, Any] = {"lazy": shape.many}
        if "order_by" in shape.extras:
            more["order_by"] = "Thing.name"
        if shape.one is not None:
            more["back_populates"] = "owner"
        if "dataclass" in shape.extras:
            more["init"] = False
        held: Any = list["Thing"]  # noqa: F821
        if shape.many not in ("dynamic", "write_only"):
            if "keyed" in shape.extras:
                more["collection_class"], held = orm.attribute_keyed_dict("name"), dict[str, "Thing"]  # noqa: F821
            elif "as_set" in shape.extras:
                more["collection_class"], held = set, set["Thing"]  # noqa: F821
        body["things"] = orm.relationship("Thing", **more)
        annotation = {"dynamic": orm.DynamicMapped, "write_only": orm.WriteOnlyMapped}.get(shape.many)
        body["__annotations__"]["things"] = annotation["Thing"] if annotation else orm.Mapped[held]
    if "first" in shape.extras:
        own = {"init": False} if "dataclass" in shape.extras else {}
        body["first"] = orm.relationship("Thing", viewonly=True, uselist=False, order_by="Thing.name", **own)
        body["__annotations__"]["first"] = orm.Mapped["Thing"]
    return type("Owner", (base,), body)


def _thing(base: Any, shape: Shape) -> Any:
    extras, body = shape.extras, {"__tablename__": "things", "__module__": __name__}
    annotations: dict[str, Any] = {}
    body["__annotations__"] = annotations

    default: dict[str, Any] = {"default": None} if "dataclass" in extras else {}

    def add(name: str, annotation: Any, value: Any) -> None:
        annotations[name] = orm.Mapped[annotation]
        body[name] = value

    if shape.key == "pair":
        add("a", int, orm.mapped_column(primary_key=True, autoincrement=False, **default))
        add("b", int, orm.mapped_column(primary_key=True, autoincrement=False, **default))
    else:
        kind: Any = {"int": sa.Integer, "str": sa.String(20), "reversed": Reversed(20), "uuid": sa.Uuid}[shape.key]
        add("id", Any, orm.mapped_column(kind, primary_key=True, **default))
    add("name", str, orm.mapped_column(sa.String(50), **default))
    add("kind", str, orm.mapped_column(sa.String(10), **default))
    add("owner_id", int | None, orm.mapped_column(sa.ForeignKey("owners.id"), nullable=True, **default))
    for i, (type_, how) in enumerate(shape.columns):
        options = {
            "no": {},
            "yes": {"deferred": True},
            "group": {"deferred": True, "deferred_group": "g"},
            "raise": {"deferred": True, "deferred_raiseload": True},
        }[how]
        add(f"c{i}", Any, orm.mapped_column(TYPES[type_][0](), nullable=True, **options, **default))
    if shape.one is not None:
        more = {"lazy": shape.one} | ({"back_populates": "things"} if shape.many is not None else {})
        if "dataclass" in extras:
            more["init"] = False
        add("owner", "Owner | None", orm.relationship("Owner", **more))
        annotations["owner"] = orm.Mapped["Owner"]
    _relations(base, shape, body, add, default)
    _extras(extras, body, add, default)
    thing = type("Thing", (base,), body)
    if "single" in extras:
        type("SpecialThing", (thing,), {"__module__": __name__, "__mapper_args__": {"polymorphic_identity": "special"}})
    elif "joined" in extras and shape.key != "pair" and not default:
        more = {"__tablename__": "special", "__module__": __name__, "__annotations__": {"id": orm.Mapped[Any]}}
        type("SpecialThing", (thing,), {**more, "id": orm.mapped_column(sa.ForeignKey("things.id"), primary_key=True)})
    return thing


def _relations(base: Any, shape: Shape, body: dict[str, Any], add: Any, default: dict[str, Any]) -> None:
    """To many on both sides, and of a class to itself."""
    keys = {"a": sa.Integer, "b": sa.Integer} if shape.key == "pair" else {"id": body["id"].column.type}
    own: dict[str, Any] = {"init": False} if default else {}
    targets = [f"things.{key}" for key in keys]
    if "tree" in shape.extras:
        for key, kind in keys.items():
            add(f"parent_{key}", Any, orm.mapped_column(kind, nullable=True, **default))
        parents = [body[f"parent_{key}"] for key in keys]
        body["__table_args__"] = (sa.ForeignKeyConstraint([f"parent_{key}" for key in keys], targets),)
        remote = [body[key] for key in keys]
        body["parent"] = orm.relationship(
            "Thing", back_populates="children", remote_side=remote, foreign_keys=parents, **own
        )
        body["children"] = orm.relationship("Thing", back_populates="parent", foreign_keys=parents, **own)
        body["__annotations__"] |= {"parent": orm.Mapped["Thing"], "children": orm.Mapped[list["Thing"]]}  # noqa: F821
    if "tags" in shape.extras:
        tag = {"__tablename__": "tags", "__module__": __name__, "__annotations__": {"id": orm.Mapped[int]}}
        columns = {"id": orm.mapped_column(primary_key=True), "word": orm.mapped_column(sa.String(10))}
        tag["__annotations__"]["word"] = orm.Mapped[str]
        tagged: Any = type("Tag", (base,), tag | columns)
        links = sa.Table(
            "links",
            base.metadata,
            sa.Column("tag_id", sa.ForeignKey("tags.id"), primary_key=True),
            *[sa.Column(f"thing_{key}", kind, primary_key=True) for key, kind in keys.items()],
            sa.ForeignKeyConstraint([f"thing_{key}" for key in keys], targets),
        )
        body["tags"] = orm.relationship(tagged, secondary=links, order_by=tagged.id, **own)
        body["__annotations__"]["tags"] = orm.Mapped[list[tagged]]


def _extras(extras: frozenset[str], body: dict[str, Any], add: Any, default: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {}
    if "column_property" in extras:
        body["shout"] = orm.column_property(sa.func.upper(body["name"]))
    if "composite" in extras and "dataclass" not in extras:
        body["point"] = orm.composite(Point, body["name"], body["kind"])
    if "synonym" in extras:
        body["title"] = orm.synonym("name")
    if "version" in extras:
        add("version", int, orm.mapped_column(default=1))
        arguments["version_id_col"] = body["version"]
    if "server_default" in extras:
        add("made", str, orm.mapped_column(sa.String(10), server_default="now", **default))
    if "mutable" in extras:
        from sqlalchemy.ext.mutable import MutableDict

        add("bag", Any, orm.mapped_column(MutableDict.as_mutable(sa.JSON), nullable=True, default=None))
    if "query_expression" in extras:
        body["extra"] = orm.query_expression()
    if "validator" in extras:
        body["check"] = orm.validates("name")(lambda self, key, value: value)
    if "reconstructor" in extras:
        body["rebuilt"] = orm.reconstructor(lambda self: self.__dict__.setdefault("built", True))
    if "own_new" in extras:
        body["__new__"] = _own_new
    if "own_setattr" in extras:
        body["__setattr__"] = _own_setattr
    if "own_init" in extras and "dataclass" not in extras:
        body["__init__"] = _own_init
    if "single" in extras:
        arguments |= {"polymorphic_on": body["kind"], "polymorphic_identity": "thing"}
    if "partial_keys_off" in extras:
        arguments["allow_partial_pks"] = False
    if arguments:
        body["__mapper_args__"] = arguments


def _own_new(cls: Any, *args: Any, **kwargs: Any) -> Any:
    made = object.__new__(cls)
    made.__dict__["made_by"] = "own"
    return made


def _own_setattr(self: Any, name: str, value: Any) -> None:
    object.__setattr__(self, name, value)
    self.__dict__["set_last"] = name if name != "_sa_instance_state" else "state"


def _own_init(self: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(self, name, value)
    self.__dict__["initialized"] = True


def _listen(mapping: Mapping) -> None:
    heard, thing = mapping.heard, mapping.Thing
    if "load_event" in mapping.shape.extras:
        event.listen(thing, "load", lambda target, context: heard.append(("load", type(target).__name__)))
    if "refresh_event" in mapping.shape.extras:
        event.listen(thing, "refresh", lambda target, context, names: heard.append(("refresh", sorted(names or ()))))
    if "set_event" in mapping.shape.extras:
        event.listen(thing.name, "set", lambda target, value, old, initiator: heard.append(("set", value)))
