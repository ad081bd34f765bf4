"""What a database has by its engine, which may be exchanged for another one while it is in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from respool.config import PoolConfig
from respool.engine.urls import is_memory
from respool.scope.nesting import Nesting
from respool.session.transaction.connection import watch

__all__ = ["HasEngine", "InUse"]


class InUse(NamedTuple):
    """What goes with an engine."""

    engine: Any  #: as users see it
    given: bool  #: whether it is the user's own
    nesting: Nesting  #: its sessions inside of which others are open


class HasEngine:
    """A database as far as its engine can be exchanged."""

    engine: Any
    given: bool
    nesting: Nesting
    made_with: tuple[PoolConfig | None, dict[str, Any]]  #: settings of the pool, and arguments of ``create_engine``
    overrides: tuple[Any, ...] = ()  #: the blocks that are open
    followers: tuple[Callable[[Any], object], ...] = ()  #: are told when its engine was exchanged: whoever observes it

    def in_use(self) -> InUse:
        """What it has now."""
        return InUse(self.engine, self.given, self.nesting)

    def use(self, given: InUse) -> None:
        """Have this from now on; the sessions that are open keep what they have."""
        self.engine, self.given, self.nesting = given
        watch(getattr(self.engine, "sync_engine", self.engine))

    def engines_at_hand(self) -> list[Engine]:
        """What it has now, and what it has again when blocks are left: open sessions go on with those."""
        faces = [self.engine, *(block.below.engine for block in self.overrides)]
        return [getattr(face, "sync_engine", face) for face in faces]

    def engine_for(self, url: Any, *, like: bool) -> Any:
        """An engine for another URL.

        Args:
            url: the URL.
            like: whether it has the same driver: then the arguments of ``create_engine`` are the same, too.
        """
        pool, options = self.made_with
        return self._engine_of(url, None if _is_memory(url) else pool, dict(options) if like else {})

    def _engine_of(self, url: Any, pool: PoolConfig | None, options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def face_of(self, engine: Engine) -> Any:
        """An engine as users see it."""
        if not engine.dialect.is_async:
            return engine
        from sqlalchemy.ext.asyncio import AsyncEngine

        return AsyncEngine(engine)


def _is_memory(url: Any) -> bool:
    try:
        return is_memory(make_url(url))
    except Exception:  # it is no URL, which will be said by whoever reads it
        return False
