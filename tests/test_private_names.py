"""Whose private names are used where: none of another file's of ours, and of other people's only those that are listed.

The work for a new version of SQLAlchemy begins by reading ``SQLALCHEMY``: what of it may go without notice.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_asyncio

import respool

SOURCE = Path(__file__).resolve().parent.parent / "src"
FILES = sorted(SOURCE.rglob("*.py"))

#: What is source that is executed, as a string.
_MADE = re.compile(r"^\s*(?:def \w+\(|MANAGER\.)", re.MULTILINE)

#: By the module that has them. What is overridden counts as used.
SQLALCHEMY = {
    "sqlalchemy.engine.base": (
        *(
            "_autobegin",
            "_commit_impl",
            "_commit_twophase_impl",
            "_dbapi_connection",
            "_echo",
            "_exec_insertmany_context",
        ),
        *("_exec_single_context", "_execute_context", "_execution_options", "_handle_dbapi_exception", "_is_prepared"),
        *("_handle_dbapi_exception_noconnection", "_nested_transaction", "_safe_close_cursor", "_savepoint_impl"),
        *("_reentrant_error", "_transaction"),
    ),
    "sqlalchemy.engine.default": ("_init_compiled", "_is_server_side", "_on_connect_isolation_level"),
    "sqlalchemy.engine.interfaces": ("_do_ping_w_event", "_has_events"),
    "sqlalchemy.engine.result": (
        "_getter",
        "_attributes",
        "_processors",
        "_soft_close",
        "_translated_indexes",
        "_tuplefilter",
        "_yield_per",
    ),
    "sqlalchemy.engine.cursor": ("_soft_closed",),
    "sqlalchemy.event.base": ("_event_names", "_join", "_update"),
    "sqlalchemy.log": ("_should_log_info",),
    "sqlalchemy.pool.base": (
        *("_ConnectionFairy", "_checkin", "_checkin_failed", "_checkout", "_connection_record", "_counter"),
        *("_create_connection", "_creator", "_dialect", "_do_get", "_do_return_conn", "_finalize_fairy"),
        *(
            "_invalidate",
            "_invalidate_time",
            "_invoke_creator",
            "_orig_logging_name",
            "_pool",
            "_recycle",
            "_reset_on_return",
        ),
    ),
    "sqlalchemy.pool.impl": ("_max_overflow", "_overflow", "_timeout"),
    "sqlalchemy.connectors.asyncio": ("_cursor", "_execute_mutex", "_rows"),
    "sqlalchemy.dialects.postgresql.asyncpg": ("_invalidate_schema_cache_asof", "_prepare_and_execute"),
    "sqlalchemy.ext.asyncio.base": ("_assign_proxied",),
    "sqlalchemy.engine.util": ("_trans_context_manager", "_trans_ctx_check"),
    "sqlalchemy.orm.context": (
        *(
            "_MapperEntity",
            "_extra_entities",
            "_fetch_column",
            "_for_refresh_state",
            "_get_entity_clauses",
            "_label_name",
        ),
        *("_only_load_props", "_with_polymorphic_mappers"),
    ),
    "sqlalchemy.orm.identity": ("_add_unpresent", "_dict", "_modified", "_wr"),
    "sqlalchemy.orm.instrumentation": ("_state_constructor", "_state_setter"),
    "sqlalchemy.orm.loading": ("_new_runid",),
    "sqlalchemy.orm.mapper": ("_dispose_called", "_get_clause", "_identity_class", "_path_registry", "_prop_set"),
    "sqlalchemy.orm.scoping": ("_proxied",),
    "sqlalchemy.orm.session": (
        *("_SessionCloseState", "_autobegin_t", "_autoflush", "_close_state", "_connection_for_bind", "_connections"),
        "_deleted",
        *("_dirty_states", "_execute_internal", "_expunge_states", "_get_impl", "_identity_lookup", "_is_clean"),
        *("_new", "_new_sessionid", "_parent", "_sessions"),
        "_rollback_can_be_called",
    ),
    "sqlalchemy.orm.state": ("_cleanup", "_commit", "_instance_dict"),
    "sqlalchemy.orm.strategies": ("_chunksize", "_emit_lazyload", "_load_for_path", "_query_info", "_raise_on_sql"),
    "sqlalchemy.orm.strategy_options": ("_extra_criteria",),
    "sqlalchemy.sql.compiler": (
        *("_bind_processors", "_cache_key_bind_match", "_cached_metadata", "_process_parameters_for_postcompile"),
    ),
    "sqlalchemy.sql.elements": ("_annotations", "_isnull"),
    "sqlalchemy.sql.type_api": ("_is_tuple_type", "_unwrapped_dialect_impl"),
    "sqlalchemy.sql.base": ("_propagate_attrs",),
    "sqlalchemy.sql.cache_key": ("_generate_cache_key", "_is_has_cache_key"),
    "sqlalchemy.sql.selectable": ("_for_update_arg", "_with_options"),
    "sqlalchemy.util.langhelpers": ("_set_memoized_attribute",),
}
#: Python's, the drivers', the frameworks' and the job libraries'.
OTHERS = {
    "sys": ("_current_frames", "_getframe"),
    "asyncio": ("_get_running_loop",),
    "threading": ("_is_owned",),
    "concurrent.futures": ("_max_workers",),
    "namedtuple": ("_replace",),
    "psycopg": ("_autocommit", "_exec_command", "_get_tx_start_command", "_pipeline"),
    "asyncpg": ("_top_xact",),
    "pymysql, aiomysql": ("_buffer", "_eof", "_sock"),
    "APScheduler": ("_executors",),
    "Celery": ("_tasks",),
    "Bottle": ("_cast", "_wsgi_status_line"),
    "Django": ("_exception_middleware", "_resource_closers"),
    "Falcon": (
        *("_error_handlers", "_independent_middleware", "_middleware", "_request_type", "_unprepared_middleware"),
        "_handle_exception",
    ),
    "Flask": ("_get_current_object",),
    "Pyramid": ("_process_finished_callbacks", "_process_response_callbacks"),
}
#: A claim's, which is a user's lease as well: private there, and the pool's own.
OURS = ("_entry", "_waiter", "_who")
#: What we lay into other people's objects.
LAID_IN = "_respool_"
LISTED = {*OURS, *(name for names in (*SQLALCHEMY.values(), *OTHERS.values()) for name in names)}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_" and not name.startswith(LAID_IN)


def is_own(value: ast.expr) -> bool:
    """``self``, ``cls`` or ``super()``."""
    name = value.func if isinstance(value, ast.Call) else value
    return isinstance(name, ast.Name) and name.id in ("self", "cls", "super")


def defined(tree: ast.AST) -> Iterator[str]:
    """The private names that a file gives to something."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value):
            yield node.attr
        elif isinstance(node, ast.ClassDef):
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign | ast.Assign):
                    yield from (each.id for each in ast.walk(statement) if isinstance(each, ast.Name))
                    yield from (str(each.value) for each in ast.walk(statement) if isinstance(each, ast.Constant))


