"""Nobody can tell a read by a plan from SQLAlchemy's: mappings and scripts by chance, with plans and without."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings

from respool import Database, PoolConfig
from tests.loading.mappings import Mapping, Shape, mapped, shapes
from tests.loading.scripts import play, scripts

_ADDRESS = re.compile(r"0x[0-9a-f]+")


def told(mapping: Mapping, script: Sequence[Any], *, plans: bool) -> tuple[list[Any], list[str]]:
    """All that is seen, played twice over: the second time what was learned is there."""
    seen, sent = [], []
    db = Database("sqlite://", plans=plans, pool=PoolConfig(check_after=None))
    try:
        mapping.fill(db.engine)
        with db.engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            raw.set_trace_callback(sent.append)
        for _ in range(2):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with db.scope("script") as session:
                    seen += play(session, mapping, script)
                    session.rollback()
        raw.set_trace_callback(None)
    finally:
        db.close()
    return seen, sent


def compare(shape: Shape, script: Sequence[Any], planned: list[str]) -> None:
    """Play on both, and compare."""
    mapping = mapped(shape)
    try:
        planned.clear()
        with_plans, sent_with = told(mapping, script, plans=True)
        went = list(planned)
        planned.clear()
        without, sent_without = told(mapping, script, plans=False)
        assert planned == []
        for ours, theirs in zip(with_plans, without, strict=True):
            assert _ADDRESS.sub("", repr(ours)) == _ADDRESS.sub("", repr(theirs))
        assert sent_with == sent_without
        reads = [name for name, *_ in script if name in ("get", "change", "read")]
        if shape.simple and reads and "listen" not in [name for name, _ in script]:
            assert went, "no read went by a plan"
    finally:
        mapping.base.registry.dispose()


#: RESPOOL_MAPPINGS=10000 looks further, together with HYPOTHESIS_PROFILE=explore.
EXAMPLES = int(os.environ.get("RESPOOL_MAPPINGS", "60"))


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(shape=shapes(), script=scripts())
def test_nobody_can_tell_a_plan(planned: list[str], shape: Shape, script: Sequence[Any]) -> None:
    compare(shape, script, planned)
