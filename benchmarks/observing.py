"""What observing costs, counted in instructions: ``python -m benchmarks.observing``.

One request of one read on SQLite: a FastAPI application, called as ASGI in the same process. Three kinds of it:

* ``bare``: the package without the places where somebody could observe.
* ``off``: nobody observes.
* ``on``: ``observe(db)``, with what its thread adds up of the request.

And two reads: ``get``, which has a connection for itself, and ``text``, a statement as text, which holds one in a transaction.

Instructions are the same on a busy machine, so they are counted rather than timed, by valgrind. They are not the same in
each process: where things lie in memory makes a percent. So all kinds are counted in one, in turn; and in some of them,
whose medians count.
Prints those of one request and of one look of the thread, and fails above what is promised: ``on`` 3 % more than ``off``,
``off`` 0.2 % more than ``bare``. It takes some minutes.
"""

# Annotations are evaluated here: FastAPI cannot see the local names of a postponed one.
import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from types import CodeType
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.callgrind import count, counted, missing
from benchmarks.clients import ask
from respool import Database, PoolConfig
from respool.engine.pools import fair
from respool.observe import observation as observing
from respool.observe import observe
from respool.web.fastapi import install, session_of

KINDS, READS = ("bare", "off", "on"), ("get", "text")
#: Processes, and in each of them rounds; requests of a round before it counts, and of those that count.
PROCESSES, ROUNDS, WARM, TIMES = 3, 2, 250, 100
#: The most that a request may cost more: of this kind over that one.
LIMITS = {("on", "off"): 0.03, ("off", "bare"): 0.002}
ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "respool"

#: Where somebody could take notes of a request: by file what stands there, and what would without it.
PLACES: dict[str, list[tuple[str, str]]] = {
    "engine/pools/checkout.py": [
        ("        meter = self._pool.meter\n        asked = None if meter is None else meter.asked()\n", ""),
        ("            if meter is not None:\n                meter.gave_up(asked)\n", ""),
        ("        if meter is not None:\n            meter.took(asked, self._entry, alone=self.alone)\n", ""),
    ],
    "engine/pools/staleness.py": [
        (
            """\
    if not noted:  # nobody takes notes of any pool
        return _execute(cursor, statement, parameters, context)
    entry = None if context is None else getattr(context.root_connection._dbapi_connection, "_entry", None)
    if entry is None or (use := entry.use) is None:  # as _use_of(), written out
        return _execute(cursor, statement, parameters, context)
    if use.alone:
        use.begin(statement)
    elif not use.is_executing:
        return _executed(use, cursor, statement, parameters, context)
""",
            "",
        ),
    ],
    "pool/core/circulation.py": [
        ("        if entry.use is not None:\n            entry.end_use(now)\n", ""),
        ("        if entry.use is not None:\n            entry.end_use(self.now)\n", ""),
    ],
    "scope/scope.py": [
        (
            "        self.account: Account | None = None  #: what is noted of it, where somebody takes notes\n",
            "",
        ),
        ("        if self.account is not None:\n            self.account.over(self)\n", ""),
        (
            """\
        self.status = status  # as answers(), written out
        if self.account is not None:
            self.account.status = status
""",
            "",
        ),
    ],
    "web/rules/scopes.py": [
        (
            """\
                if scope.status != status:
                    scope.answers(status)
""",
            "                pass\n",
        ),
    ],
}


# -- what is measured ----------------------------------------------------------------------------------------------------


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def application(db: Database, read: str) -> FastAPI:
    app = FastAPI(openapi_url=None)
    install(app, db)
    statement = text("SELECT name FROM product WHERE id = :number")

    @app.get("/product/{number}")
    async def product(number: int, session: Annotated[Session, Depends(session_of(db))]) -> str:
        if read == "get":
            return session.get_one(Product, number).name
        return str(session.execute(statement, {"number": number}).scalar_one())

    return app


