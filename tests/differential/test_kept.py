"""What differed once does not differ any more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.differential.arena import Arena
from tests.differential.conftest import marks_of
from tests.differential.kept import KEPT


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks_of(driver)) for name, (driver, _) in KEPT.items()])
def test_it_does_not_differ_any_more(name: str, server_of: Any) -> None:
    driver, program = KEPT[name]
    with Arena(driver, server_of(driver)) as arena:
        found = arena.compare(program)
    assert not found, str(found[0])
