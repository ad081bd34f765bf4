"""The kinds of findings: a code, a name for metrics, what it means, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["KINDS", "Kind"]


class Kind(NamedTuple):
    """One kind of findings."""

    code: str
    name: str  #: for a metric's label
    title: str  #: in a line
    means: str
    advice: tuple[str, ...]  #: what to do, the likeliest first


_ALL = (
    Kind(
        "F001",
        "held-idle",
        "a connection was held while something else was waited for",
        "A session that has a transaction open holds a connection. While the line named here works or waits for something "
        "else, nobody can use that connection; under load this is what empties a pool.",
        (
            "do the slow call before the first write, or after commit()",
            "give the connection back meanwhile: with db.released(): … (async with on an AsyncDatabase)",
        ),
    ),
    Kind(
        "F002",
        "leak",
        "a connection is not given back",
        "Its holder has ended, or has held it for longer than leak_after. A pool of ten has nine left.",
        (
            "use connections and sessions in a with block, or by db.scope(), which give back whatever happens",
            "do not keep a session or a connection in a global, a cache or an object that outlives its request",
        ),
    ),
    Kind(
        "F003",
        "n-plus-one",
        "one statement was executed again and again from one line",
        "Each time is a round trip. A list of fifty objects whose relationship is loaded at its use costs fifty-one.",
        (
            "load it with the list: select(Parent).options(selectinload(Parent.children))",
            "or read all in one statement: where(Item.id.in_(numbers))",
            "find it in the tests: with count_statements(db, max=3): …",
        ),
    ),
    Kind(
        "F004",
        "changes-dropped",
        "changes that nobody committed were rolled back",
        "A session ended with changes that had not been committed. The client may have been told that all is well.",
        (
            "call session.commit() when the work is done, or session.rollback() when it is not wanted",
            'or let every success commit: Database(url, commit="on_success")',
        ),
    ),
    Kind(
        "F005",
        "used-by-two",
        "two tasks or threads used one session",
        "The second was refused, since a session has one transaction and one state. Its work was not done.",
        (
            "await the session's calls one after the other, not in gather()",
            'give each task a scope of its own: async with db.scope("part") as session',
        ),
    ),
    Kind(
        "F006",
        "nested",
        "a connection was asked for by somebody who holds one",
        "As soon as all connections are held by such, each waits for another one to be given back, and none is.",
        (
            "use the session that is there: pass it on, or ask db.session",
            "commit() before the inner work, or do it in the same transaction: session.unit()",
            "where both are needed, have max_size at least one larger than the number of requests at a time",
        ),
    ),
    Kind(
        "F007",
        "blocked-loop",
        "the event loop stood still",
        "A call that does not await keeps every other request of this process waiting, and every connection that they hold.",
        (
            "await it, or send it to a thread: await asyncio.to_thread(function, …)",
            "a sync driver or session belongs into a plain def handler, not an async one",
        ),
    ),
    Kind(
        "F008",
        "pool-exhausted",
        "a request got no connection in time",
        "All connections were held for as long as the request was ready to wait. Who held them, and where, is named here.",
        (
            "look at what holds connections while nothing is executed (F001), and at leaks (F002) first",
            "a larger pool helps only if the database has cores for it: respool doctor URL --workers N --pool M",
        ),
    ),
    Kind(
        "F009",
        "database-away",
        "the database does not answer",
        "The pool tries to connect, one at a time and with growing pauses, and serves whoever waits as soon as it can.",
        (
            "is the server up, and reachable from here? the driver's own words are named here",
            "respool doctor URL tells name, port, password and certificate apart",
        ),
    ),
    Kind(
        "F010",
        "slow-connect",
        "opening a connection takes long",
        "Whoever finds no free connection waits for it; with a cold pool, every first request does.",
        (
            "keep some open: PoolConfig(min_size=…), opened when the application starts",
            "a name server that does not answer, or a proxy without a server at hand, are the usual reasons",
        ),
    ),
    Kind(
        "F011",
        "lease-costs",
        "plain reads need a transaction of their own",
        "A listener that nobody knows may depend on a transaction, so each read begins and ends one: two or three round "
        "trips instead of one.",
        (
            "if the listener named here only looks, say so: @respool.engine.only_looks above it",
            "set what it sets when the connection is opened (connect), not at each statement",
        ),
    ),
    Kind(
        "F012",
        "commit-unknown",
        "a connection broke during COMMIT",
        "Whether the changes are saved nobody can tell from here; the request was answered with an error.",
        ("look in the database before doing the work again", "make the operation repeatable: a key, unique in a table"),
    ),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
