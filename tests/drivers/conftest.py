"""The fixture ``shop``: a case that has it runs once on every driver."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.drivers.driver import DRIVERS, Driver, Shop


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All drivers, or those that the marker ``drivers`` wants: ``drivers(asynchronous=True, server=True)``."""
    if "driver" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("drivers")
        wanted = marker.kwargs if marker else {}
        drivers = [driver for driver in DRIVERS if all(_has(driver, name, wanted[name]) for name in wanted)]
        metafunc.parametrize("driver", [_with_marks(driver) for driver in drivers], indirect=True)


def _with_marks(driver: Driver) -> Any:
    marks = [getattr(pytest.mark, driver.backend)] if driver.backend != "sqlite" else []
    return pytest.param(driver, id=driver.id, marks=marks)


def _has(driver: Driver, name: str, value: object) -> bool:
    return (driver.backend != "sqlite" if name == "server" else getattr(driver, name)) == value


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a case as its driver needs it."""
    shop = pyfuncitem.funcargs.get("shop")
    if not isinstance(shop, Shop):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    values = {name: value for name, value in pyfuncitem.funcargs.items() if name in wanted}
    shop.run(partial(pyfuncitem.obj, **values))
    return True


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> Driver:
    """One driver after the other."""
    driver: Driver = request.param
    if not driver.installed:
        pytest.skip(f"{driver.module} is not installed (`make topologies` builds it where it can)")
    return driver


@pytest.fixture
def shop(driver: Driver, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """An empty database of the case's own."""
    if driver.backend == "sqlite":
        yield Shop(driver, request.getfixturevalue("sqlite_file"), None)
        return
    server: Any = request.getfixturevalue(driver.backend)
    name = f"test_{uuid.uuid4().hex[:12]}"
    server.start()  # does nothing, unless a test before took the server away and failed
    server.create_database(name)
    yield Shop(driver, name, server)
    server.start()
    server.drop_database(name)
