"""What is known of MySQL and MariaDB: their own functions by heart, views by asking. A stored function may do anything."""

from __future__ import annotations

from collections.abc import Iterator

from respool.engine.sql.facts import Ask, Effect, Facts, Questions, literals, words
from respool.engine.sql.reading import Call, Reading

__all__ = ["MySQLFacts"]

#: Reserved words that may stand before a parenthesis: no stored function can be called by such a name.
_SYNTAX = words(
    "ALL AND AS BETWEEN BINARY BY CASE COLLATE CROSS DECIMAL DISTINCT DISTINCTROW DIV DOUBLE ELSE EXCEPT EXISTS FLOAT "
    "FROM GROUP HAVING IN INDEX INNER INTERVAL IS JOIN KEY LATERAL LEFT LIKE LIMIT MATCH MOD NOT NUMERIC ON OR ORDER "
    "OUTER OVER PARTITION REGEXP RIGHT RLIKE ROW SELECT STRAIGHT_JOIN THEN UNION USING VALUES VARBINARY VARCHAR WHEN "
    "WHERE WITH XOR"
)
#: Built in, computed from their arguments, from the rows or from the clock.
_HARMLESS = words(
    # of many rows
    "ANY_VALUE AVG BIT_AND BIT_OR BIT_XOR COUNT CUME_DIST DENSE_RANK FIRST_VALUE GROUP_CONCAT GROUPING JSON_ARRAYAGG "
    "JSON_OBJECTAGG LAG LAST_VALUE LEAD MAX MEDIAN MIN NTH_VALUE NTILE PERCENTILE_CONT PERCENTILE_DISC PERCENT_RANK RANK "
    "ROW_NUMBER STD STDDEV STDDEV_POP STDDEV_SAMP SUM VARIANCE VAR_POP VAR_SAMP "
    # conditions and conversions
    "CAST COALESCE CONVERT GREATEST IF IFNULL ISNULL LEAST NULLIF NVL NVL2 STRCMP "
    # numbers
    "ABS ACOS ASIN ATAN ATAN2 CEIL CEILING CONV COS COT CRC32 DEGREES EXP FLOOR FORMAT LN LOG LOG10 LOG2 MOD PI POW POWER "
    "RADIANS ROUND SIGN SIN SQRT TAN TRUNCATE BIT_COUNT "
    # texts
    "ASCII BIN BIT_LENGTH CHAR CHARACTER_LENGTH CHAR_LENGTH CHR CONCAT CONCAT_WS ELT EXPORT_SET FIELD FIND_IN_SET "
    "FROM_BASE64 HEX INSTR LCASE LEFT LENGTH LENGTHB LOCATE LOWER LPAD LTRIM MAKE_SET MD5 MID OCT OCTET_LENGTH ORD POSITION "
    "QUOTE REGEXP_INSTR REGEXP_LIKE REGEXP_REPLACE REGEXP_SUBSTR REPEAT REPLACE REVERSE RIGHT RPAD RTRIM SHA SHA1 SHA2 "
    "SOUNDEX SPACE SUBSTR SUBSTRING SUBSTRING_INDEX TO_BASE64 TRIM UCASE UNHEX UPPER WEIGHT_STRING COMPRESS UNCOMPRESS "
    "UNCOMPRESSED_LENGTH AES_DECRYPT AES_ENCRYPT "
    # times
    "ADDDATE ADDTIME ADD_MONTHS CONVERT_TZ CURDATE CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURTIME DATE DATEDIFF "
    "DATE_ADD DATE_FORMAT DATE_SUB DAY DAYNAME DAYOFMONTH DAYOFWEEK DAYOFYEAR EXTRACT FROM_DAYS FROM_UNIXTIME GET_FORMAT "
    "HOUR LAST_DAY LOCALTIME LOCALTIMESTAMP MAKEDATE MAKETIME MICROSECOND MINUTE MONTH MONTHNAME MONTHS_BETWEEN NOW "
    "PERIOD_ADD PERIOD_DIFF QUARTER SECOND SEC_TO_TIME STR_TO_DATE SUBDATE SUBTIME SYSDATE TIME TIMEDIFF TIMESTAMP "
    "TIMESTAMPADD TIMESTAMPDIFF TIME_FORMAT TIME_TO_SEC TO_DAYS TO_SECONDS UNIX_TIMESTAMP UTC_DATE UTC_TIME UTC_TIMESTAMP "
    "WEEK WEEKDAY WEEKOFYEAR YEAR YEARWEEK "
    # documents
    "JSON_ARRAY JSON_ARRAY_APPEND JSON_ARRAY_INSERT JSON_COMPACT JSON_CONTAINS JSON_CONTAINS_PATH JSON_DEPTH JSON_DETAILED "
    "JSON_EXISTS JSON_EXTRACT JSON_INSERT JSON_KEYS JSON_LENGTH JSON_LOOSE JSON_MERGE JSON_MERGE_PATCH "
    "JSON_MERGE_PRESERVE JSON_NORMALIZE JSON_OBJECT JSON_OVERLAPS JSON_PRETTY JSON_QUERY JSON_QUOTE JSON_REMOVE "
    "JSON_REPLACE JSON_SEARCH JSON_SET JSON_STORAGE_SIZE JSON_TABLE JSON_TYPE JSON_UNQUOTE JSON_VALID JSON_VALUE "
    # addresses and places
    "INET6_ATON INET6_NTOA INET_ATON INET_NTOA IS_IPV4 IS_IPV6 BIN_TO_UUID IS_UUID UUID_TO_BIN POINT LINESTRING POLYGON "
    "ST_AREA ST_ASBINARY ST_ASGEOJSON ST_ASTEXT ST_ASWKB ST_ASWKT ST_BUFFER ST_CENTROID ST_CONTAINS ST_CROSSES "
    "ST_DISJOINT ST_DISTANCE ST_DISTANCE_SPHERE ST_EQUALS ST_GEOMFROMGEOJSON ST_GEOMFROMTEXT ST_GEOMFROMWKB "
    "ST_GEOMETRYTYPE ST_INTERSECTION ST_INTERSECTS ST_ISVALID ST_LENGTH ST_OVERLAPS ST_SRID ST_TOUCHES ST_TRANSFORM "
    "ST_UNION ST_WITHIN ST_X ST_Y MBRCONTAINS MBRINTERSECTS MBRWITHIN "
    # what is the same for every connection of a pool
    "CHARSET COERCIBILITY COLLATION CURRENT_ROLE CURRENT_USER DATABASE SCHEMA SESSION_USER SYSTEM_USER USER VERSION"
)
#: With a blank before the parenthesis these are names like any other, and a stored function's perhaps.
_FUNCTIONS_WITHOUT_BLANK = words(
    "ADDDATE BIT_AND BIT_OR BIT_XOR CAST COUNT CURDATE CURTIME DATE_ADD DATE_SUB EXTRACT GROUP_CONCAT MAX MID MIN NOW "
    "POSITION SESSION_USER STD STDDEV STDDEV_POP STDDEV_SAMP SUBDATE SUBSTR SUBSTRING SUM SYSDATE SYSTEM_USER TRIM "
    "VARIANCE VAR_POP VAR_SAMP"
)
_LOCKS = words("GET_LOCK")
_UNLOCKS = words("RELEASE_LOCK RELEASE_ALL_LOCKS")
#: Built in, and of the connection or of chance; or slow, or beyond what a rollback takes back.
_MORE = words(
    "BENCHMARK COLUMNS CONNECTION_ID DEFAULT FOUND_ROWS IS_FREE_LOCK IS_USED_LOCK LASTVAL LAST_INSERT_ID LOAD_FILE "
    "MASTER_GTID_WAIT MASTER_POS_WAIT NAME_CONST NEXTVAL PS_CURRENT_THREAD_ID RAND RANDOM_BYTES ROW_COUNT SETVAL SLEEP "
    "SOURCE_POS_WAIT SYS_GUID UUID UUID_SHORT UUID_V4 UUID_V7 VALUE WAIT_FOR_EXECUTED_GTID_SET "
    "WAIT_UNTIL_SQL_THREAD_AFTER_GTIDS"
)
#: Variables of the session: what they are depends on the connection, and an assignment stays with it.
_VARIABLES = frozenset({"@", ":="})
_SEQUENCES = words("NEXTVAL LASTVAL CURRVAL")


