"""What an SQLite connection says of its functions, the user's own among them, and what its views are made of."""

from __future__ import annotations

from collections.abc import Iterator

from respool.engine.sql.facts import Ask, Effect, Facts, Questions, words
from respool.engine.sql.reading import Reading
from respool.engine.sql.tokens import Grammar

__all__ = ["SQLiteFacts"]

_SYNTAX = words(
    "all and as between by case cast collate cross distinct else escape except exists filter from full group having in "
    "inner intersect is join left like limit glob match materialized not offset on or order outer over partition range "
    "regexp returning right row rows select then union using values when where with "
    "char character decimal float integer nchar numeric nvarchar text varchar varying"
)
#: Built in and not called deterministic, since they are of many rows, of the clock, or of the library.
_HARMLESS = words(
    "avg count cume_dist current_date current_time current_timestamp date datetime dense_rank first_value group_concat "
    "julianday lag last_value lead max min nth_value ntile percent_rank rank row_number strftime string_agg sum time "
    "timediff total unixepoch sqlite_compileoption_get sqlite_compileoption_used sqlite_source_id sqlite_version"
)
_DETERMINISTIC = 0x800
#: Operators and words that call a function of their name, which may be the user's.
_CALLING_WORDS = words("LIKE GLOB MATCH REGEXP CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP")
_CALLING_SYMBOLS = frozenset({"->", "->>"})
#: What is read from and is no table: functions that return rows, and pragmas that only tell.
_TABLES = words(
    "json_each json_tree jsonb_each jsonb_tree pragma_collation_list pragma_compile_options pragma_database_list "
    "pragma_foreign_key_list pragma_function_list pragma_index_info pragma_index_list pragma_index_xinfo "
    "pragma_module_list pragma_pragma_list pragma_table_info pragma_table_list pragma_table_xinfo"
)


class SQLiteFacts(Facts):
    """What an SQLite database, and the connections of its pool, say of their names."""

    def __init__(self, plain: Grammar) -> None:
        super().__init__(plain)
        self.functions: dict[str, bool] = {}  #: by name: whether all of that name are built in and harmless

    def unknown(self, reading: Reading) -> Questions:
        return Questions(_called(reading) - self.functions.keys(), self.unknown_relations(reading))

    def judged(self, reading: Reading) -> Iterator[tuple[str, Effect]]:
        called = {call.name: call.schema for call in reading.calls if call.quoted or call.name not in _SYNTAX}
        for name, schema in called.items():
            if schema is not None or not self.functions.get(name):  # functions have no schema
                yield f"{name}()", Effect.MORE
        for name in _called(reading) - called.keys():
            if self.functions.get(name) is False:  # a word of the language with a function of the user's behind it
                yield f"{name}()", Effect.MORE
        for name in reading.relations:
            if name.startswith("pragma_") and name not in _TABLES:
                yield name, Effect.MORE

    def learn(self, ask: Ask, questions: Questions) -> None:
        functions: dict[str, bool] = {}
        # not as a table, which would lock the database until the end of the transaction that the question is asked in
        for name, built_in, _type, _encoding, _arguments, flags in ask("PRAGMA function_list"):
            name = str(name).lower()
            harmless = bool(built_in) and (bool(flags & _DETERMINISTIC) or name in _HARMLESS)
            functions[name] = functions.get(name, True) and harmless
        relations: dict[str, tuple[Reading | None, ...]] = dict.fromkeys(questions.relations, ())
        for _number, schema, _file in ask("PRAGMA database_list") if questions.relations else ():
            quoted = str(schema).replace('"', '""')
            for name, kind, sql in ask(f'SELECT name, type, sql FROM "{quoted}".sqlite_master'):
                if kind in ("table", "view"):
                    definition = (self.definition(sql, after="AS"),) if kind == "view" else ()
                    relations[name.lower()] = relations.get(name.lower(), ()) + definition
        for name in questions.functions - functions.keys():
            functions[name] = name in _SYNTAX or name in _TABLES
        self.functions = {**self.functions, **functions}
        self.remembered(relations)


def _called(reading: Reading) -> set[str]:
    """Every function that a statement may call, by whatever way."""
    return {
        *(call.name for call in reading.calls),
        *(word.lower() for word in _CALLING_WORDS & reading.words),
        *(_CALLING_SYMBOLS & reading.symbols),
    }
