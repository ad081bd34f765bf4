"""A script on a mapping, with plans and without: what can be told has to be the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tests.loading.arenas import Arena, Told
from tests.loading.mappings import Shape, mapped
from tests.loading.scripts import Step

__all__ = ["BEGINS", "compare"]

_ADDRESS = re.compile(r"0x[0-9a-f]+")
_READS = ("get", "change", "read")
#: A flush goes through sets: what comes of an object that was given to two others is not the same each time.
_CHANCES = 60


#: When a transaction may begin.
BEGINS = (None, "on_use", "on_write")


def compare(arena: Arena, shape: Shape, script: Sequence[Step], planned: list[str], begin: str | None = None) -> Told:
    """Play on both, and compare.

    Args:
        arena: where.
        shape: of the mapping.
        script: its steps.
        planned: where it is noted what goes by plans.
        begin: when a transaction begins.

    Returns:
        what it came to.
    """
    mapping = mapped(shape)
    try:
        with arena.tables(mapping):
            planned.clear()
            ours = arena.told(mapping, script, planned, plans=True, begin=begin)
            planned.clear()
            theirs = arena.told(mapping, script, planned, plans=False, begin=begin)
            once, varies = theirs, False
            for number in range(_CHANCES):
                if _same(ours, theirs) or (number > 4 and not varies):
                    break
                theirs = arena.told(mapping, script, planned, plans=False, begin=begin)
                varies = varies or not _same(once, theirs)
        assert planned == []
        for with_plans, without in zip(ours.seen, theirs.seen, strict=True):
            assert _plain(with_plans) == _plain(without)
        assert [*map(_plain, ours.sent)] == [*map(_plain, theirs.sent)]
        if shape.simple and script[0][0] in _READS:  # before anything can have gone wrong
            assert ours.planned, "the second time no read went by a plan"
        return ours
    finally:
        mapping.base.registry.dispose()


def _same(one: Told, other: Told) -> bool:
    return [*map(_plain, one.seen + one.sent)] == [*map(_plain, other.seen + other.sent)]


def _plain(seen: Any) -> str:
    return _ADDRESS.sub("", seen if isinstance(seen, str) else repr(seen))
