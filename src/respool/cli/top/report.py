"""One look as plain text: the verdict, what is wrong with the line to change, and who holds and waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from respool.cli.top.views import CONNECTIONS, REQUESTS, ROUTES, SCOPES, WORKERS, Row, View, ordered
from respool.cli.top.words import bar, clean, cut, many, paragraph, span
from respool.observe.format import Database, Finding, Merged

__all__ = ["body", "heading", "pool_line", "report"]

#: How many rows of each kind are printed; how many there are is said.
_ROWS = 10
#: How many lines of facts and of advice a finding has here.
_LINES = 4


def report(seen: Merged, width: int) -> Iterator[str]:
    """The lines of a view.

    Args:
        seen: the processes of an application.
        width: columns of the terminal; a place in the source is never cut.
    """
    yield heading(seen)
    yield from paragraph(clean(seen["verdict"]), width)
    yield ""
    for database in seen["databases"]:
        yield from paragraph(pool_line(database), width)
    yield from body(seen, width)


def body(seen: Merged, width: int) -> Iterator[str]:
    """What comes below the verdict and the pools; each part begins with an empty line."""
    if seen["findings"]:
        yield from ("", f"FINDINGS ({len(seen['findings'])})")
        for finding in seen["findings"][:_ROWS]:
            yield from _finding(finding, width)
        yield from _rest(len(seen["findings"]))
    held = [row for row in CONNECTIONS.rows(seen) if row["state"] == "acquired"]
    yield from _table(
        "CONNECTIONS HELD", CONNECTIONS, held, ["pid", "no", "state", "for", "unused", "work"], width, "line"
    )
    yield from _waiters(seen)
    now = SCOPES.rows(seen)
    yield from _table(
        "REQUESTS AND BLOCKS NOW", SCOPES, now, ["pid", "state", "age", "held", "in SQL", "stmts", "work"], width
    )
    worst = ["times", "mean", "slowest", "waited", "in SQL", "unused", "stmts", "route"]
    yield from _table("ROUTES", ROUTES, ROUTES.rows(seen), worst, width)
    last = ["ago", "took", "waited", "in SQL", "unused", "stmts", "outcome", "work"]
    yield from _table("LAST REQUESTS", REQUESTS, REQUESTS.rows(seen), last, width)
    if len(seen["processes"]) + len(seen["silent"]) > 1:
        yield from _table("WORKERS", WORKERS, WORKERS.rows(seen), [column.title for column in WORKERS.columns], width)


def heading(seen: Merged) -> str:
    """Which application it is, how many workers have answered, and when."""
    silent = f", {len(seen['silent'])} without an answer" if seen["silent"] else ""
    count = len(seen["processes"])
    who = f"{clean(seen['process']['application'])}, {count} process{'' if count == 1 else 'es'}"
    return f"{who}{silent}, {clean(seen['time'])[:19].replace('T', ' ')} UTC"


def pool_line(database: Database) -> str:
    """The numbers of a database's pools in a line."""
    pool = database["pool"]
    held, limit = pool.get("acquired", 0), pool.get("max_size", 0)
    unused = sum((row.get("idle") or 0.0) > 0.5 for row in database["connections"])
    oldest = f", the first for {span(pool['oldest_wait'])}" if pool.get("waiting") else ""
    parts = [
        *(word for key, word in _STATES if pool.get(key)),
        f"{held} of {limit or '?'} held" + (f", {unused} of them unused" if unused else ""),
        f"{pool.get('idle', 0)} free",
        f"{pool.get('waiting', 0)} waiting{oldest}",
        *([many(pool["timeouts"], "timeout")] if pool.get("timeouts") else []),
    ]
    return f"{clean(database['name'])} {bar(held, limit, 10)} {' · '.join(parts)}"


_STATES = (("database_away", "DATABASE AWAY"), ("suspended", "SUSPENDED"), ("closed", "CLOSED"))


def _finding(finding: Finding, width: int) -> Iterator[str]:
    times = f" ({many(finding['count'], 'time')})" if finding["count"] > 1 else ""
    yield from paragraph(f"[{clean(finding['code'])}] {clean(finding['what'])}{times}", width, "  ")
    yield f"      line:  {clean(finding['place']) or 'unknown'}"
    if finding["route"]:
        yield f"      route: {clean(finding['route'])}"
    for fact in finding["facts"][:_LINES]:
        yield from paragraph(clean(fact), width, "      ")
    for advice in finding["advice"][:_LINES]:
        yield from paragraph(f"do: {clean(advice)}", width, "      ")


def _waiters(seen: Merged) -> Iterator[str]:
    """Who waits, by the line: a hundred of them wait in one or two."""
    rows = [row for database in seen["databases"] for row in database["waiters"]]
    if not rows:
        return
    lines = Counter(clean(row["place"]) or "a line that is not known" for row in rows)
    yield from ("", f"WAITING ({len(rows)})")
    for place, count in lines.most_common(_ROWS):
        longest = max(row["seconds"] for row in rows if (clean(row["place"]) or "a line that is not known") == place)
        yield f"  {count:>4} at {place}, the first for {span(longest)}"
    yield from _rest(len(lines))


def _table(
    title: str, view: View, rows: Sequence[Row], names: Sequence[str], width: int, below: str = ""
) -> Iterator[str]:
    """Some columns of a view; the last one has what is left of the width, and the one ``below`` a line of its own."""
    if not rows:
        return
    columns = [view.column(name) for name in names]
    shown = ordered(rows, view.column(view.first), ascending=False)[:_ROWS]
    cells = [[column.show(row) for column in columns] for row in shown]
    widths = [max(len(text) for text in texts) for texts in zip([*names], *cells, strict=True)]
    yield from ("", f"{title} ({len(rows)})")
    for row, line in zip([None, *shown], [[*names], *cells], strict=True):
        texts = [
            text.rjust(size) if column.right else text.ljust(size)
            for text, size, column in zip(line, widths, columns, strict=True)
        ]
        yield cut("  " + "  ".join(texts), width).rstrip()
        if row is not None and below and (place := view.column(below).show(row)):
            yield f"      at {place}"
    yield from _rest(len(rows))


def _rest(count: int) -> Iterable[str]:
    return [f"  … and {count - _ROWS} more"] if count > _ROWS else []
