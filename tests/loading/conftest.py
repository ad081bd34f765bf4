"""A count of the reads that went by plans."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.loading.watching import watched


@pytest.fixture
def planned() -> Iterator[list[str]]:
    """The statements that went by plans, in order."""
    with watched() as went:
        yield went
