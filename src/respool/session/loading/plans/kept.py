"""The plans of one engine."""

from __future__ import annotations

import re
import weakref
from collections.abc import Collection
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.engine.default import DefaultDialect, DefaultExecutionContext
from sqlalchemy.engine.interfaces import BindTyping

from respool.session.loading.plans.plan import Plan
from respool.session.loading.plans.refusal import NoPlan
from respool.session.reads.begin import rule_of

__all__ = ["PLANS", "Plans", "Table", "plans_of", "text_of"]

#: Where an engine keeps its plans.
PLANS = "_respool_plans"
#: A statement's text is kept up to so many characters.
_SHORT = 600
#: Where SQLAlchemy puts the values of a list into a text.
_LISTS = re.compile(r"__\[POSTCOMPILE_[^\]]*\]")
_REPORT = "report it with the statement: every mapping should be understood, or refused for a reason"
#: As many as SQLAlchemy keeps compiled statements by default.
_SIZE = 500

#: Drivers whose execution contexts do nothing before or after a select but what :mod:`running` does as well.
_DIRECT = frozenset(
    {"pysqlite", "aiosqlite", "psycopg", "psycopg_async", "asyncpg", "pymysql", "mysqldb", "aiomysql", "asyncmy"}
)


class Table(dict[Any, "Plan | NoPlan"]):
    """Plans by what they are found by, or why there is none: so that nothing is learned in vain each time.

    The oldest entries go when there are too many. A plan that is used all the time and goes is learned again.
    """

    def note(self, key: Any, plan: Plan | NoPlan) -> None:
        """Keep one."""
        if len(self) >= _SIZE:
            for old in list(self)[: _SIZE // 4]:
                self.pop(old, None)
        self[key] = plan


class Plans:
    """See the head of the file.

    Args:
        engine: whose.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.itself = weakref.ref(self)  #: for a statement, which may outlive the engine and must not keep it
        self.dialect: Any = engine.dialect
        self.options = engine._execution_options
        self.driver = engine.dialect.driver
        self.rule = rule_of(engine)  #: what its plain reads may run on
        self.direct = _is_direct(engine.dialect)  #: a read may do without SQLAlchemy's connection
        self.lazies = Table()  #: by a lazy loader, and the mapper of the object that it loads for
        self.selects = Table()  #: by SQLAlchemy's key of a statement, and what is given with it
        self.quick: dict[Any, tuple[Plan, Any]] = {}  #: by the parts of a statement; with it, which keeps them
        self.gets = Table()  #: by what ``get()`` is called with: the mapped class

    def note_quick(self, key: Any, entry: tuple[Plan, Any]) -> None:
        """Keep a plan by the parts of its statement."""
        if len(self.quick) >= _SIZE:
            self.quick.clear()
        self.quick[key] = entry

    def learn(self, kind: type[Plan], table: Table, key: Any, result: Any, given: Collection[str]) -> None:
        """Make a plan of what SQLAlchemy has just executed. Whatever is wrong with that, nothing is raised.

        Args:
            kind: of plan.
            table: where it goes.
            key: what it is found by there.
            result: what SQLAlchemy has made of the statement.
            given: the names of the parameters that were given with it.
        """
        plan: Plan | NoPlan
        try:
            plan = kind(result, given, self.options)
        except NoPlan as why:
            plan = why.kept(kind.kind, _text_of(result))
        except Exception as error:
            try:
                kind(result, given, self.options)
            except Exception:  # its own words may have values in them
                reason = f"it could not be learned: {type(error).__name__}"
                plan = NoPlan(reason, _REPORT).kept(kind.kind, _text_of(result))
            else:
                raise  # it does not come of the statement: a time limit that has been reached here
        table.note(key, plan)


def text_of(compiled: Any) -> str:
    """The text of a statement, without its parameters; of a long one the beginning.

    Args:
        compiled: SQLAlchemy's; ``None`` has no text.
    """
    text: str = getattr(compiled, "string", None) or ""
    text = _LISTS.sub("…", text) if "[POSTCOMPILE" in text else text
    return text if len(text) <= _SHORT else text[:_SHORT] + "…"


def _text_of(result: Any) -> str:
    return text_of(getattr(getattr(getattr(result, "raw", None), "context", None), "compiled", None))


def plans_of(engine: Any) -> Plans:
    """The plans of an engine, as it is now."""
    plans: Plans | None = engine.__dict__.get(PLANS)
    if plans is None or plans.options is not engine._execution_options:
        plans = Plans(engine)
        setattr(engine, PLANS, plans)
    return plans


def _is_direct(dialect: Any) -> bool:
    """Whether the dialect executes a select by ``cursor()``, ``execute()`` and ``fetchall()``, and nothing else."""
    ours = type(dialect).__module__.startswith("sqlalchemy.dialects.") and dialect.driver in _DIRECT
    contexts: Any = dialect.execution_ctx_cls
    return (
        ours
        and contexts.__module__.startswith("sqlalchemy.")
        and type(dialect).do_execute is DefaultDialect.do_execute
        and contexts.create_cursor is DefaultExecutionContext.create_cursor
        and contexts.create_default_cursor is DefaultExecutionContext.create_default_cursor
        and not dialect.server_side_cursors
        and dialect.bind_typing is not BindTyping.SETINPUTSIZES
    )
