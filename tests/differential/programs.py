"""Programs by chance: mostly ordinary ones, with one or two things about them that are not.

Each has a number, and is the same whenever it is made.  They are drawn evenly by plain chance: of what Hypothesis's own
strategies make of such trees two of five had a single step, and four of five were near copies of the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

from tests.differential import model as m
from tests.differential.listeners import ACTS, EVENTS, SQL
from tests.differential.places import DRIVERS, OTHERS
from tests.differential.statements import CATALOGUE, names

__all__ = ["program"]

T = TypeVar("T")

_LEVELS = {
    "postgresql": ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", "AUTOCOMMIT"),
    "sqlite": ("SERIALIZABLE", "READ UNCOMMITTED", "AUTOCOMMIT"),
    "mariadb": ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", "AUTOCOMMIT"),
}

#: What people listen to most.
_COMMON = (
    ("engine", "before_cursor_execute"),
    ("engine", "after_cursor_execute"),
    ("engine", "before_execute"),
    ("engine", "begin"),
    ("engine", "engine_connect"),
    ("pool", "connect"),
    ("pool", "checkout"),
    ("pool", "checkin"),
    ("pool", "reset"),
    ("session", "after_begin"),
    ("session", "after_transaction_create"),
    ("session", "after_transaction_end"),
    ("session", "before_flush"),
    ("session", "do_orm_execute"),
    ("session", "before_commit"),
    ("session", "after_commit"),
)


def program(driver: str, number: int) -> m.Program:
    """One of the programs for a driver.

    Args:
        driver: one of ``DRIVERS``.
        number: which.
    """
    return _Maker(driver, number).program()


class _Maker:
    def __init__(self, driver: str, number: int) -> None:
        self.driver = driver
        self.database, self.asynchronous = DRIVERS[driver]
        self.random = Random(f"{driver} {number}")
        self.levels = _LEVELS[self.database]
        self.kinds: dict[str, list[str]] = {}
        for name in names(self.database):
            self.kinds.setdefault(CATALOGUE[name].kind, []).append(name)

    def program(self) -> m.Program:
        size = self.random.choice((1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 8, 10, 12))
        made = m.Program(
            setup=self.setup() if self.one_in(1.6) else m.Setup(face=self.among("hand", "scope")),
            listeners=tuple(self.listener() for _ in range(self.random.choice((0, 0, 0, 0, 1, 1, 1, 2)))),
            steps=tuple(self.step() for _ in range(size)),
            end=self.among("close", "commit", "commit", "rollback", "raise", "interrupt"),
            times=self.mostly(1, 2, 2, 6),
            warm=self.one_in(2),
        )
        return _without_chance(made)

    # -- chance

    def among(self, *choices: T) -> T:
        return self.random.choice(choices)

    def one_in(self, times: float) -> bool:
        return self.random.random() * times < 1

    def mostly(self, usual: Any, *others: Any, one_in: float = 5) -> Any:
        return self.random.choice(others) if self.one_in(one_in) else usual

    # -- the engine and the session

    def setup(self) -> m.Setup:
        postgresql, sqlite = self.database == "postgresql", self.database == "sqlite"
        ways = ("engine", "options", "server") if postgresql else ("engine", "options")
        level = (self.among(*ways), self.among(*self.levels))
        if level == ("server", "AUTOCOMMIT"):
            level = ("engine", "AUTOCOMMIT")
        return m.Setup(
            face=self.mostly(self.among("hand", "scope"), "connection", one_in=15),
            begin=self.among("on_write", None),
            pool=self.mostly("ours", "queue", "null", "static", one_in=3),
            size=self.among(1, 2),
            reset=self.mostly("rollback", "commit", None),
            isolation=self.mostly(None, level, one_in=4),
            autocommit=self.mostly(False, True, one_in=6),
            prepare=self.mostly(5, 0, None) if self.driver in ("psycopg", "psycopg_async", "asyncpg") else 5,
            tenant=self.mostly(False, not sqlite),
            expire_on_commit=self.mostly(False, True),
            autoflush=self.mostly(True, False),
            autobegin=self.mostly(True, False, one_in=20),
            stream=self.mostly(False, True, one_in=15),
            second=self.mostly(None, *self.levels),
            journal=self.among("delete", "wal") if sqlite else "delete",
            recipe=self.mostly(False, sqlite),
        )

    def listener(self) -> m.Listener:
        if self.one_in(2):
            target, event = self.among(*_COMMON)
        else:
            target, event = self.among(*((target, event) for target, events in EVENTS.items() for event in events))
        act = self.act()
        if target in ("engine", "session") and self.one_in(6):
            target += "s"
        return m.Listener(target, event, act, declared=act.what in ("nothing", "look") and self.one_in(3))

    def act(self) -> m.Act:
        return m.Act(
            what=self.among(*ACTS, *SQL[self.database]),
            via=self.among("exec_driver_sql", "execute", "cursor", "fairy"),
            commit=self.one_in(5),
            once=self.one_in(2),
        )

    # -- steps

    def step(self, deep: bool = True) -> m.Step:
        weights = [(weight, make) for weight, make in _STEPS if deep or make not in _BLOCKS]
        (make,) = self.random.choices([make for _, make in weights], [weight for weight, _ in weights])
        made: m.Step = make(self)
        return made

    def slot(self) -> str:
        return self.among("a", "a", "b", "c")

    def model(self) -> str:
        return self.among("Widget", "Widget", "Part", "Gauge")

    def execute(self) -> m.Step:
        kind = self.among("orm", "orm", "core", "core", "core", "text", "fails") if self.one_in(1.3) else "orm"
        return m.Execute(
            self.among(*self.kinds[kind]),
            how=self.among("all", "all", "scalars", "first", "scalar", "some", "nothing"),
            into=self.among(None, "a", "b", "c"),
            on=self.mostly("session", "connection", "second", one_in=7),
            options=self.mostly((), *_OPTIONS, one_in=7),
        )

    def get(self) -> m.Step:
        return m.Get(
            self.model(), self.among(1, 1, 2, 3, 50, 99), self.slot(), lock=self.one_in(8), fresh=self.one_in(8)
        )

    def query(self) -> m.Step:
        return m.Query(self.model(), self.among("all", "first", "count"), self.among(None, "a", "b", "c"))

    def rest(self) -> m.Step:
        return m.Rest(self.among("all", "close"))

    def lazy(self) -> m.Step:
        return m.Lazy(self.slot(), self.among(None, "b", "c"))

    def read(self) -> m.Step:
        return m.Read(self.slot(), self.among("name", "size", "level"))

    def of_an_object(self) -> m.Step:
        kind: Any = self.among(m.Refresh, m.Refresh, m.Expire, m.Expunge, m.Delete, m.Delete)
        made: m.Step = kind(self.slot())
        return made

    def add(self) -> m.Step:
        return m.Add(
            self.among("Widget", "Part", "Audit"), self.among("new", "new", "one"), self.slot(), self.among(None, 1, 77)
        )

    def merge(self) -> m.Step:
        return m.Merge(self.among(1, 2, 77), self.among("merged", "two"), self.slot())

    def modify(self) -> m.Step:
        return m.Modify(self.slot(), self.among("changed", "longer", "two"))

    def of_the_session(self) -> m.Step:
        kind: Any = self.among(
            m.Flush,
            m.Commit,
            m.Commit,
            m.Commit,
            m.Rollback,
            m.Rollback,
            m.Rollback,
            m.Close,
            m.Begin,
            m.ExpireAll,
            m.Reset,
            m.Invalidate,
        )
        made: m.Step = kind()
        return made

    def connect(self) -> m.Step:
        return m.Connect(self.among(None, *self.levels))

    def other(self) -> m.Step:
        those = [what for what in OTHERS if what != "migrate" or self.database != "sqlite"]
        return m.Other(self.among(*those, *(["kill"] if self.database != "sqlite" else [])))

    def listen(self) -> m.Step:
        return m.Listen(self.listener())

    def nested(self) -> m.Step:
        return m.Nested(self.inside(), fails=self.one_in(3))

    def block(self) -> m.Step:
        return m.Block(self.inside(), fails=self.one_in(3))

    def no_autoflush(self) -> m.Step:
        return m.NoAutoflush(self.inside())

    def inside(self) -> tuple[m.Step, ...]:
        return tuple(self.step(deep=self.one_in(8)) for _ in range(self.among(0, 1, 2, 2, 3)))


_OPTIONS = ((("yield_per", 2),), (("stream_results", True),), (("populate_existing", True),))

_BLOCKS = (_Maker.nested, _Maker.block, _Maker.no_autoflush)

_STEPS: Sequence[tuple[int, Any]] = (
    (12, _Maker.execute),
    (6, _Maker.get),
    (2, _Maker.query),
    (1, _Maker.rest),
    (3, _Maker.lazy),
    (3, _Maker.read),
    (4, _Maker.of_an_object),
    (4, _Maker.add),
    (4, _Maker.modify),
    (1, _Maker.merge),
    (10, _Maker.of_the_session),
    (2, _Maker.connect),
    (5, _Maker.other),
    (2, _Maker.listen),
    (2, _Maker.nested),
    (1, _Maker.block),
    (1, _Maker.no_autoflush),
)


def _without_chance(made: m.Program) -> m.Program:
    """SQLAlchemy commits a session's connections in any order: where one may fail, there is only one.

    It goes through sets of objects as well: a listener that fails with one leaves the others as they are.
    """
    steps = m.flat(made.steps)
    if sum(isinstance(step, m.Add | m.Merge | m.Delete) for step in steps) > 1:
        made = replace(made, listeners=tuple(map(_harmless, made.listeners)), steps=_harmless_ones(made.steps))
        steps = m.flat(made.steps)
    heard = bool(made.listeners) or any(isinstance(step, m.Listen) for step in steps)
    lost = any(
        getattr(step, "parent", None) == 77 or getattr(step, "statement", "") == "no such widget" for step in steps
    )
    doomed = any(isinstance(step, m.Nested) for step in steps) and any(map(_fails, steps))  # its RELEASE fails
    if heard or lost or doomed or m.kills(made):
        made = replace(made, steps=_on_one(made.steps))
    if m.kills(made) and (made.setup.reset is None or any(each.target == "pool" for each in made.heard_by)):
        # a pool that looks at its connections meets what nobody resets, or their listeners have left open
        made = replace(made, steps=_without_kills(made.steps))
    return made


def _fails(step: m.Step) -> bool:
    return isinstance(step, m.Execute) and CATALOGUE[step.statement].kind == "fails"


#: Of several objects these are told in any order.
_OF_SETS = (
    *("pending_to_persistent", "pending_to_transient", "persistent_to_transient"),
    *("persistent_to_deleted", "deleted_to_persistent", "deleted_to_detached"),
)


def _harmless(listener: m.Listener) -> m.Listener:
    return replace(listener, act=m.Act("look")) if listener.event in _OF_SETS else listener


def _harmless_ones(steps: tuple[m.Step, ...]) -> tuple[m.Step, ...]:
    found: list[m.Step] = []
    for step in steps:
        if isinstance(step, m.Nested | m.Block | m.NoAutoflush):
            step = replace(step, steps=_harmless_ones(step.steps))
        elif isinstance(step, m.Listen):
            step = replace(step, listener=_harmless(step.listener))
        found.append(step)
    return tuple(found)


def _without_kills(steps: tuple[m.Step, ...]) -> tuple[m.Step, ...]:
    found: list[m.Step] = []
    for step in steps:
        if isinstance(step, m.Nested | m.Block | m.NoAutoflush):
            step = replace(step, steps=_without_kills(step.steps))
        found.append(m.Other("update") if step == m.Other("kill") else step)
    return tuple(found)


def _on_one(steps: tuple[m.Step, ...]) -> tuple[m.Step, ...]:
    found: list[m.Step] = []
    for step in steps:
        if isinstance(step, m.Execute) and step.on == "second":
            step = replace(step, on="session")
        elif isinstance(step, m.Nested | m.Block | m.NoAutoflush):
            step = replace(step, steps=_on_one(step.steps))
        found.append(step)
    return tuple(found)
