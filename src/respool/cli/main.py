"""The ``respool`` command: reads its arguments and calls what they ask for."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["build_parser", "main"]

DEFAULT_URL = "sqlite+aiosqlite:///respool-demo.db"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 for success, 1 for failure, 2 for a wrong command line.

    Args:
        arguments: without the program's name; those of this process when not given.
    """
    options = build_parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    return run(options)


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``respool`` and all its commands."""
    parser = argparse.ArgumentParser(
        prog="respool", description="Request-bound database sessions over a fair connection pool, for SQLAlchemy."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_top(
        commands.add_parser("top", help="who holds what, since when and why, in running processes", description=_TOP)
    )
    _add_demo(commands.add_parser("demo", help="run a small shop and watch its pool and sessions", description=_DEMO))
    _add_new(commands.add_parser("new", help="make a new application from a template", description=_NEW))
    _add_probe(commands.add_parser("probe", help="whether running processes are alive and ready", description=_PROBE))
    _add_doctor(commands.add_parser("doctor", help="judge a pool's settings on a database", description=_DOCTOR))
    page = commands.add_parser(
        "explain", help="what a code means, or whether a statement is planned", description=_EXPLAIN
    )
    _add_explain(page)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from respool import __version__

        print(f"respool {__version__}")
        parser.exit()


_TOP = """Watch the processes of this user that observe their databases: the connections and who holds them, who waits,
the requests and where their time goes, and what is wrong, with the line to change. Nothing is asked of a database."""


def _add_top(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--app", metavar="NAME", help="only the processes of this application")
    parser.add_argument("--pid", type=_pid, metavar="N", help="only the process with this number")
    parser.add_argument("--once", action="store_true", help="print what is to be seen now, and end")
    parser.add_argument("--json", action="store_true", help="with --once: print it as JSON")
    parser.add_argument(
        "--every", type=_duration, default=2.0, metavar="S", help="seconds between two looks (default: %(default)g)"
    )
    parser.set_defaults(run=_top, refuse=parser.error)


def _top(options: argparse.Namespace) -> int:
    from respool.cli.top.command import run

    if options.json and not options.once:
        options.refuse("--json goes with --once")
    return run(options)


_DEMO = """Run a small shop on a database of its own, with a page that shows the pool and the open sessions live.
The default database is an SQLite file, respool-demo.db, in the current folder: orders are still there after a restart."""


_DEMO_NEEDS = {"fastapi", "starlette", "pydantic", "uvicorn", "prometheus_client"}

_TROUBLES = ("hold", "leak", "n+1", "block", "db-away")


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=8000, help="port to listen on, 0: any free (default: %(default)s)"
    )
    parser.add_argument("--url", default=DEFAULT_URL, help="SQLAlchemy URL with an async driver (default: %(default)s)")
    parser.add_argument("--load", type=_clients, default=0, metavar="N", help="simulate N customers (default: none)")
    parser.add_argument("--seconds", type=_duration, metavar="S", help="stop after S seconds (default: at Ctrl-C)")
    parser.add_argument(
        "--trouble", choices=_TROUBLES, help="have one, to be found on the page at /respool (default: none)"
    )
    parser.set_defaults(run=_demo)


_NEW = """Make a folder NAME with an application in it: models, migrations, routes, tests, settings, container, dashboard.
Nothing is written into a folder in which something is."""


def _add_new(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the folder, and of the package in it")
    parser.add_argument("--framework", choices=("fastapi", "flask", "litestar", "django"), help="what it is built with")
    parser.add_argument(
        "--database", choices=("sqlite", "postgresql"), default="sqlite", help="for development (default: %(default)s)"
    )
    parser.add_argument("--list", action="store_true", help="show what there is, and make nothing")
    parser.set_defaults(run=_new)


def _new(options: argparse.Namespace) -> int:
    from respool.cli.new.command import run

    return run(options)


_PROBE = """Ask the processes of this user that observe their databases whether they are alive, or can serve: for a probe that
runs a command. A thread of each answers, so the answer comes while an event loop stands still and the pool is exhausted.
Exit codes: 0 yes; 1 no, or none answers; the reasons are printed."""


def _add_probe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("live", "ready"), help="live: all of them; ready: one of them at least")
    parser.add_argument("--app", metavar="NAME", help="only the processes of this application")
    parser.add_argument("--pid", type=_pid, metavar="N", help="only the process with this number")
    parser.add_argument("--within", type=_duration, default=1.0, metavar="S", help="seconds for all (default: 1)")
    parser.set_defaults(run=_probe)


def _probe(options: argparse.Namespace) -> int:
    from respool.cli.probe import run

    return run(options)


_DOCTOR = """Ask a database for its limits and times, see what stands before it, and judge a configuration against that.
What is not given here is taken from WEB_CONCURRENCY and the RESPOOL_... variables. Nothing is written.
Exit codes: 0 fine; 1 problems, with --strict warnings too; 2 a wrong command line, or no connection."""


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    # what is left out is not in the namespace: none is a value
    setting: dict[str, Any] = {"default": argparse.SUPPRESS, "metavar": "S", "type": _seconds_or_none}
    size: dict[str, Any] = {"default": argparse.SUPPRESS, "metavar": "N", "type": _clients}
    parser.add_argument("url", nargs="?", metavar="URL", help="SQLAlchemy URL, sync or async (default: RESPOOL_URL)")
    parser.add_argument("--workers", type=_workers, metavar="N", help="processes, on all machines together; without it and "
                        "--pool, the processes that run and observe this database are judged")  # fmt: skip
    parser.add_argument("--pool", "--max-size", dest="max_size", help="max_size of each process's pool", **size)
    parser.add_argument("--min-size", help="its min_size", **size)
    parser.add_argument("--max-idle", help="its max_idle, or none", **setting)
    parser.add_argument("--max-lifetime", help="its max_lifetime, or none", **setting)
    parser.add_argument("--leak-after", help="its leak_after, or none", **setting)
    parser.add_argument("--reads-only", action="store_true", help="nothing shall be written by this URL")
    parser.add_argument("--no-prepare", action="store_true", help="the driver's prepared statements are turned off")
    parser.add_argument(
        "--snapshot", metavar="FILE", help="settings of processes that run: JSON of snapshot(), -: stdin"
    )
    parser.add_argument("--timeout", type=_duration, default=10.0, metavar="S", help="for a connect (default: 10)")
    parser.add_argument("--strict", action="store_true", help="warnings count as problems")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from respool.cli.doctor.command import run

    return run(options)


def _demo(options: argparse.Namespace) -> int:
    try:
        from respool.cli.demo.command import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _DEMO_NEEDS:
            raise
        print(f'respool demo needs {error.name}: pip install "respool[demo]"', file=sys.stderr)
        return 1
    return run(options)


_EXPLAIN = """Tell what the code of an error or finding means and what to do about it; or with --plan, of the processes of this
user that observe their databases, which statements go by plans, which do not, why, and what would make it so.
Exit codes: 0 it is told; 1 no process answers, or none knows such a statement; 2 a wrong command line, or no such code."""


def _add_explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "code", nargs="?", metavar="CODE", help="such as P001, F001 or D011; without one, all are listed"
    )
    parser.add_argument(
        "--plan", nargs="?", const="", metavar="TEXT", help="tell of the statements that contain TEXT, or of all"
    )
    parser.add_argument("--app", metavar="NAME", help="with --plan: only the processes of this application")
    parser.add_argument("--pid", type=_pid, metavar="N", help="with --plan: only the process with this number")
    parser.add_argument("--json", action="store_true", help="with --plan: print it as JSON")
    parser.set_defaults(run=_explain, refuse=parser.error)


def _explain(options: argparse.Namespace) -> int:
    if options.plan is not None:
        if options.code is not None:
            options.refuse("--plan is about statements, and goes without a code")
        from respool.cli.planned import run

        return run(options)
    if options.app is not None or options.pid is not None or options.json:
        options.refuse("--app, --pid and --json go with --plan")
    from respool.cli.explain import explain, overview
    from respool.errors import ConfigError

    if options.code is None:
        print("\n".join(overview()))
        return 0
    try:
        print(explain(options.code))
    except ConfigError as error:
        print(error.headline, "", *overview(), sep="\n", file=sys.stderr)
        return 2
    return 0


def _port(text: str) -> int:
    return _whole(text, 0, 65535)


def _pid(text: str) -> int:
    return _whole(text, 1, 2**31 - 1)


def _clients(text: str) -> int:
    return _whole(text, 0, 10_000)


def _workers(text: str) -> int:
    return _whole(text, 1, 100_000)


def _seconds_or_none(text: str) -> float | None:
    return None if text.lower() == "none" else _duration(text)


def _whole(text: str, least: int, most: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
    return number


def _duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
