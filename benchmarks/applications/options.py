"""What both commands are asked for: which questions, of which peers; and which of these are installed."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path

from benchmarks.applications.peers import PEERS, Peer, missing

__all__ = ["choose", "parser_of", "read"]

#: For a quick run, where nobody is named.
_QUICK = ("respool", "depends-function", "respool-flask", "flask-sqlalchemy")


def parser_of(
    program: str, told: str | None, names: Collection[str], peers: Collection[str]
) -> argparse.ArgumentParser:
    """The options that each has; ``told`` is the head of its file."""
    parser = argparse.ArgumentParser(program, description=told)
    parser.add_argument("--only", default=",".join(names), help=f"some of: {','.join(names)}")
    parser.add_argument("--peers", help=f"some of: {','.join(peers)}; in a quick run: {','.join(_QUICK)}")
    parser.add_argument("--quick", action="store_true", help="a short run, to see that it works; its figures are rough")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where benchmarks/results/ and docs/ are")
    return parser


def read(
    parser: argparse.ArgumentParser, arguments: Sequence[str], names: Collection[str], peers: Collection[str]
) -> argparse.Namespace:
    """What was asked for; ends the program where something is not known."""
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    options.peers = options.peers.split(",") if options.peers else list(_QUICK if options.quick else peers)
    for given, known in ((options.only, names), (options.peers, peers)):
        unknown = sorted(set(given) - set(known))
        if unknown:
            parser.error(f"unknown {', '.join(unknown)}; there are {', '.join(known)}")
    return options


def choose(keys: Sequence[str]) -> tuple[list[Peer], dict[str, str]]:
    """The peers that are installed, and why each of the others is left out."""
    found: list[Peer] = []
    left_out: dict[str, str] = {}
    for key in keys:
        lacks = missing(PEERS[key])
        if lacks:
            left_out[key] = f"not installed: {', '.join(lacks)}"
        else:
            found.append(PEERS[key])
    return found, left_out
