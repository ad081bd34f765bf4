"""Nobody can tell a read by a plan from SQLAlchemy's: mappings and scripts by chance, with plans and without."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.loading.arenas import DRIVERS, NAMES, Arena
from tests.loading.comparing import BEGINS, compare
from tests.loading.mappings import Shape, shapes
from tests.loading.scripts import scripts

#: RESPOOL_MAPPINGS=10000 looks further, together with HYPOTHESIS_PROFILE=explore.
EXAMPLES = int(os.environ.get("RESPOOL_MAPPINGS", "0"))

_MARKS: dict[str, Any] = {
    "sqlite": (),
    "postgresql": pytest.mark.postgres,
    "mariadb": pytest.mark.mariadb,
}


@pytest.fixture(params=[pytest.param(driver, marks=_MARKS[place]) for driver, place in DRIVERS.items()])
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    pytest.importorskip(NAMES.get(request.param, request.param))
    place = DRIVERS[request.param]
    if place == "sqlite":
        with closing(Arena(request.param)) as arena:
            yield arena
        return
    server: Any = request.getfixturevalue({"postgresql": "postgres", "mariadb": "mariadb"}[place])
    database = f"plans_{request.param}"
    server.create_database(database)
    with closing(Arena(request.param, server, database)) as arena:
        yield arena
    server.drop_database(database)


def test_nobody_can_tell_a_plan(arena: Arena, planned: list[str]) -> None:
    @settings(
        max_examples=EXAMPLES or (60 if arena.driver == "sqlite" else 24),
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(shape=shapes(), script=scripts(), begin=st.sampled_from(BEGINS))
    def told(shape: Shape, script: Sequence[Any], begin: str | None) -> None:
        compare(arena, shape, script, planned, begin)

    told()
