"""What observing costs, counted in instructions: ``python -m benchmarks.observing``.

One request of one read on SQLite: a FastAPI application, called as ASGI in the same process. Three kinds of it:

* ``on``: ``observe(db)``, with what its thread adds up of the request.
* ``off``: nobody observes.
* ``bare``: the same with a copy of the package that lacks the places where somebody could.

And two reads: ``get``, which has a connection for itself, and ``text``, a statement as text, which holds one in a transaction.

Instructions are the same on a busy machine, so they are counted rather than timed: by valgrind, once for few requests and
once for many. Prints those of one request and of one look of the thread, and fails above what is promised: ``on`` 3 %
more than ``off``, ``off`` 0.2 % more than ``bare``. It takes some minutes.
"""

# Annotations are evaluated here: FastAPI cannot see the local names of a postponed one.
import argparse
import asyncio
import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.clients import ask
from respool import Database
from respool.observe import observation as observing
from respool.observe import observe
from respool.web.fastapi import install, session_of

KINDS, READS = ("bare", "off", "on"), ("get", "text")
FEW, MANY = 20, 220
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
    entry = None if context is None else getattr(context.root_connection._dbapi_connection, "_entry", None)
    if entry is None or (use := entry.use) is None:  # as _use_of(), written out
        return _execute(cursor, statement, parameters, context)
    if use.alone:
        use.begin(statement)
    elif not use.is_executing:
        return _noted(use, "do_execute", context, cursor, statement, parameters, context)
""",
            "",
        ),
    ],
    "pool/core/circulation.py": [
        ("        if entry.use is not None:\n            entry.end_use(now)\n", ""),
        ("        entry.end_use(self.now)\n", ""),
    ],
    "scope/scope.py": [
        ("        if self.account is not None:\n            self.account.over(self)\n", ""),
        ("        if self.account is not None:\n            self.account.status = status\n", ""),
    ],
    "web/rules/scopes.py": [
        (
            "                if scope.account is not None:\n                    scope.account.status = status\n",
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


def serve(kind: str, read: str, folder: str, times: int) -> None:
    """Have so many requests answered, or so many looks taken, and their instructions counted."""
    observing.EVERY = 1e6  # only we look: how often it is done meanwhile would depend on the machine
    path = f"{folder}/shop.db"
    db = Database(f"sqlite:///{path}")
    Base.metadata.drop_all(db.engine)
    Base.metadata.create_all(db.engine)
    with db.scope("fill") as session:
        session.add(Product(id=1, name="tea"))
        session.commit()
    app = application(db, read)
    if kind in ("on", "look"):
        observe(db, socket=False)

    async def work(times: int) -> None:
        for _ in range(times):
            if kind == "look":
                observing.observation.look()
            elif await ask(app, "/product/1") != 200:
                raise SystemExit("the request has failed")
        if kind == "on":
            observing.observation.look()

    with asyncio.Runner() as runner:
        runner.run(work(50))  # what comes once
        gc.collect()
        gc.freeze()  # when all of that is looked through once more is a matter of chance
        count("on")
        runner.run(work(times))
        count("off")
    sys.stdout.flush()
    os._exit(0)


def count(switch: str) -> None:
    """Have valgrind count from here on, or no more."""
    done = subprocess.run(["callgrind_control", "-i", switch, str(os.getpid())], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


# -- how -----------------------------------------------------------------------------------------------------------------


def instructions(kind: str, read: str, folder: Path) -> float:
    """Those of one request, or of one look."""
    package = folder if kind == "bare" else PACKAGE.parent
    counted = [_counted(package, kind, read, folder, times) for times in (FEW, MANY)]
    return (counted[1] - counted[0]) / (MANY - FEW)


def _counted(package: Path, kind: str, read: str, folder: Path, times: int) -> int:
    command = ["setarch", "-R"] if shutil.which("setarch") else []  # addresses are the same in each run
    command += ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null"]
    command += [sys.executable, "-m", "benchmarks.observing", "--serve", kind, read, str(folder), str(times)]
    environment = os.environ | {"PYTHONPATH": f"{package}{os.pathsep}{ROOT}", "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"{' '.join(command)} has failed:\n{done.stdout}{done.stderr}")
    return int(found[1])


def without_the_places(folder: Path) -> None:
    """Copy the package, without what is for who takes notes."""
    copy = folder / PACKAGE.name
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name, places in PLACES.items():
        source = (copy / name).read_text()
        for there, without in places:
            if source.count(there) != 1:
                raise SystemExit(f"{name} has changed: PLACES in {__file__} says that there is, once,\n{there}")
            source = source.replace(there, without)
        (copy / name).write_text(source)


def measure(read: str, folder: Path, tell: Callable[[str], object]) -> bool:
    """Whether a request of this read costs no more than is promised."""
    counted = {}
    for kind in KINDS:
        counted[kind] = instructions(kind, read, folder)
        tell(f"{read:5} {kind:5} {counted[kind]:12,.0f} instructions a request")
    kept = True
    for (kind, over), limit in LIMITS.items():
        share = counted[kind] / counted[over] - 1
        kept = kept and share <= limit
        verdict = "met" if share <= limit else "not met"
        tell(f"{read:5} {kind} over {over}: {share:+.2%}, at most {limit:.1%}: {verdict}")
    return kept


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.observing", description=(__doc__ or "").split(":")[0])
    parser.add_argument("--only", choices=READS, help="one of the reads")
    parser.add_argument("--serve", nargs=4, metavar=("KIND", "READ", "FOLDER", "TIMES"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.serve:
        kind, read, folder, times = given.serve
        serve(kind, read, folder, int(times))
    for tool in ("valgrind", "callgrind_control"):
        if shutil.which(tool) is None:
            print(f"{tool} is missing: it comes with valgrind", file=sys.stderr)
            return 2
    with tempfile.TemporaryDirectory(prefix="respool-observing-") as name:
        folder = Path(name)
        without_the_places(folder)
        kept = [measure(read, folder, _tell) for read in ([given.only] if given.only else READS)]
        _tell(f"{instructions('look', 'get', folder):,.0f} instructions a look, of which there are five a second")
    return 0 if all(kept) else 1


def _tell(line: str) -> Any:
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
