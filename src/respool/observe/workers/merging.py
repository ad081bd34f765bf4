"""Several processes as one: pools added up, rows side by side, what was found more than once found once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar, cast

from respool.observe.format import Database, Finding, Merged, Plans, Request, Route, Snapshot, Statement, Worker
from respool.observe.verdicts import verdict

__all__ = ["merged", "only"]

#: How many requests a view has: as many as the snapshot of one process.
_REQUESTS = 200
#: What holds for a pool's numbers is the largest, where a sum would mean nothing.
_LARGEST = ("oldest_wait", "max")
#: What is true of several pools only if it is of each.
_OF_ALL = ("closed", "suspended")

Row = TypeVar("Row", bound=Any)


def merged(snapshots: Sequence[Snapshot]) -> Merged:
    """Several snapshots in one view.

    Args:
        snapshots: at least one, of different processes; see :class:`~respool.observe.format.Merged` for what becomes of
            them.
    """
    snapshots = sorted(snapshots, key=lambda each: (each["process"]["started"], each["process"]["pid"]))
    first = snapshots[0]
    names = dict.fromkeys(database["name"] for each in snapshots for database in each["databases"])
    databases = [_database(name, snapshots) for name in names]
    findings = _findings(snapshots)
    return {
        "format": first["format"],
        "version": first["version"],
        "time": max(each["time"] for each in snapshots),
        "process": first["process"],
        "verdict": first["verdict"] if len(snapshots) == 1 else verdict(databases, findings),
        "databases": databases,
        "findings": findings,
        "processes": [_worker(each) for each in snapshots],
        "silent": [],
    }


def only(snapshot: Snapshot, names: Collection[str]) -> Snapshot:
    """The part of a snapshot that is about some databases."""
    databases = [each for each in snapshot["databases"] if each["name"] in names]
    findings = [each for each in snapshot["findings"] if each["database"] in names]
    return {**snapshot, "databases": databases, "findings": findings, "verdict": verdict(databases, findings)}


def _worker(snapshot: Snapshot) -> Worker:
    return {
        **snapshot["process"],
        "time": snapshot["time"],
        "verdict": snapshot["verdict"],
        "pools": {database["name"]: database["pool"] for database in snapshot["databases"]},
    }


def _database(name: str, snapshots: Sequence[Snapshot]) -> Database:
    parts = [(each["process"]["pid"], part) for each in snapshots for part in each["databases"] if part["name"] == name]
    databases = [database for _, database in parts]
    requests: list[Request] = _rows((pid, part["requests"]) for pid, part in parts)
    requests.sort(key=lambda request: request["began"] + request["seconds"], reverse=True)
    return {
        "name": name,
        "url": databases[0]["url"],
        "asynchronous": databases[0]["asynchronous"],
        "observed": all(each["observed"] for each in databases),
        "pool": _sum([each["pool"] for each in databases]),
        "settings": databases[0]["settings"],
        "connections": _rows((pid, part["connections"]) for pid, part in parts),
        "waiters": sorted(_rows((pid, part["waiters"]) for pid, part in parts), key=_longest),
        "scopes": _rows((pid, part["scopes"]) for pid, part in parts),
        "requests": requests[:_REQUESTS],
        "routes": _routes(chain.from_iterable(each["routes"] for each in databases)),
        "plans": _plans([(pid, part["plans"]) for pid, part in parts]),
    }


def _plans(parts: Sequence[tuple[int, Plans]]) -> Plans:
    """A statement that is known to several processes, and is the same to them, is told of once."""
    found: dict[tuple[Any, ...], Statement] = {}
    for pid, part in parts:
        for row in part["statements"]:
            key = (row["kind"], row["text"], row["planned"], row["why"])
            found.setdefault(key, {**row, "pids": []})["pids"].append(pid)
    statements = sorted(found.values(), key=lambda row: row["planned"])
    obstacles = {each["what"]: each for _, part in parts for each in part["obstacles"]}
    return {
        "on": all(part["on"] for _, part in parts),
        "advice": next((part["advice"] for _, part in parts if part["advice"]), None),
        "known": len(statements),
        "planned": sum(row["planned"] for row in statements),
        "obstacles": sorted(obstacles.values(), key=lambda each: not each["stops"]),
        "statements": statements,
    }


def _rows(parts: Iterable[tuple[int, Sequence[Row]]]) -> list[Row]:
    return [cast(Row, {**row, "pid": pid}) for pid, rows in parts for row in rows]


def _longest(waiter: Any) -> float:
    return -float(waiter["seconds"])


def _sum(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers added up, key by key, as ``respool.pool.telling.stats.together`` does it with those of one process."""
    sums: dict[str, Any] = {}
    for key in dict.fromkeys(chain.from_iterable(parts)):
        values = [value for part in parts if (value := part.get(key)) is not None]
        sums[key] = _sum_of(key, values) if values else None
    return sums


def _sum_of(key: str, values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, bool):
        return all(values) if key in _OF_ALL else any(values)
    if isinstance(first, int | float):
        return max(values) if key in _LARGEST else sum(values)
    if isinstance(first, Mapping):
        if "counts" in first and any(value["bounds"] != first["bounds"] for value in values):
            return first  # of another version, whose buckets are others
        return _sum(values)
    if isinstance(first, list) and key == "counts":
        return [sum(column) for column in zip(*values, strict=True)]
    return first


def _routes(rows: Iterable[Route]) -> list[Route]:
    found: dict[str, Route] = {}
    for row in rows:
        known = found.get(row["route"])
        if known is None:
            found[row["route"]] = cast(Route, {**row, "outcomes": dict(row["outcomes"])})
            continue
        both = {key: value for key, value in row.items() if key not in ("route", "slowest", "most_idle")}
        known.update(cast(Route, _sum([{key: known[key] for key in both}, both])))  # type: ignore[literal-required]
        known["slowest"] = max(known["slowest"], row["slowest"])
        known["most_idle"] = max(known["most_idle"], row["most_idle"])
    return list(found.values())


def _findings(snapshots: Sequence[Snapshot]) -> list[Finding]:
    found: dict[tuple[str, str, str], Finding] = {}
    for snapshot in snapshots:
        pid = snapshot["process"]["pid"]
        for row in snapshot["findings"]:
            key = (row["code"], row["database"], row["place"] or row["route"] or row["what"])
            known = found.get(key)
            found[key] = {**row, "pids": [pid]} if known is None else _both(known, row, pid)
    return sorted(found.values(), key=lambda finding: finding["last"], reverse=True)


def _both(known: Finding, row: Finding, pid: int) -> Finding:
    worse = row if row["worst"] > known["worst"] else known
    return {
        **worse,
        "count": known["count"] + row["count"],
        "first": min(known["first"], row["first"]),
        "last": max(known["last"], row["last"]),
        "pids": [*known["pids"], pid],
    }
