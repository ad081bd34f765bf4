"""What PostgreSQL's catalogue says: how volatile a function is, by whatever way it is called, and what a view is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from respool.engine.sql.facts import Ask, Effect, Facts, Questions, literals, words
from respool.engine.sql.reading import Call, Reading
from respool.engine.sql.tokens import Grammar

__all__ = ["PostgreSQLFacts"]

#: What may stand before a parenthesis and is no function of the catalogue's.
_SYNTAX = words(
    "all and any array as between both by case cast check coalesce columns cross cube default distinct else end escape except "
    "exists extract filter for from full greatest group grouping having ilike in inner intersect interval is isnull join "
    "lateral leading least left like limit materialized natural nested normalize not notnull nullif offset on only "
    "operator or order outer over overlaps overlay partition passing position returning right rollup row select sets "
    "similar some substring symmetric table then trailing treat trim union using values variadic when where within zone "
    "json json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar json_serialize "
    "json_table json_value xmlconcat xmlelement xmlexists xmlforest xmlparse xmlpi xmlroot xmlserialize xmltable "
    "bit char character dec decimal float national nchar numeric precision time timestamp varchar varying"
)
#: Asked for with the first question, so that most statements need none of their own.
_COMMON = words(
    "abs age array_agg array_length array_position array_to_string avg bool_and bool_or btrim cardinality ceil ceiling "
    "char_length concat concat_ws count current_setting date date_bin date_part date_trunc dense_rank every exp "
    "first_value floor format generate_series json_agg json_array_elements json_array_elements_text json_build_array "
    "json_build_object json_object_agg jsonb_agg jsonb_array_elements jsonb_array_elements_text jsonb_array_length "
    "jsonb_build_array jsonb_build_object jsonb_each jsonb_object_agg jsonb_path_exists jsonb_path_query jsonb_typeof "
    "lag last_value lead length ln log lower lpad ltrim make_date make_interval max md5 min mod mode now nth_value "
    "ntile octet_length percent_rank percentile_cont percentile_disc plainto_tsquery power random rank regexp_match "
    "regexp_replace repeat replace reverse round row_number row_to_json rpad rtrim sign split_part sqrt stddev "
    "string_agg string_to_array strpos substr sum to_char to_date to_json to_jsonb to_number to_timestamp to_tsquery "
    "to_tsvector translate trunc ts_rank unnest upper variance websearch_to_tsquery"
)
#: Not volatile, but their value belongs to the connection or its transaction; or they execute what is in their argument.
_OF_THE_CONNECTION = words(
    "pg_backend_pid txid_current txid_current_if_assigned txid_current_snapshot pg_current_xact_id "
    "pg_current_xact_id_if_assigned pg_current_snapshot inet_client_addr inet_client_port inet_server_addr "
    "inet_server_port pg_my_temp_schema pg_is_other_temp_schema pg_listening_channels pg_cursor pg_prepared_statement "
    "pg_trigger_depth table_to_xml table_to_xml_and_xmlschema table_to_xmlschema schema_to_xml "
    "schema_to_xml_and_xmlschema schema_to_xmlschema database_to_xml database_to_xml_and_xmlschema "
    "database_to_xmlschema crosstab crosstab2 crosstab3 crosstab4 crosstabn connectby"
)
_LOCKS = words(
    "pg_advisory_lock pg_advisory_lock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_lock "
    "pg_try_advisory_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared"
)
_UNLOCKS = words("pg_advisory_unlock pg_advisory_unlock_shared pg_advisory_unlock_all")
#: Of PostgreSQL's own volatile functions, those whose effect a rollback takes back.
_WRITES = words(
    "pg_notify pg_logical_emit_message lo_creat lo_create lo_from_bytea lo_import lo_put lo_truncate lo_truncate64 "
    "lo_unlink lowrite pg_import_system_collations pg_replication_origin_create pg_replication_origin_drop "
    "pg_extension_config_dump pg_clear_attribute_stats pg_clear_relation_stats pg_restore_attribute_stats "
    "pg_restore_relation_stats query_to_xml query_to_xml_and_xmlschema query_to_xmlschema"
)
#: Volatile functions of widespread extensions that change nothing.
_CHANCE = words(
    "gen_random_uuid gen_random_bytes gen_salt uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 uuid_generate_v7 "
    "uuidv4 uuidv7"
)
#: What expressions and clauses use without naming it.
_IMPLIED = frozenset({"=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*", "~", "!~"})
_Rows = dict[str, list[tuple[str, str, str | None]]]
#: What looks like an operator and is none.
_NO_OPERATORS = frozenset({"=>", "!="})


class PostgreSQLFacts(Facts):
    """What a PostgreSQL database says of its names, in whatever schema they are."""

    def __init__(self, plain: Grammar) -> None:
        super().__init__(plain)
        self.functions: dict[str, dict[str, bool]] = {}  #: by name and schema: whether one of them is volatile
        self.symbols: dict[str, bool | None] = {}  #: whether one of them is volatile; ``None`` if there is none
        self.attributes: frozenset[str] = frozenset()  #: volatile functions that can be written as an attribute
        #: Types that execute something volatile when something becomes one, or a part of one.
        self.types: frozenset[str] = frozenset()
        self.anything = False  #: something volatile is executed without being named
        self.asked = False

    def unknown(self, reading: Reading) -> Questions:
        questions = Questions(
            {call.name for call in reading.calls} - self.functions.keys(),
            self.unknown_relations(reading),
            reading.symbols - self.symbols.keys() - _NO_OPERATORS,
        )
        if not self.asked:
            questions.functions |= _COMMON - self.functions.keys()
        return questions

    def judged(self, reading: Reading) -> Iterator[tuple[str, Effect]]:
        yield from self._named(reading)
        for name in reading.attributes & self.attributes:
            yield f"{name}()", Effect.WRITES
        for name in reading.names & self.types:  # a table is a type, too, but it can be read from
            yield name, Effect.MORE if name in reading.relations else Effect.WRITES
        if self.anything:
            yield "", Effect.MORE

    def _named(self, reading: Reading) -> Iterator[tuple[str, Effect]]:
        """What its functions and operators do."""
        for call in reading.calls:
            yield f"{call.name}()", self._function(call)
        for symbol in reading.symbols - _NO_OPERATORS:
            volatile = self.symbols.get(symbol)
            if volatile is not False:
                yield symbol, Effect.WRITES if volatile and symbol not in _IMPLIED else Effect.MORE

    def _function(self, call: Call) -> Effect:
        known = self.functions.get(call.name, {})
        if call.schema is not None:
            known = {schema: volatile for schema, volatile in known.items() if schema == call.schema}
        if not known:
            syntax = call.schema is None and not call.quoted and call.name in _SYNTAX
            return Effect.NONE if syntax else Effect.MORE
        effect = Effect.MORE if call.name in _OF_THE_CONNECTION else Effect.NONE
        for schema, volatile in known.items():
            if volatile:
                effect |= _of_a_volatile(call.name, its_own=schema == "pg_catalog")
        return effect

    # -- questions ------------------------------------------------------------------------------------------------

    def learn(self, ask: Ask, questions: Questions) -> None:
        rows: _Rows = {}
        for kind, name, where, detail in ask(_question(questions, first=not self.asked)):
            rows.setdefault(kind, []).append((name, where, detail))
        checks = [(oid, self.definition(text)) for oid, _, text in rows.get("check", ())]
        called = {call.name for _, check in checks if check is not None for call in check.calls}
        if more := called - self.functions.keys() - questions.functions:
            rows.setdefault("function", []).extend((row[1], row[2], row[3]) for row in ask(_functions(more)))
        learned = PostgreSQLFacts(self.plain)
        learned.functions = {**self.functions, **{name: {} for name in questions.functions | more}}
        for name, schema, volatile in rows.get("function", ()):
            learned.functions[name] = {**learned.functions[name], schema: volatile == "v"}
        learned.symbols = {**self.symbols, **dict.fromkeys(questions.symbols)}
        learned.symbols.update((name, detail == "v") for name, _, detail in rows.get("operator", ()))
        hazards = {oid for oid, check in checks if check is None or any(effect for _, effect in learned._named(check))}
        hazards.update(oid for oid, _, _ in rows.get("cast", ()))
        types = {str(row[0]) for row in ask(_types(hazards))} if hazards else set()
        # nothing can fail any more
        self._believe(learned, questions, rows, types)

    def _believe(self, learned: PostgreSQLFacts, questions: Questions, rows: _Rows, types: set[str]) -> None:
        self.functions, self.symbols = learned.functions, learned.symbols
        self.anything = "anything" in rows or any(self.symbols.get(symbol) for symbol in _IMPLIED)
        self.attributes = frozenset(name for name, _, _ in rows.get("attribute", ()))
        self.types = frozenset(types)
        tables = {name for name, _, _ in rows.get("table", ())} - {name for name, _, _ in rows.get("defined", ())}
        found = self.answered(questions.relations)
        for name, _, text in rows.get("definition", ()):
            found[name] = (*found.get(name, ()), self.definition(text))
        self.remembered({**dict.fromkeys(tables, ()), **found})
        self.asked = True


def _of_a_volatile(name: str, *, its_own: bool) -> Effect:
    """What a volatile function does."""
    if its_own:
        if name in _LOCKS:
            return Effect.LOCKS
        if name in _UNLOCKS:
            return Effect.UNLOCKS
        return Effect.WRITES if name in _WRITES else Effect.MORE
    return Effect.MORE if name in _CHANCE else Effect.WRITES


# -- the questions -----------------------------------------------------------------------------------------------------
# Each is a SELECT of four texts: the kind of the answer, a name, a schema and a detail. No percent sign and no colon stands
# in any of them, since there are drivers that take those for parameters.


def _question(questions: Questions, *, first: bool) -> str:
    parts = [_OPERATORS, _CHECKS, _CASTS, _ATTRIBUTES, _SUPPORT]
    if questions.functions:
        parts.append(_functions(questions.functions))
    if questions.relations:
        parts.append(_DEFINITIONS.format(names=literals(questions.relations)))
    if first:
        parts.append(_RELATIONS)
    return _FOREIGN + " UNION ALL ".join(f"({part})" for part in parts)


def _functions(names: Iterable[str]) -> str:
    return f"""
        SELECT 'function', CAST(p.proname AS text), CAST(n.nspname AS text),
            CASE WHEN bool_or(p.provolatile = 'v' OR s.oid IS NOT NULL) THEN 'v' END
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        LEFT JOIN pg_catalog.pg_aggregate a ON a.aggfnoid = p.oid
        LEFT JOIN pg_catalog.pg_proc s ON s.provolatile = 'v' AND s.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn,
            a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
        WHERE p.proname IN ({literals(names)}) GROUP BY 2, 3"""


def _types(hazards: Iterable[str]) -> str:
    """The names of these types, and of all that contain one: arrays, domains, ranges, rows."""
    return f"""
        WITH RECURSIVE holding(oid) AS (
            SELECT t.oid FROM pg_catalog.pg_type t WHERE t.oid IN ({", ".join(sorted(hazards))})
            UNION
            SELECT t.oid FROM holding h JOIN pg_catalog.pg_type t ON h.oid IN (t.typbasetype, t.typelem)
                OR EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.atttypid = h.oid)
                OR EXISTS (SELECT 1 FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid AND r.rngsubtype = h.oid)
        )
        SELECT DISTINCT CAST(t.typname AS text) FROM holding h JOIN pg_catalog.pg_type t ON t.oid = h.oid"""


#: Tables of which a part is elsewhere: nobody knows what is done there.
_FOREIGN = """
    WITH RECURSIVE elsewhere(oid) AS (
        SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind = 'f'
        UNION SELECT i.inhparent FROM elsewhere e JOIN pg_catalog.pg_inherits i ON i.inhrelid = e.oid
    )"""
#: An operator is volatile if it is, or what the planner may put in its place.
_OPERATORS = """
    SELECT 'operator', CAST(o.oprname AS text), '', CASE WHEN bool_or(p.provolatile = 'v') THEN 'v' END
    FROM pg_catalog.pg_operator o
    JOIN pg_catalog.pg_operator same ON same.oid IN (o.oid, o.oprcom, o.oprnegate)
    JOIN pg_catalog.pg_proc p ON p.oid = same.oprcode GROUP BY 2"""
_CHECKS = """
    SELECT 'check', CAST(c.contypid AS text), '', pg_catalog.pg_get_constraintdef(c.oid)
    FROM pg_catalog.pg_constraint c WHERE c.contypid <> 0 AND c.contype = 'c'
        AND c.connamespace <> (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'information_schema')"""
#: Where a cast happens without being asked for, or to a type of PostgreSQL's own, its target's name tells nothing.
_CASTS = """
    SELECT CASE WHEN k.castcontext = 'i' OR k.casttarget < 16384 THEN 'anything' ELSE 'cast' END,
        CAST(k.casttarget AS text), '', ''
    FROM pg_catalog.pg_cast k JOIN pg_catalog.pg_proc p ON p.oid = k.castfunc WHERE p.provolatile = 'v'"""
_ATTRIBUTES = """
    SELECT 'attribute', CAST(p.proname AS text), '', ''
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0]
    WHERE p.provolatile = 'v' AND p.oid >= 16384 AND p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1
        AND t.typtype IN ('c', 'p', 'd')"""
#: What sorting, grouping and indexes execute.
_SUPPORT = """
    SELECT 'anything', '', '', '' WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_amproc a
        JOIN pg_catalog.pg_proc p ON p.oid = a.amproc WHERE p.provolatile = 'v')"""
_DEFINITIONS = """
    SELECT 'definition', CAST(c.relname AS text), '', CASE c.relkind WHEN 'v' THEN pg_catalog.pg_get_viewdef(c.oid) END
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname IN ({names}) AND n.nspname <> 'information_schema'
        AND (c.relkind = 'v' OR c.oid IN (SELECT e.oid FROM elsewhere e))
    UNION ALL
    SELECT 'definition', CAST(c.relname AS text), '', pg_catalog.pg_get_expr(p.polqual, p.polrelid)
    FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
    WHERE c.relname IN ({names}) AND c.relrowsecurity AND p.polqual IS NOT NULL AND p.polcmd IN ('r', '*')"""
#: What is a table and nothing else in every schema, so that most statements need no question.
_RELATIONS = """
    (SELECT DISTINCT 'table', CAST(c.relname AS text), '', ''
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm', 'S') AND NOT c.relispartition AND n.nspname <> 'pg_toast' LIMIT 10000)
    UNION ALL
    SELECT DISTINCT 'defined', CAST(c.relname AS text), '', '' FROM pg_catalog.pg_class c
    WHERE c.relkind IN ('v', 'f') OR c.relrowsecurity OR c.oid IN (SELECT e.oid FROM elsewhere e)"""
