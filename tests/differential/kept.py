"""Programs that differed once, made small; each with the driver that showed it."""

from __future__ import annotations

from tests.differential.model import (
    Act,
    Add,
    Block,
    Close,
    Commit,
    Connect,
    Delete,
    Execute,
    ExpireAll,
    Flush,
    Get,
    Invalidate,
    Lazy,
    Listen,
    Listener,
    Merge,
    Modify,
    Nested,
    Other,
    Program,
    Query,
    Reset,
    Rest,
    Rollback,
    Setup,
)

__all__ = ["KEPT"]

KEPT: dict[str, tuple[str, Program]] = {
    "rollback expires what was read": ("sqlite", Program(steps=(Get("Widget", 1), Rollback()))),
    "rollback at the end": ("sqlite", Program(steps=(Query("Widget", into="a"),), end="rollback")),
    "a cursor that was read little by little": (
        "sqlite",
        Program(Setup(face="scope"), steps=(Execute("widgets", options=(("yield_per", 2),)),)),
    ),
    "a stream that nobody has read": (
        "sqlite",
        Program(Setup(face="scope"), steps=(Execute("widgets", "nothing", options=(("stream_results", True),)),)),
    ),
    "the driver's own autocommit": ("psycopg", Program(Setup(autocommit=True), steps=(Execute("widgets"),))),
    "the driver's own autocommit, which SQLAlchemy ends": (
        "psycopg",
        Program(Setup(autocommit=True), steps=(Connect("SERIALIZABLE"), Rollback(), Execute("widgets"))),
    ),
    "a write after a read on SQLAlchemy's own pool": (
        "psycopg_async",
        Program(Setup(pool="queue"), steps=(Execute("widgets"), Execute("delete parts"))),
    ),
    "what comes before SET TRANSACTION is not prepared": (
        "asyncpg",
        Program(steps=(Get("Widget", 1), Execute("text: repeatable read"))),
    ),
    "a function of the user's with the name of a harmless one": ("psycopg", Program(steps=(Execute("log"),))),
    "options for a connection after a read and a delete()": (
        "sqlite",
        Program(steps=(Get("Widget", 1), Delete(), Connect("READ UNCOMMITTED"))),
    ),
    "a read in a savepoint's block after its commit": (
        "sqlite",
        Program(steps=(Nested((Commit(), Execute("widgets"))),)),
    ),
    "a read in a block after its rollback": ("sqlite", Program(steps=(Block((Rollback(), Execute("widgets"))),))),
    "merge() in a block after its rollback": ("sqlite", Program(steps=(Nested((Rollback(), Merge())),))),
    "a new transaction at the end of a savepoint's": (
        "sqlite",
        Program(
            listeners=(Listener("session", "after_transaction_end", Act("select")),),
            steps=(Nested((Query("Widget"), Nested((Reset(),)))),),
        ),
    ),
    "who hears of a statement hears of it before a transaction begins": (
        "sqlite",
        Program(
            Setup(autobegin=False),
            listeners=(Listener("session", "do_orm_execute"),),
            steps=(Execute("text: one"),),
        ),
    ),
    "who refuses a statement keeps a transaction from beginning": (
        "sqlite",
        Program(
            listeners=(Listener("sessions", "do_orm_execute", Act("raise")),),
            steps=(Execute("text: one"), Block((Modify(),))),
        ),
    ),
    "a close() that the error of a listener stops": (
        "sqlite",
        Program(
            listeners=(Listener("sessions", "after_transaction_end", Act("select")),),
            steps=(Execute("text: one"), Nested((Close(),)), Rollback()),
        ),
    ),
    "a session that is used as it lets go of what it has read": (
        "asyncpg",
        Program(
            Setup(face="scope"),
            listeners=(Listener("session", "persistent_to_detached", Act("autocommit")),),
            steps=(Get("Part", 1),),
        ),
    ),
    "nobody hears how a scope's end asks whether its transaction is doomed": (
        "psycopg_async",
        Program(
            Setup(face="scope"),
            (Listener("engine", "after_cursor_execute"),),
            (Add("Widget"), Nested((Execute("out of range"),), fails=True)),
        ),
    ),
    "what a doomed scope has to write fails before it is asked": (
        "psycopg",
        Program(Setup(face="scope", stream=True), steps=(Nested((Get("Widget", 99),)), Add("Widget"))),
    ),
    "a doomed scope's transaction is rolled back": (
        "psycopg",
        Program(Setup(face="scope"), steps=(Add("Widget"), Execute("unknown column"))),
    ),
    "a scope whose connection was lost is not asked whether it is doomed": (
        "psycopg_async",
        Program(Setup(face="scope"), steps=(Execute("public.count_up"), Other("kill"), Execute("text: one"))),
    ),
    "a value that hides the driver's method": (
        "mariadb",
        Program(listeners=(Listener("pool", "connect", Act("autocommit")),), steps=(Get("Gauge", 1),), times=6),
    ),
    "an invalidate() that a listener stops leaves the user's own connection open": (
        "psycopg",
        Program(
            Setup(face="connection"),
            (Listener("engines", "rollback", Act("select")),),
            (Query("Widget"), Invalidate(), Execute("text: one")),
        ),
    ),
    "rows of a stream that are read after a close()": (
        "sqlite",
        Program(Setup(face="scope"), steps=(Execute("columns", "some", options=(("yield_per", 2),)), Close(), Rest())),
    ),
    "a stream whose session was closed": (
        "asyncpg",
        Program(Setup(face="scope"), steps=(Execute("widgets", "some", options=(("yield_per", 2),)), Reset(), Rest())),
    ),
    "what is written by who hears of a read's error is saved by the commit": (
        "sqlite",
        Program(
            listeners=(Listener("dialect", "handle_error", Act("audit")),),
            steps=(Execute("unknown column"),),
            end="commit",
        ),
    ),
    "the session's transaction goes on with who hears of a read's error": (
        "aiosqlite",
        Program(
            listeners=(Listener("dialect", "handle_error", Act("audit", via="execute", commit=True)),),
            steps=(Execute("unknown column"), Get("Widget", 1)),
            end="rollback",
        ),
    ),
    "a savepoint begins no transaction in autocommit": (
        "sqlite",
        Program(
            Setup(isolation=("engine", "AUTOCOMMIT")),
            steps=(Nested((Get("Widget", 1),)), Execute("text: insert"), Rollback(), Execute("columns")),
        ),
    ),
    "nothing begins at the end of a scope that has begun nothing": (
        "aiosqlite",
        Program(Setup(face="scope", autobegin=False), listeners=(Listener("session", "before_commit"),)),
    ),
    "the session's first transaction is begun by who hears of an error": (
        "psycopg",
        Program(
            listeners=(Listener("dialect", "handle_error", Act("select", "exec_driver_sql")),),
            steps=(Execute("nothing is there"),),
        ),
    ),
    "what a session saves after a read that has failed is seen by the next one": (
        "psycopg",
        Program(steps=(Get("Widget", 1), Execute("out of all range"), Modify()), end="commit", times=2),
    ),
    "a doomed scope's connection is reset": (
        "psycopg",
        Program(
            Setup(face="scope"),
            (Listener("pool", "reset", Act("audit")),),
            (Add("Widget"), Execute("unknown column")),
        ),
    ),
    "options for the connection of a transaction that is over": (
        "sqlite",
        Program(
            listeners=(Listener("sessions", "after_commit", Act("select")),),
            steps=(Get("Gauge", 1), Commit(), Connect("SERIALIZABLE")),
        ),
    ),
    "who hears of an object that a leased read has loaded can set the driver's mode": (
        "psycopg",
        Program(
            listeners=(Listener("session", "loaded_as_persistent", Act("autocommit")),), steps=(Execute("widgets"),)
        ),
    ),
    "who begins to listen after a leased read hears no transaction end": (
        "aiosqlite",
        Program(
            steps=(Execute("widgets"), Listen(Listener("session", "after_transaction_end", Act("audit", commit=True))))
        ),
    ),
    "a connection that is lost before anything was done on it": (
        "psycopg2",
        Program(steps=(Get("Gauge", 1), Connect(), Other("kill"), Get("Widget", 99))),
    ),
    "a connection whose rollback a listener has kept from being sent comes back": (
        "psycopg2",
        Program(
            listeners=(Listener("engines", "rollback", Act("select")), Listener("pool", "checkin")),
            steps=(Execute("lateral"), Reset()),
        ),
    ),
    "the next session after a connection whose rollback a listener has kept from being sent": (
        "psycopg_async",
        Program(
            steps=(
                Block(),
                Listen(Listener("engine", "rollback", Act("select"))),
                Listen(Listener("pool", "reset")),
                Execute("out of all range"),
            ),
            times=2,
        ),
    ),
    "what a refused stream has loaded": (
        "psycopg_async",
        Program(
            steps=(
                Other("kill"),
                Execute("with parts, selectin", options=(("yield_per", 2),)),
                Get("Widget", 2),
            ),
            times=2,
        ),
    ),
    "a doomed scope whose connection is given back with an error": (
        "psycopg2",
        Program(
            Setup(face="scope"),
            (Listener("pool", "checkin", Act("fail")),),
            (Merge(), Execute("lateral")),
        ),
    ),
    "an invalidate() after a leased read, with nothing to discard": (
        "asyncpg",
        Program(steps=(Other("kill"), Query("Gauge"), Invalidate())),
    ),
    "a connection lost between two leased reads, and who reads by himself before the second": (
        "psycopg",
        Program(
            steps=(
                Execute("widgets"),
                Other("kill"),
                Listen(Listener("session", "do_orm_execute", Act("select"))),
                Execute("unknown table"),
            ),
            warm=True,
        ),
    ),
    "a connection lost before COMMIT, and who reads on it as he hears of that": (
        "mariadb",
        Program(
            listeners=(Listener("dialect", "handle_error", Act("select", via="execute")),),
            steps=(Add("Audit"), Nested((Other("kill"), Commit()))),
        ),
    ),
    "a connection lost after somebody has used the driver's own cursor, and before the first statement": (
        "mariadb",
        Program(
            listeners=(Listener("session", "after_transaction_create", Act("fail")),),
            steps=(Get("Widget", 2), Other("kill"), Get("Widget", 99)),
            warm=True,
        ),
    ),
    "the same in a transaction that a listener has begun": (
        "psycopg",
        Program(
            listeners=(Listener("session", "after_transaction_end", Act("select")),),
            steps=(Execute("text: one"), Reset(), Other("kill"), Execute("text: one")),
        ),
    ),
    "a savepoint where stock's transaction is doomed by a failed read": (
        "psycopg",
        Program(steps=(Execute("unknown column"), Add("Audit"), Nested((Close(),))), times=2),
    ),
    "the next session after a close that a listener has stopped": (
        "psycopg_async",
        Program(
            listeners=(Listener("session", "persistent_to_detached", Act("raise")),),
            steps=(Connect("AUTOCOMMIT"), Commit(), Get("Widget", 1)),
        ),
    ),
    "who hears of the errors of a connection that was lost at rest": (
        "psycopg_async",
        Program(
            listeners=(Listener("engine", "begin"),),
            steps=(Listen(Listener("dialect", "handle_error")), Query("Part"), Other("kill")),
            times=6,
            warm=True,
        ),
    ),
    "what MariaDB tells of the statement before": (
        "mariadb",
        Program(steps=(Execute("unknown column"), Execute("found_rows")), warm=True),
    ),
    "a table that was changed after a leased read, and is read then": (
        "mariadb",
        Program(steps=(Get("Widget", 99), Other("migrate"), Get("Gauge", 2))),
    ),
    "the level of a lease, asked for as rows": (
        "psycopg",
        Program(Setup(isolation=("engine", "SERIALIZABLE")), steps=(Execute("isolation"),)),
    ),
    "an invalidate() with nothing to discard, and who writes as he hears of that": (
        "psycopg",
        Program(listeners=(Listener("pool", "close", Act("audit")),), steps=(Execute("widgets"), Invalidate())),
    ),
    "an invalidate() with nothing to discard, and who raises as he hears of that": (
        "mariadb",
        Program(steps=(Listen(Listener("pool", "close", Act("raise"))), Query("Part"), Invalidate())),
    ),
    "a default of the session's, beneath a level of the driver's own": (
        "psycopg2",
        Program(
            Setup(isolation=("engine", "SERIALIZABLE")),
            (Listener("sessions", "before_commit", Act("serializable", once=True)),),
            (Execute("widgets"),),
            "commit",
            times=2,
        ),
    ),
    "a second invalidate(), with nothing to discard on either side": (
        "asyncpg",
        Program(steps=(Get("Part", 3), Invalidate(), Invalidate())),
    ),
    "a cursor that nobody has read to its end, and a table that somebody else writes to": (
        "sqlite",
        Program(steps=(Execute("union", "some"), Close(), Other("less parts"))),
    ),
    "a savepoint where an isolation level ends the driver's autocommit": (
        "sqlite",
        Program(
            Setup(isolation=("engine", "READ UNCOMMITTED"), autocommit=True),
            steps=(Nested((Execute("text: update"),)),),
        ),
    ),
    "a savepoint, and who commits as he hears of it": (
        "sqlite",
        Program(
            listeners=(Listener("engines", "savepoint", Act("commit")),),
            steps=(Nested((Add("Audit"),)),),
            times=2,
        ),
    ),
    "the first error of several while a connection is given back": (
        "sqlite",
        Program(
            Setup(size=1),
            (Listener("pool", "checkin", Act("fail")), Listener("pool", "close", Act("raise"))),
            (Connect(), Rollback()),
        ),
    ),
    "a commit whose listener fails leaves deleted objects as they are where it would have expired all": (
        "sqlite",
        Program(
            Setup(expire_on_commit=True),
            (Listener("session", "after_commit", Act("select")),),
            (Add("Widget", into="b"), Execute("text: one"), Delete("b")),
            "commit",
        ),
    ),
    "what lives as long as an error's traceback does": (
        "psycopg_async",
        Program(
            listeners=(
                Listener("sessions", "after_transaction_create", Act("autocommit")),
                Listener("session", "persistent_to_detached", Act("fail", "execute")),
            ),
            steps=(Execute("text: one"), Other("kill"), Reset(), Query("Widget")),
            end="interrupt",
        ),
    ),
    "two errors after a failed read, of which one is the doomed transaction's": (
        "asyncpg",
        Program(steps=(Execute("division in a later row"), Execute("lastval"))),
    ),
    "who hears of the end of a transaction whose connection was lost": (
        "psycopg",
        Program(
            Setup(face="scope"),
            (Listener("session", "after_transaction_end"),),
            (Execute("text: one"), Other("kill")),
            "interrupt",
        ),
    ),
    "a read that has found no connection has begun nothing": (
        "psycopg2",
        Program(
            Setup(size=1),
            (Listener("pool", "connect", Act("raise", once=True)),),
            (Get("Widget", 1), Block((Get("Widget", 2),))),
        ),
    ),
    "a block that is refused on one side, and whose commit is on the other by who hears of it": (
        "sqlite",
        Program(
            listeners=(Listener("session", "after_commit", Act("select")),),
            steps=(Execute("widgets"), Block()),
        ),
    ),
    "who begins to listen after a read that has found no connection": (
        "sqlite",
        Program(
            listeners=(Listener("dialect", "do_connect", Act("raise")),),
            steps=(Get("Gauge", 2), Listen(Listener("session", "after_transaction_end")), Close()),
        ),
    ),
    "a connection that is lost between leased reads, on a pool that does not look at it": (
        "asyncpg",
        Program(
            Setup(pool="queue"),
            steps=(Get("Widget", 2), Other("kill"), Get("Widget", 3), Execute("text: one")),
        ),
    ),
    "who hears that a commit lets go of a deleted object": (
        "psycopg_async",
        Program(
            steps=(
                Get("Widget", 1, "b"),
                Delete("b"),
                Listen(Listener("session", "deleted_to_detached")),
                Commit(),
            )
        ),
    ),
    "no question begins a transaction where somebody has ended that of a statement": (
        "psycopg_async",
        Program(
            listeners=(Listener("engine", "after_cursor_execute", Act("repeatable", commit=True)),),
            steps=(Execute("text: one"), Other("update"), Execute("update widgets", "scalars")),
        ),
    ),
    "an engine whose results are streams has no plans": (
        "aiosqlite",
        Program(Setup(stream=True), steps=(Execute("widgets"),), times=3, warm=True),
    ),
    "nobody is asked about a transaction where the driver has none": (
        "asyncpg",
        Program(
            Setup(face="scope", autocommit=True),
            steps=(Execute("currval"), Execute("update widgets"), Other("kill")),
        ),
    ),
    "a row that is gone, at a stricter level": (
        "mariadb",
        Program(steps=(Get("Part", 1), Other("less parts"), ExpireAll(), Modify()), end="commit"),
    ),
    "who uses the session while its objects are let go of": (
        "psycopg_async",
        Program(
            Setup(face="scope", size=1),
            steps=(
                Listen(Listener("session", "persistent_to_detached", Act("select"))),
                Add("Part", parent=77),
            ),
        ),
    ),
    "who hears of a failed read's error may use its connection, of which there is one": (
        "asyncpg",
        Program(
            Setup(size=1, autocommit=True),
            listeners=(Listener("dialect", "handle_error", Act("select", "execute")),),
            steps=(Execute("unknown column"),),
        ),
    ),
    "who hears of a failed read's error hears of none of their own": (
        "psycopg",
        Program(
            Setup(autocommit=True),
            listeners=(Listener("dialect", "handle_error", Act("fail", "execute")),),
            steps=(Execute("unknown column"), Execute("unknown column")),
        ),
    ),
    "who begins to listen within a block that only ours may begin, and what that one leaves": (
        "psycopg",
        Program(
            steps=(
                Get("Widget", 50),
                Block((Listen(Listener("pool", "checkin", Act("select"))), Get("Widget", 50))),
            ),
        ),
    ),
    "a commit after a read that has met a connection lost at rest": (
        "asyncpg",
        Program(Setup(pool="queue"), steps=(Query("Widget"), Commit(), Other("kill")), times=6, warm=True),
    ),
    "what follows a read whose prepared statement is none any more": (
        "asyncpg",
        Program(steps=(Other("migrate"), Get("Gauge", 1), Execute("text: one")), warm=True),
    ),
    "a connection that asyncpg knows to be lost": (
        "asyncpg",
        Program(
            Setup(face="scope", pool="static"),
            steps=(Merge(name="two"), Flush(), Other("kill")),
            times=6,
            warm=True,
        ),
    ),
    "a savepoint after a read whose connection is lost": (
        "psycopg2",
        Program(steps=(Merge(), Other("kill"), Nested((Lazy(),)))),
    ),
    "a commit on a connection that the driver knows to be closed": (
        "psycopg_async",
        Program(
            Setup(pool="queue"),
            listeners=(Listener("session", "do_orm_execute", Act("select")),),
            steps=(Other("insert"), Other("kill"), Query("Widget")),
            end="commit",
            times=2,
            warm=True,
        ),
    ),
    "a result of many rows that nobody reads": (
        "psycopg2",
        Program(Setup(pool="queue"), steps=(Execute("many rows", "nothing"),)),
    ),
    "the same where the transaction would be doomed": (
        "psycopg",
        Program(
            Setup(size=1),
            listeners=(Listener("engine", "handle_error", Act("select", "execute")),),
            steps=(Execute("unknown column"),),
        ),
    ),
}
