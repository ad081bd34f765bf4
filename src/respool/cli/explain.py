"""``respool explain CODE``: what an error or finding means and what to do about it.

Errors are read from their classes, findings from their kinds: what is seen of an application (F), what the doctor sees (D).
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import TypeAlias

from respool import errors
from respool.cli.doctor import kinds as doctor
from respool.config import suggest
from respool.errors import ConfigError, RespoolError
from respool.observe.findings import kinds as observed

__all__ = ["ADVICE", "codes", "explain", "findings", "overview"]

Finding: TypeAlias = observed.Kind | doctor.Kind

#: What to do, the likeliest first. The message that an error carries is closer to the case; this is what holds always.
ADVICE = {
    "C001": (
        "Read the first line of the message: it names the setting, the value that was given and what is accepted.",
        "Settings come from arguments, from the URL and from RESPOOL_... variables: look for the one that was meant.",
    ),
    "C002": (
        'Install it with the extra that the message names: pip install "respool[fastapi]".',
        "In a container or on a server: add the extra to what is installed there, not only on your machine.",
        "Look whether the program runs in the environment that you think: python -m pip list.",
    ),
    "O001": (
        "Load it together with the object: select(Order).options(selectinload(Order.lines)), undefer(...) for a column.",
        "Or in time, while the object is in its session: session.refresh(order, ['lines']).",
        "In another scope fetch the object anew by its key; do not keep objects in caches or globals to load more later.",
    ),
    "O002": (
        "Load it together with the object: select(Order).options(selectinload(Order.lines)).",
        "Or before it is read: await session.refresh(order, ['lines']).",
        "What has to read lazily runs in: await session.run_sync(function).",
    ),
    "P001": (
        "See who holds the connections: the message names the oldest, and db.pool.snapshot() all of them.",
        "Give a connection back before waiting for anything else: with db.released(): call_something_slow().",
        "Make long transactions shorter: commit before slow work, stream outside of them.",
        "If the database was away or slow to connect, the cause below the error says so: mend that first.",
        "Only then raise max_size, and stay below what the server allows over all processes.",
    ),
    "P002": (
        "The message says who closed it, and where.",
        "The application is shutting down: let the request fail, or stop taking requests before db.close().",
        "In tests: start the application each time, with TestClient(app) as client; or open it again: db.reopen().",
    ),
    "P003": (
        "The load is more than the pool can serve: answering 503 at once is what max_waiting is for.",
        "If it comes in short bursts, raise max_waiting, so that they wait instead.",
        "If it lasts, look for what holds connections for long, as for P001.",
    ),
    "P004": (
        "Read the cause: a wrong password, database name or certificate is in there, in the driver's own words.",
        "Try the same URL with the database's own client from the same machine.",
    ),
    "P005": (
        "The client went away while its request was in line, so the request left the line: nothing is lost by that.",
        "If there are many, clients give up before it is their turn: see why the line is that long, as for P001.",
    ),
    "P006": (
        "In tests: commit nothing past the session, such as by DDL on MySQL or in a procedure; keep no session of a test.",
        "A test that needs that, or cuts connections, takes a database of its own: the fixture respool_fresh.",
    ),
    "S001": (
        "Within a web application: respool.web.<framework>.install(app, db) must have been called on this very app.",
        'Outside of a request (job, command, thread, message): with db.scope("name") as session: ...',
        "In a thread or task that a request has started: open a scope of its own there.",
    ),
    "S002": (
        'Do the work before the response leaves, or in a scope of its own: with db.scope("name") as session: ...',
        "Do not keep a session in a global, a cache or a background task: pass ids and load the objects again.",
    ),
    "S003": (
        "Ask for db.session where it is used, instead of passing a session from one request to another.",
        "An object that one request has loaded belongs to it: load it again in the other one.",
    ),
    "S004": (
        "Await one thing after the other on a session; asyncio.gather over one session cannot work.",
        'For work that shall run side by side, open a scope in each task or thread: with db.scope("name") as session: ...',
    ),
    "S005": (
        "Somebody called session.scope.doom(reason): the message gives the reason. The scope rolls back at its end.",
        'What should be saved nevertheless belongs into a scope of its own: with db.scope("audit") as session.',
    ),
    "S006": (
        'Commit: await session.commit() in the handler, or Database(..., commit="on_success") for all of them.',
        "If the changes were not meant to be kept, say so: session.rollback().",
    ),
    "S007": (
        "Do not repeat the work blindly: it may be saved. Look whether it is there, by a key of your own.",
        "Give such requests an idempotency key, so that repeating them is harmless.",
    ),
    "S008": (
        "Write before or after the read_only() block, or leave it out: plain reads are leased without it.",
        "If nothing was meant to be changed, look for the line that set an attribute or added an object.",
    ),
    "S011": (
        "Let units end by themselves: they commit at their end, and roll back if an exception comes out of them.",
        "Ask for an isolation level or read_only where the outermost unit begins, or use new=True.",
    ),
    "S012": (
        "Commit before the inner session is opened, or use savepoint=True, which stays on one connection.",
        "Raise max_size above the number of requests that hold one connection while they need another.",
    ),
    "S013": (
        "Nothing is wrong in the database: the transaction had its outcome before the hook ran. Read the cause below it.",
        "Let the hook handle its own errors, or write what must not be lost as a row in the same transaction.",
    ),
    "S014": (
        "Make the databases agree again: take back what was committed, or do the rest once more.",
        "Name the database whose COMMIT may fail first in the middleware, or commit in two phases: twophase=True.",
    ),
    "S015": (
        "Nothing is saved: do it once more, from its start. @transactional(retry=3) does that by itself.",
        "Find out who closes connections that are in use: a restart, an administrator, a limit for idle transactions.",
    ),
}

#: An attribute in the source of a class, and the note beside it.
_NOTE = re.compile(r"^    (\w+): [^=#]+#:\s*(.*)$", re.MULTILINE)


def codes() -> dict[str, type[RespoolError]]:
    """Every error class by its code, in order."""
    classes = [getattr(errors, name) for name in errors.__all__]
    return dict(sorted((kind.code, kind) for kind in classes))


def findings() -> dict[str, Finding]:
    """Every kind of finding by its code, in order: the observation's, then the doctor's."""
    kinds: list[Finding] = [*observed.KINDS.values(), *doctor.KINDS.values()]
    return {kind.code: kind for kind in kinds}


def explain(code: str) -> str:
    """The page of one error or finding.

    Args:
        code: such as ``P001``, in any case, or the name of the class or finding.

    Raises:
        ConfigError: there is no such code; the message lists those that there are.
    """
    known: dict[str, type[RespoolError] | Finding] = {**codes(), **findings()}
    by_name = {_name(kind).lower(): number for number, kind in known.items()}
    wanted = code.strip().strip("[]").upper()
    kind = known.get(by_name.get(wanted.lower(), wanted))
    if kind is None:
        near = suggest(wanted, known) or suggest(code, [_name(each) for each in known.values()])
        raise ConfigError(f"there is no error code {code!r}{near}", advice=[f"codes: {', '.join(known)}"], given=code)
    return "\n".join(_page(kind) if isinstance(kind, type) else _page_of_finding(kind))


def overview() -> list[str]:
    """One line for each code."""
    raised = [f"{code}  {kind.__name__:<20}  {_title(kind)}" for code, kind in codes().items()]
    return raised + [f"{code}  {kind.name:<20}  {kind.title}" for code, kind in findings().items()]


def _name(kind: type[RespoolError] | Finding) -> str:
    return kind.__name__ if isinstance(kind, type) else kind.name


def _page_of_finding(kind: Finding) -> Iterator[str]:
    yield f"{kind.code}  {kind.name}: {kind.title}"
    if isinstance(kind, doctor.Kind):
        yield f"  {kind.level}, of respool doctor"
    yield ""
    yield textwrap.fill(kind.means, 100, initial_indent="  ", subsequent_indent="  ")
    yield from ("", "What to do", *_numbered(kind.advice))


def _title(kind: type[RespoolError]) -> str:
    return re.split(r"(?<=\.)\s", _said(kind), maxsplit=1)[0]


def _said(kind: type[RespoolError]) -> str:
    """What the docstring says before it lists arguments, as one paragraph of plain text."""
    return " ".join(inspect.cleandoc(kind.__doc__ or "").partition("\n\nArgs:")[0].replace("``", "").split())


def _page(kind: type[RespoolError]) -> Iterator[str]:
    yield f"{kind.code}  {kind.__name__}"
    yield ""
    yield textwrap.fill(_said(kind), 100, initial_indent="  ", subsequent_indent="  ")
    below = [f"{each.code} {each.__name__}" for each in codes().values() if kind in each.__bases__]
    if below:
        yield from ("", "Catches", *(f"  {line}" for line in below))
    advice = ADVICE.get(kind.code, ())
    if advice:
        yield from ("", "What to do", *_numbered(advice))
    yield from ("", "In code", f"  from respool.errors import {kind.__name__}")
    yield "  " + " → ".join(each.__name__ for each in kind.__mro__ if each not in (BaseException, object))
    yield from (f"  error.{fact}" for fact in _facts(kind))


def _numbered(lines: tuple[str, ...]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        yield textwrap.fill(line, 100, initial_indent=f"  {number}. ", subsequent_indent="     ")


def _facts(kind: type[RespoolError]) -> Iterator[str]:
    """The attributes that a class and its bases declare, with the notes that stand beside them."""
    for each in reversed(kind.__mro__):
        if issubclass(each, RespoolError) and each is not RespoolError:
            notes = dict(_NOTE.findall(inspect.getsource(each)))
            for name, hint in inspect.get_annotations(each).items():
                yield f"{name}: {hint}" + (f" ({notes[name]})" if name in notes else "")
