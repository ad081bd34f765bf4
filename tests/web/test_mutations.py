"""What ``make mutations`` breaks is still there to be broken, and no case is left out. The breaking itself takes minutes."""

from __future__ import annotations

import pytest

from tests.web.contract import CASES
from tests.web.mutations import MUTATIONS, SOURCE, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.breaks)
def test_what_is_to_be_broken_is_there_once(mutation: Mutation) -> None:
    for file, old, _ in mutation.edits:
        assert (SOURCE / "respool" / file).read_text(encoding="utf-8").count(old) == 1, (file, old)


def test_every_rule_of_the_contract_is_broken() -> None:
    assert {case for mutation in MUTATIONS for case in mutation.cases} == set(CASES)
