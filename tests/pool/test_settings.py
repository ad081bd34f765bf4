"""The words of a pool's settings: ours, SQLAlchemy's, and none at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from respool import PoolConfig
from respool.cli.explain import explain
from respool.config import needs, suggest
from respool.database.checks import check_variables
from respool.errors import ConfigError, MissingExtra


@pytest.mark.parametrize(
    "given, written",
    [
        ({"pool_size": 5}, "PoolConfig(max_size=15)"),
        ({"pool_size": 5, "max_overflow": 0}, "PoolConfig(max_size=5)"),
        ({"max_overflow": 20}, "PoolConfig(max_size=25)"),
        ({"pool_timeout": 7}, "PoolConfig(timeout=7.0)"),
        ({"pool_recycle": 3600, "max_idle": 60}, "PoolConfig(max_idle=60.0)"),
        ({"pool_recycle": -1}, "PoolConfig(max_lifetime=None)"),
        ({"recycle": 280}, "PoolConfig(max_lifetime=280.0)"),
        ({"pool_pre_ping": True}, "PoolConfig(check_after=0.0)"),
        ({"pre_ping": True, "min_size": 1}, "PoolConfig(min_size=1, check_after=0.0)"),
    ],
)
def test_sqlalchemys_words_are_answered_by_ours(given: dict[str, Any], written: str) -> None:
    with pytest.raises(ConfigError) as refused:
        PoolConfig(**given)
    assert f"write {written}" in str(refused.value)
    assert f"PoolConfig.of({given!r})" in str(refused.value)
    assert eval(written) == PoolConfig.of(given)


@pytest.mark.parametrize(
    "word, told",
    [
        ("maxsize", "unknown pool setting 'maxsize', did you mean 'max_size'?"),
        ("max_sise", ", did you mean 'max_size'?"),
        ("MAX_SIZE", ", did you mean 'max_size'?"),
        ("maxIdle", ", did you mean 'max_idle'?"),
        ("timeot", ", did you mean 'timeout'?"),
        ("max_connections", ", did you mean 'max_connecting'?"),
        ("colour", "unknown pool setting 'colour'\n"),
        ("banana", "unknown pool setting 'banana'\n"),
        ("echo", "unknown pool setting 'echo'\n"),
        ("timezone", "unknown pool setting 'timezone'\n"),
        ("engine", "unknown pool setting 'engine'\n"),
        ("x", "unknown pool setting 'x'\n"),
    ],
)
def test_a_word_that_is_none_is_answered_by_one_that_is_near_or_by_none(word: str, told: str) -> None:
    for make in (
        lambda: PoolConfig(**{word: 1}),
        lambda: PoolConfig.of({word: 1}),
        lambda: replace(PoolConfig(), **{word: 1}),
    ):
        with pytest.raises(ConfigError) as refused:
            make()
        assert told in str(refused.value)


@pytest.mark.parametrize(
    "variable, told",
    [
        ("RESPOOL_MAX_SISE", ", did you mean 'RESPOOL_MAX_SIZE'?"),
        ("RESPOOL_COMIT", ", did you mean 'RESPOOL_COMMIT'?"),
        ("RESPOOL_COLOUR", "unknown variable RESPOOL_COLOUR\n"),
        ("RESPOOL_DEBUG", "unknown variable RESPOOL_DEBUG\n"),
        ("RESPOOL_TZ", "unknown variable RESPOOL_TZ\n"),
    ],
)
def test_what_all_variables_begin_with_makes_none_of_them_nearer(variable: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_variables("RESPOOL_", {variable: "1"})
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "code, told",
    [
        ("P01", "no error code 'P01', did you mean 'P001'?"),
        ("PoolTimout", "no error code 'PoolTimout', did you mean 'PoolTimeout'?"),
        ("X999", "no error code 'X999'\n"),
        ("banana", "no error code 'banana'\n"),
        ("Z001", "no error code 'Z001'\n"),
    ],
)
def test_a_code_that_is_none(code: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        explain(code)
    assert told in str(refused.value)


def test_no_word_is_suggested_for_itself_and_no_more_than_two() -> None:
    assert suggest("pool", ["pool"]) == ""
    assert suggest("poola", ["poolb", "poolc"]) == ", did you mean 'poolb' or 'poolc'?"
    assert suggest("a1", ["b1", "c1", "d1"]) == ""
    assert suggest("anything", []) == ""


def test_a_package_that_is_missing_is_told_with_its_extra() -> None:
    with pytest.raises(
        MissingExtra, match="respool for nothing needs no_such_package, which is not installed"
    ) as missing:
        with needs("nothing", "no_such_package"):
            import no_such_package  # type: ignore[import-not-found]  # noqa: F401
    assert 'pip install "respool[nothing]"' in str(missing.value)
    assert isinstance(missing.value, ImportError)
    assert (missing.value.name, missing.value.extra) == ("no_such_package", "nothing")


def test_a_module_that_is_missing_within_an_installed_package_is_another_fault() -> None:
    with pytest.raises(ModuleNotFoundError) as missing:
        with needs("json"):
            import json.no_such_module  # type: ignore[import-not-found]  # noqa: F401
    assert not isinstance(missing.value, MissingExtra)