def used(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """The private names that a file asks something for, and whether that is the object itself; in source that it makes, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _MADE.search(node.value):
            for name in re.findall(r"\.(_[a-z]\w*)", node.value):
                yield name, False
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            yield node.attr, is_own(node.value)


TREES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in FILES}
DEFINED = {file: set(filter(is_private, defined(tree))) for file, tree in TREES.items()}
EVERYWHERE = set[str]().union(*DEFINED.values())


def reached_for(tree: ast.AST, here: set[str]) -> set[str]:
    """What a file asks others for by their private names. What it has inherited is its own."""
    return {name for name, own in used(tree) if name not in here and not (own and name in EVERYWHERE)}


def test_nobody_reaches_for_what_is_private_elsewhere() -> None:
    found = {str(file.relative_to(SOURCE)): reached_for(tree, DEFINED[file]) - LISTED for file, tree in TREES.items()}
    assert {file: sorted(names) for file, names in found.items() if names} == {}


@pytest.mark.parametrize("line", ["life._news.begin(life)", "checkout._finalize()", "scope._around = None"])
def test_reaching_for_it_is_found(line: str) -> None:
    assert reached_for(ast.parse(line), set()) - LISTED


def test_what_is_listed_is_used() -> None:
    names = {name for tree in TREES.values() for name, _ in used(tree)} | EVERYWHERE
    assert names >= LISTED


@pytest.mark.parametrize("module", SQLALCHEMY)
def test_sqlalchemy_has_them_still(module: str) -> None:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    text = Path(spec.origin).read_text(encoding="utf-8")
    assert [name for name in SQLALCHEMY[module] if not re.search(rf"\b{name}\b", text)] == []


def test_no_private_name_is_listed_twice() -> None:
    times: dict[str, int] = defaultdict(int)
    for names in (*SQLALCHEMY.values(), *OTHERS.values(), OURS):
        for name in names:
            times[name] += 1
    assert {name: count for name, count in times.items() if count > 1} == {}


def added(ours: type[Any], theirs: type[Any]) -> set[str]:
    """The names that stand on a session of ours and not on SQLAlchemy's. A class of the user's may have any other."""
    return {name for name in dir(ours) if name not in dir(theirs) and not name.startswith(LAID_IN)}


@pytest.mark.parametrize(
    "ours, theirs", [(respool.Session, orm.Session), (respool.AsyncSession, sa_asyncio.AsyncSession)]
)
def test_on_a_session_stands_what_the_reference_describes(ours: type[Any], theirs: type[Any]) -> None:
    page = (SOURCE.parent / "docs" / "reference" / "session.md").read_text(encoding="utf-8")
    table = page.partition("## Session\n")[2].partition("\n## ")[0]
    described = set(re.findall(r"^\| `(\w+)", table, re.MULTILINE))
    assert added(ours, theirs) == {name for name in described if not hasattr(theirs, name)}


def test_another_name_on_a_session_is_found() -> None:
    more = type("More", (respool.Session,), {"helper": None})
    assert added(more, orm.Session) - added(respool.Session, orm.Session) == {"helper"}
