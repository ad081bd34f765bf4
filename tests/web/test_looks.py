"""What servers look at before they serve an application: whether it is one, and of which kind."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path

import pytest
from hypercorn.utils import is_asgi
from uvicorn.config import Config

from tests.session.shop import fill
from tests.web.contract import Place
from tests.web.stands import ALL
from tests.web.stands.base import ASGIStand, Stand, WSGIStand


def of(base: type[Stand]) -> list[object]:
    return [pytest.param(stand, id=stand.title()) for stand in ALL if issubclass(stand, base)]


@pytest.mark.parametrize("stand", of(ASGIStand))
async def test_an_asgi_application_looks_like_one(
    stand: type[Stand], shop_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(other_url := f"sqlite:///{tmp_path / 'other.db'}")
    async with Place(stand, shop_url, other_url).open(running=False) as there:
        config = Config(there.app, log_config=None)
        with caplog.at_level(logging.WARNING):
            config.load()
        assert config.interface == "asgi3"
        assert "factory" not in caplog.text
        assert is_asgi(there.app)


@pytest.mark.parametrize("stand", of(WSGIStand))
async def test_a_wsgi_application_looks_like_one(stand: type[Stand], shop_url: str, tmp_path: Path) -> None:
    fill(other_url := f"sqlite:///{tmp_path / 'other.db'}")
    async with Place(stand, shop_url, other_url).open(running=False) as there:
        assert callable(there.app)
        assert not is_asgi(there.app)
        assert len(inspect.signature(there.app).parameters) == 2
        with pytest.raises(TypeError):
            there.app()
