"""``respool explain``: a page for every code, made from the classes of errors and the kinds of findings."""

from __future__ import annotations

import pytest

from respool import __version__, errors
from respool.cli.explain import ADVICE, codes, explain, findings, overview
from respool.cli.main import main
from respool.errors import ConfigError

CLASSES = [getattr(errors, name) for name in errors.__all__]
PARENTS = {kind.code for kind in CLASSES if any(kind in other.__bases__ for other in CLASSES)}
BASES = {code for code in PARENTS if code.endswith("000")}  # the others are raised as well


def test_every_class_has_a_code_of_its_own() -> None:
    assert set(codes().values()) == set(CLASSES)
    assert len(codes()) == len(CLASSES)


def test_there_is_advice_for_every_error_that_is_raised() -> None:
    assert set(ADVICE) == set(codes()) - BASES


@pytest.mark.parametrize("code", list(codes()))
def test_a_page_says_what_what_to_do_and_how_to_catch_it(code: str) -> None:
    kind = codes()[code]
    page = explain(code)
    assert page.startswith(f"{code}  {kind.__name__}\n")
    assert f"from respool.errors import {kind.__name__}" in page
    assert ("What to do" in page) == (code not in BASES)
    assert ("Catches" in page) == (code in PARENTS)
    assert "``" not in page
    assert "Args:" not in page
    assert max(map(len, page.splitlines())) <= 110


def test_a_page_names_the_facts_and_their_notes() -> None:
    page = explain("P001")
    assert "error.pool: str (the pool's name)" in page
    assert "error.timeout: float (seconds that the caller was ready to wait)" in page


@pytest.mark.parametrize("given", ["p001", " P001 ", "[P001]", "PoolTimeout", "pooltimeout"])
def test_a_code_is_found_however_it_is_written(given: str) -> None:
    assert explain(given) == explain("P001")


@pytest.mark.parametrize("code", list(findings()))
def test_a_finding_has_a_page_too(code: str) -> None:
    kind = findings()[code]
    page = explain(code)
    assert page.startswith(f"{code}  {kind.name}: {kind.title}\n")
    assert " ".join(kind.means.split()) in " ".join(page.split())
    assert "What to do" in page
    assert " ".join(kind.advice[-1].split()) in " ".join(page.split())
    assert max(map(len, page.splitlines())) <= 110


@pytest.mark.parametrize("given", ["f001", "[F001]", "held-idle", "Held-Idle"])
def test_a_finding_is_found_however_it_is_written(given: str) -> None:
    assert explain(given) == explain("F001")


def test_the_doctors_findings_say_how_bad_they_are() -> None:
    assert explain("D011").splitlines()[1] == "  problem, of respool doctor"
    assert explain("F001").splitlines()[1] == ""


def test_no_code_is_of_two() -> None:
    assert not set(codes()) & set(findings())
    assert {code[0] for code in findings()} == {"F", "D"}


def test_an_unknown_code_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"there is no error code 'P01', did you mean 'P001'\?"):
        explain("P01")


def test_the_command_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "S006"]) == 0
    assert capsys.readouterr() == (explain("S006") + "\n", "")


def test_the_command_without_a_code_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    assert capsys.readouterr() == ("\n".join(overview()) + "\n", "")
    assert [line.split()[0] for line in overview()] == [*codes(), *findings()]


def test_the_command_with_an_unknown_code_lists_them_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "X999"]) == 2
    output, printed = capsys.readouterr()
    assert output == ""
    assert printed.startswith("there is no error code 'X999'\n")
    assert printed.endswith("\n".join(overview()) + "\n")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out == f"respool {__version__}\n"


def test_without_a_command_the_usage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([])
    assert done.value.code == 2
    assert "COMMAND" in capsys.readouterr().err
