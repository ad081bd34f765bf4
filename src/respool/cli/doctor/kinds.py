"""The kinds of what the doctor finds: a code, how bad it is, what it means, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["KINDS", "LEVELS", "Kind"]

#: From the worst on. ``cannot connect`` ends the examination.
LEVELS = ("cannot connect", "problem", "warning", "note")


class Kind(NamedTuple):
    """One kind of findings."""

    code: str
    name: str
    level: str
    title: str  #: in a line
    means: str
    advice: tuple[str, ...]  #: what to do, the likeliest first


STOP, PROBLEM, WARNING, NOTE = LEVELS

_ALL = (
    # -- no connection
    Kind(
        "D001", "host-unknown", STOP, "the host's name is not known here",
        "No address was found for the name in the URL. No server has been asked yet.",
        ("look at its spelling", "in a container: is it the name by which the other container is known in this network?"),
    ),
    Kind(
        "D002", "nobody-listens", STOP, "nobody listens at this host and port",
        "The machine answers, and refuses: the server is down, listens at another port, or at another address only.",
        ("is the server up, and is the port right? PostgreSQL 5432, MySQL 3306, PgBouncer 6432",
         "does it listen to this network, not to localhost only? listen_addresses, bind-address"),
    ),
    Kind(
        "D003", "no-answer", STOP, "no answer came in time",
        "Packets are lost on the way: a firewall or a security group drops them, or the address is that of nobody.",
        ("may this machine reach the port? nc -vz HOST PORT", "is the server so busy that it takes no connection?"),
    ),
    Kind(
        "D004", "login-refused", STOP, "user or password are refused",
        "The server answers, and does not know the user, or not with this password, or not from this machine.",
        ("special characters of a password are quoted in a URL: urllib.parse.quote_plus(password)",
         "PostgreSQL: pg_hba.conf says who may come from where; MySQL: 'user'@'host'"),
    ),
    Kind(
        "D005", "tls", STOP, "TLS cannot be agreed on",
        "A certificate is missing, not trusted, of another name or expired; or one side wants TLS and the other has none.",
        ("give the authority's certificate: ?sslrootcert=… (PostgreSQL), ?ssl_ca=… (MySQL)",
         "the host in the URL is to be the one in the certificate"),
    ),
    Kind(
        "D006", "database-unknown", STOP, "there is no such database",
        "Server, user and password are right; the name behind the last slash is not, or the user may not use it.",
        ("look at its spelling: PostgreSQL's names keep their case", "create it, or GRANT CONNECT on it"),
    ),
    Kind(
        "D007", "server-full", STOP, "the server takes no more connections",
        "All that it allows, or that this role, database or proxy may have, are in use.",
        ("who has them? as an administrator: respool doctor with a superuser's URL lists them",
         "make pools smaller: workers × max_size over all machines is what counts"),
    ),
    Kind(
        "D008", "not-ready", STOP, "the server is starting or stopping",
        "It listens, and says itself that it is not ready.",
        ("wait and try again; if it lasts, its log says what it recovers",),
    ),
    Kind(
        "D009", "refused", STOP, "connecting failed",
        "For a reason that has no code of its own: the driver's words say it.",
        ("try the same URL with the database's own client from this machine",),
    ),
    # -- how many
    Kind(
        "D011", "too-many-connections", PROBLEM, "the pools together may open more than is allowed",
        "workers × max_size is above what the server, the role or the database allows. Under load some connects are refused, "
        "in whichever process comes last.",
        ("lower max_size to what is named here: a pool that serves in order needs few connections",
         "or raise the limit named here, if the server has memory and cores for it",
         "or put PgBouncer between, for very many processes"),
    ),
    Kind(
        "D012", "no-room-to-deploy", WARNING, "two generations at once do not fit",
        "While a deployment replaces processes the new ones start before the old ones have stopped, so twice as many "
        "connections are wanted for a while.",
        ("make workers × max_size half of the limit at most", "or stop old processes before new ones start"),
    ),
    Kind(
        "D013", "little-room-now", WARNING, "others use what the pools may need",
        "Together with what is connected now, the pools do not fit.",
        ("see who has the others, and whether they need them", "lower max_size, or raise the limit"),
    ),
    Kind(
        "D014", "superuser", WARNING, "the application connects as a superuser",
        "It takes the connections that are reserved for the administrator, who cannot come in when all are taken; and "
        "whatever goes wrong in the application may do anything.",
        ("give it a role of its own: CREATE ROLE shop LOGIN PASSWORD '…'",),
    ),
    # -- how long
    Kind(
        "D021", "idle-cut-off", WARNING, "idle connections are closed by the other side",
        "Server or proxy close a connection that rests for longer than their limit, before the pool closes it itself. The pool "
        "notices as a rule, but then each costs a new connect, and one may be lost in the very moment of its use.",
        ("have max_idle, or for connections that min_size keeps max_lifetime, well below the limit named here",
         "or raise the limit, and leave closing to the pool"),
    ),
    Kind(
        "D022", "work-cut-off", WARNING, "the server ends transactions earlier than the pool tells of them",
        "A transaction that rests or lasts for longer than the server's limit is rolled back and its connection closed (S015), "
        "and nobody has been told by then who it was.",
        ("set leak_after below the limit: the log then names the line that holds the connection, before it is cut off",),
    ),
    Kind(
        "D023", "forgotten-transactions", NOTE, "nobody ends a forgotten transaction",
        "A transaction that somebody has forgotten keeps its locks, its connection and old rows for as long as its process "
        "lives.",
        ("set a limit for the role: ALTER ROLE shop SET idle_in_transaction_session_timeout = '60s'",
         "MariaDB: SET GLOBAL idle_transaction_timeout = 60"),
    ),
    Kind(
        "D024", "endless-statements", NOTE, "a statement may run or wait for a lock without end",
        "One slow statement, or one that waits for a lock, keeps its connection for as long as it takes; a few of them keep "
        "all.",
        ("set limits for the role: ALTER ROLE shop SET statement_timeout = '30s', lock_timeout = '5s'",
         "MySQL: max_execution_time; MariaDB: max_statement_time"),
    ),
    Kind(
        "D025", "dead-clients", NOTE, "the server notices late that a client is gone",
        "A client whose machine or network is gone says no goodbye. Until the server notices, its connection counts, and its "
        "transaction keeps its locks.",
        ("tcp_keepalives_idle = 60, tcp_keepalives_interval = 10, tcp_keepalives_count = 3",
         "client_connection_check_interval = '10s', for one that goes during a statement"),
    ),
    Kind(
        "D026", "never-renewed", NOTE, "connections are never replaced",
        "Without max_lifetime a busy connection lives as long as its process: settings of a role that change, a new address "
        "behind a name and a server that comes back are not seen.",
        ("leave max_lifetime at its default, an hour",),
    ),
    # -- what kind of server
    Kind(
        "D031", "read-only", PROBLEM, "it takes no writes",
        "It is a standby, or transactions are read-only here: every write will fail.",
        ("name the primary; with several hosts in a PostgreSQL URL: ?target_session_attrs=read-write",
         "if only reads are meant, say so: --reads-only"),
    ),
    Kind(
        "D032", "isolation", NOTE, "transactions are stricter than READ COMMITTED",
        "At a stricter isolation level each read belongs to its transaction's snapshot, so a session holds its connection from "
        "its first read on, and is not served by leases. Transactions may fail and have to be repeated.",
        ("where READ COMMITTED is enough: Database(url, engine_options={'isolation_level': 'READ COMMITTED'})",
         "where it is not, repeat: db.run(function, retry=3)"),
    ),
    Kind(
        "D033", "galera", WARNING, "a node of a Galera cluster",
        "Two nodes may write the same row; the second COMMIT then fails as a deadlock. A node that has lost its cluster "
        "refuses everything.",
        ("repeat what fails: db.run(function, retry=3)", "write on one node only, the others as spares"),
    ),
    Kind(
        "D034", "galera-not-ready", PROBLEM, "a Galera node that has lost its cluster",
        "It answers, and refuses statements until it is synced with a primary component again.",
        ("wsrep_cluster_status has to be Primary, and wsrep_local_state_comment Synced: see the node's log",),
    ),
    # -- a proxy
    Kind(
        "D041", "statement-pooling", PROBLEM, "a proxy that allows no transactions",
        "In statement mode each statement may go to another server: nothing can be committed together.",
        ("pool_mode = transaction in pgbouncer.ini, or for this database alone",),
    ),
    Kind(
        "D042", "prepared-statements", PROBLEM, "prepared statements do not survive this proxy",
        "The driver prepares statements on one server connection, and the proxy sends the next transaction to another one: "
        "'prepared statement does not exist' (26000), or 'already exists' (42P05), under load only.",
        ("psycopg: connect_args={'prepare_threshold': None}",
         "asyncpg: connect_args={'statement_cache_size': 0, 'prepared_statement_cache_size': 0}",
         "or PgBouncer 1.21 and newer with max_prepared_statements = 200"),
    ),
    Kind(
        "D043", "transaction-pooling", NOTE, "a proxy with one server connection for each transaction",
        "What outlives a transaction is lost or, worse, is another client's: SET, temporary tables, advisory locks, LISTEN, "
        "WITH HOLD cursors.",
        ("SET LOCAL in place of SET; pg_advisory_xact_lock in place of pg_advisory_lock",
         "LISTEN on a connection of its own, past the proxy"),
    ),
    Kind(
        "D044", "proxy-unseen", NOTE, "a proxy that does not tell its limits",
        "How many clients it takes, and how many connections it opens to the server, cannot be seen by this user.",
        ("PgBouncer: stats_users = THIS_USER lets its console be read",
         "else compare workers × max_size with max_client_conn by hand"),
    ),
    # -- the way there
    Kind(
        "D051", "connect-time", WARNING, "opening a connection takes long",
        "Whoever finds no free connection waits for it.",
        ("keep some open: PoolConfig(min_size=…)", "name server, TLS or login (scram iterations, LDAP) are the usual reasons"),
    ),
    Kind(
        "D052", "far-away", WARNING, "a round trip takes long",
        "Every statement waits for one, and so does whoever is in line behind it. A list with a query for each row is felt at "
        "once.",
        ("run the application where the database is: same zone", "fewer statements: selectinload, IN lists, one COMMIT"),
    ),
    Kind(
        "D053", "no-tls", WARNING, "not encrypted, over a network",
        "Password and rows can be read on the way, unless the network itself is encrypted.",
        ("PostgreSQL: ?sslmode=verify-full&sslrootcert=…", "MySQL: ?ssl_ca=…"),
    ),
    # -- SQLite
    Kind(
        "D061", "journal", WARNING, "readers and a writer lock each other out",
        "Without a write-ahead log nobody reads while somebody writes, and the other way round.",
        ("once for the file: PRAGMA journal_mode = WAL", "not on a network drive: there WAL does not work"),
    ),
    Kind(
        "D062", "busy-timeout", WARNING, "a locked database is an error at once",
        "Two writers at the same time are ordinary; the second should wait for a moment.",
        ("?timeout=10 in the URL, or connect_args={'timeout': 10}",),
    ),
    Kind(
        "D063", "not-writable", PROBLEM, "the file or its folder cannot be written to",
        "SQLite writes its journal beside the file, so the folder has to be writable, too.",
        ("give both to the user that the application runs as", "a container's file system: mount a volume"),
    ),
    Kind(
        "D064", "in-memory", NOTE, "the database lives in one connection's memory",
        "It is empty at each start, and each process has one of its own.",
        ("use a file where data are to be kept: sqlite:///shop.db",),
    ),
    Kind(
        "D065", "one-thread", PROBLEM, "this SQLite was built for one thread",
        "It is not safe in a program with threads, as every web server is.",
        ("use the Python of your system or of python.org, whose SQLite is built with THREADSAFE=1",),
    ),
)  # fmt: skip

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
