"""The state of things in one sentence: for the head of a page, and for whoever reads nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from respool.observe.format import Database, Finding

__all__ = ["verdict"]

#: The findings that say why a pool is in trouble, the gravest first.
_GRAVE = ("database-away", "blocked-loop", "pool-exhausted", "leak", "held-idle", "nested")


def verdict(databases: Sequence[Database], findings: Sequence[Finding]) -> str:
    """The worst that is to be said of these databases now.

    Args:
        databases: their rows.
        findings: the findings of all.
    """
    for database in databases:
        if said := _of(database, [found for found in findings if found["database"] == database["name"]]):
            return said
    if findings:
        number = f"{len(findings)} finding{'s' if len(findings) > 1 else ''}"
        return f"All is served; {number}, the latest: {_said(findings[0])}."
    return "All is well." if databases else "No database is observed."


def _of(database: Database, findings: Sequence[Finding]) -> str | None:
    name, pool = database["name"], database["pool"]
    if pool.get("closed"):
        return f"Database {name!r} is closed."
    if pool.get("database_away"):
        return f"Database {name!r} does not answer: {_wait(pool.get('waiting', 0))} for it.{_why(findings)}"
    waiting, acquired, limit = pool.get("waiting", 0), pool.get("acquired", 0), pool.get("max_size", 0)
    if waiting:
        idle = sum((row.get("idle") or 0.0) > 0.5 for row in database["connections"])
        held = f", {idle} of them unused" if idle else ""
        return (
            f"Database {name!r}: {_wait(waiting)}, the first for {pool.get('oldest_wait', 0.0):.1f} s; "
            f"{acquired} of {limit} connections are held{held}.{_why(findings)}"
        )
    if limit and acquired >= limit:
        return f"Database {name!r}: all {limit} connections are in use, and nobody waits.{_why(findings)}"
    return None


def _why(findings: Sequence[Finding]) -> str:
    for kind in _GRAVE:
        for found in findings:
            if found["kind"] == kind:
                return f" {_said(found)}."
    return ""


def _said(found: Finding) -> str:
    place = found["place"]
    return found["what"] if place is None or place in found["what"] else f"{found['what']} at {place}"


def _wait(number: int) -> str:
    return "1 waits" if number == 1 else f"{number} wait"