def serve(read: str, folder: Path) -> None:
    """Have requests of each kind answered in turn, and their instructions counted."""
    # what is done by the clock depends on the machine: only we look, and no connection is looked at for having rested
    observing.EVERY = fair.REST = 1e6
    db = Database(f"sqlite:///{folder}/{read}.db", pool=PoolConfig(check_after=None, max_idle=None, max_lifetime=None))
    Base.metadata.create_all(db.engine)
    with db.scope("fill") as session:
        session.add(Product(id=1, name="tea"))
        session.commit()
    app, swaps = application(db, read), list(without_the_places())

    async def answer(times: int) -> None:
        for _ in range(times):
            if await ask(app, "/product/1") != 200:
                raise SystemExit("the request has failed")
        for recorder in observing.observation.recorders:
            recorder.read()

    def look(times: int) -> None:
        for _ in range(times):
            observing.observation.look()

    with asyncio.Runner() as runner:
        for turn in range(ROUNDS):
            for kind in KINDS if turn % 2 == 0 else KINDS[::-1]:  # whoever comes later pays a little more
                for function, without, there in swaps:
                    wanted = without if kind == "bare" else there
                    if function.__code__ is not wanted:  # whoever calls it has to get used to it again
                        function.__code__ = wanted
                if kind == "on":
                    observe(db, socket=False)
                runner.run(answer(WARM))
                counted(kind, lambda: runner.run(answer(TIMES)))
                if kind == "on":
                    look(2)
                    counted("look", lambda: look(TIMES))
                    observing.observation.remove(db)
    sys.stdout.flush()
    os._exit(0)


def without_the_places() -> Iterator[tuple[Any, CodeType, CodeType]]:
    """The functions in which they are, each with what it would be without them, and with what it is."""
    for name, places in PLACES.items():
        source = without = (PACKAGE / name).read_text()
        for there, instead in places:
            if without.count(there) != 1:
                raise SystemExit(f"{name} has changed: PLACES in {__file__} says that there is, once,\n{there}")
            without = without.replace(there, instead)
        module = import_module("respool." + name.removesuffix(".py").replace("/", "."))
        codes = [dict(_codes(compile(text, module.__file__ or "", "exec"))) for text in (without, source)]
        for path, code in codes[0].items():
            if code.co_code != codes[1][path].co_code:
                function = attrgetter(path)(module)
                yield function, code, function.__code__


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield part.co_qualname, part
            yield from _codes(part)


# -- how it is counted ---------------------------------------------------------------------------------------------------


def instructions(read: str, folder: Path, seed: int) -> dict[str, float]:
    """Those of one request or look in one process, by kind."""
    folder = folder / f"{read}-{seed}"
    folder.mkdir()
    found = count("benchmarks.observing", "--serve", read, str(folder), folder=folder, seed=seed)
    return {kind: statistics.median(totals) / TIMES for kind, totals in found.items()}


def measure(read: str, folder: Path, tell: Callable[[str], object]) -> bool:
    """Whether a request of this read costs no more than is promised."""
    counts = []
    for seed in range(PROCESSES):
        counts.append(instructions(read, folder, seed))
        tell(f"{read:5}" + "".join(f" {kind} {count:11,.0f}" for kind, count in counts[-1].items()))
    kept = True
    for (kind, over), limit in LIMITS.items():
        shares = [each[kind] / each[over] - 1 for each in counts]
        share = statistics.median(shares)
        kept = kept and share <= limit
        verdict = "met" if share <= limit else "not met"
        spread = f"{min(shares):+.2%} to {max(shares):+.2%}"
        tell(f"{read:5} {kind} over {over}: {share:+.2%} ({spread}), at most {limit:.1%}: {verdict}")
    return kept


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.observing", description=(__doc__ or "").split(":")[0])
    parser.add_argument("--only", choices=READS, help="one of the reads")
    parser.add_argument("--serve", nargs=2, metavar=("READ", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.serve:
        serve(given.serve[0], Path(given.serve[1]))
    if tool := missing():
        print(f"{tool} is missing: it comes with valgrind", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="respool-observing-") as name:
        folder = Path(name)
        kept = [measure(read, folder, _tell) for read in ([given.only] if given.only else READS)]
    return 0 if all(kept) else 1


def _tell(line: str) -> Any:
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