class MySQLFacts(Facts):
    """What is known of a MySQL or MariaDB server's names."""

    more = words("LOCK PROCEDURE SQL_CALC_FOUND_ROWS")

    def unknown(self, reading: Reading) -> Questions:
        return Questions(relations=self.unknown_relations(reading))

    def learn(self, ask: Ask, questions: Questions) -> None:
        found = self.answered(questions.relations)
        # only with the name as a constant does the server look at one definition in place of all of them
        each = [
            f"SELECT table_name, view_definition FROM information_schema.views WHERE table_name = {literals([name])}"
            for name in sorted(questions.relations)
        ]
        folded = {name.lower(): name for name in found}
        for table, text in ask(" UNION ALL ".join(each)):
            name = str(table) if table in found else folded.get(str(table).lower(), str(table))
            found[name] = (*found.get(name, ()), self.definition(str(text or "")))
        self.remembered(found)

    def judged(self, reading: Reading) -> Iterator[tuple[str, Effect]]:
        for call in reading.calls:
            yield f"{call.name}()", _function(call)
        for _ in reading.symbols & _VARIABLES:
            yield "", Effect.MORE
        if not _SEQUENCES.isdisjoint(name.upper() for name in reading.names):
            yield "", Effect.MORE


def _function(call: Call) -> Effect:
    name = call.name.upper()
    if call.schema is not None or call.quoted:
        return Effect.WRITES
    if name in _SYNTAX:
        return Effect.NONE
    if name in _HARMLESS:
        if call.apart:
            return Effect.WRITES if name in _FUNCTIONS_WITHOUT_BLANK else Effect.MORE
        return Effect.NONE
    if name in _LOCKS:
        return Effect.LOCKS
    if name in _UNLOCKS:
        return Effect.UNLOCKS
    return Effect.MORE if name in _MORE else Effect.WRITES
