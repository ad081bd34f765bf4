"""What each step does.  A step is a coroutine, which in a sync world has nothing to wait for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.differential import model as m
from tests.differential.listeners import Ears, Planned
from tests.differential.places import Refused
from tests.differential.schema import MODELS, Audit, Part, Widget
from tests.differential.sides import World, got
from tests.differential.statements import CATALOGUE

__all__ = ["Steps", "is_read_of_objects"]


class Steps:
    """Does steps in a world.

    Args:
        world: the engine and its database.
        ears: for those who begin to listen.
    """

    def __init__(self, world: World, ears: Ears) -> None:
        self.world = world
        self.ears = ears
        self.slots: dict[str, Any] = {}  #: the objects that have a name
        self.partial: Any = None  #: a result that was read in part
        self.api: Any = None  #: the session as users have it
        self.session: Any = None  #: the sync one, which is the same in a sync world

    async def do(self, step: m.Step) -> None:
        """Do one step, and look at what it did."""
        raise NotImplementedError

    async def perform(self, step: m.Step) -> Any:
        """Do one step; returns what it returned."""
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(step).__name__).lower()
        return await getattr(self, name)(step)

    async def get(self, step: m.Get) -> Any:
        found = await got(
            self.api.get(MODELS[step.model], step.id, with_for_update=step.lock or None, populate_existing=step.fresh)
        )
        return self._keep(step.into, found)

    async def execute(self, step: m.Execute) -> Any:
        statement = CATALOGUE[step.statement].build()
        options: dict[str, Any] = {"execution_options": dict(step.options)}
        if step.on == "connection":
            return await self._call(lambda s: self._consume(s.connection().execute(statement, **options), step))
        if step.on == "second":
            options["bind_arguments"] = {"bind": self.world.second}
        if step.how == "scalar":
            return await got(self.api.scalar(statement, **options))
        if step.how == "some":
            return await self._call(lambda s: self._consume(s.execute(statement, **options), step))
        if step.how == "scalars":
            found = (await got(self.api.scalars(statement, **options))).unique().all()
            return self._keep_first(step.into, found)
        return self._consume(await got(self.api.execute(statement, **options)), step)

    def _consume(self, result: Any, step: Any) -> Any:
        match step.how:
            case "nothing":
                return "executed"
            case "first":
                return self._keep_first(step.into, [result.first()])
            case "some":
                self.partial = result
                return [result.fetchone(), result.fetchone()]
            case "scalar" | "scalars":
                return self._keep_first(step.into, result.scalars().all())
        if not getattr(result, "returns_rows", True):
            return result.rowcount
        if any("joined" in str(word) for word in [step.statement]):
            result = result.unique()
        return self._keep_first(step.into, result.all())

    async def query(self, step: m.Query) -> Any:
        def ask(session: Any) -> Any:
            query = session.query(MODELS[step.model]).order_by("id")
            return query.first() if step.how == "first" else query.count() if step.how == "count" else query.all()

        found = await self._call(ask)
        return self._keep_first(step.into, found if isinstance(found, list) else [found])

    async def rest(self, step: m.Rest) -> Any:
        result, self.partial = self.partial, None
        if result is None:
            return "nothing is open"
        return await self._call(lambda _: result.close() if step.how == "close" else result.fetchall())

    async def lazy(self, step: m.Lazy) -> Any:
        obj = self.slots.get(step.slot)
        attribute = "parts" if isinstance(obj, Widget) else "widget" if isinstance(obj, Part) else None
        if attribute is None:
            return "no such object"
        found = await self._call(lambda _: getattr(obj, attribute))
        self._keep_first(step.into, found if isinstance(found, list) else [found])
        return list(found) if isinstance(found, list) else found

    async def read(self, step: m.Read) -> Any:
        obj = self.slots.get(step.slot)
        attribute = step.attribute if hasattr(type(obj), step.attribute) else "id"
        return "no such object" if obj is None else await self._call(lambda _: getattr(obj, attribute))

    async def refresh(self, step: m.Refresh) -> Any:
        return await self._with(step.slot, self.api.refresh)

    async def expire(self, step: m.Expire) -> Any:
        return await self._call(lambda s: self._on(step.slot, s.expire))

    async def expunge(self, step: m.Expunge) -> Any:
        return await self._call(lambda s: self._on(step.slot, s.expunge))

    async def delete(self, step: m.Delete) -> Any:
        return await self._with(step.slot, self.api.delete)

    async def add(self, step: m.Add) -> Any:
        match step.model:
            case "Widget":
                made: Any = Widget(name=step.name, size=1)
            case "Part":
                made = Part(name=step.name, widget_id=step.parent)
            case _:
                made = Audit(note=step.name)
        await self._call(lambda s: s.add(made))
        if not isinstance(made, Audit):
            self._keep(step.into, made)

    async def modify(self, step: m.Modify) -> Any:
        obj = self.slots.get(step.slot)
        if obj is None:
            return "no such object"

        def change(_: Any) -> None:
            if hasattr(obj, "level"):
                obj.level = len(step.value)
            else:
                obj.name = step.value

        return await self._call(change)

    async def flush(self, step: m.Flush) -> Any:
        await got(self.api.flush())

    async def expire_all(self, step: m.ExpireAll) -> Any:
        await self._call(lambda s: s.expire_all())

    async def merge(self, step: m.Merge) -> Any:
        return self._keep(step.into, await got(self.api.merge(Widget(id=step.id, name=step.name))))

    async def reset(self, step: m.Reset) -> Any:
        await got(self.api.reset())

    async def invalidate(self, step: m.Invalidate) -> Any:
        await got(self.api.invalidate())

    async def commit(self, step: m.Commit) -> Any:
        await got(self.api.commit())

    async def rollback(self, step: m.Rollback) -> Any:
        await got(self.api.rollback())

    async def close(self, step: m.Close) -> Any:
        await got(self.api.close())

    async def begin(self, step: m.Begin) -> Any:
        await self._call(lambda s: s.begin() and None)

    async def connect(self, step: m.Connect) -> Any:
        options = {} if step.level is None else {"execution_options": {"isolation_level": step.level}}
        await self._call(lambda s: s.connection(**options) and None)

    async def nested(self, step: m.Nested) -> Any:
        await self._inside(self.api.begin_nested(), step)

    async def block(self, step: m.Block) -> Any:
        await self._inside(self.api.begin(), step)

    async def no_autoflush(self, step: m.NoAutoflush) -> Any:
        with self.api.no_autoflush:
            for inner in step.steps:
                await self.do(inner)

    async def other(self, step: m.Other) -> Any:
        if step.what == "kill":
            self.world.place.kill()
            return None
        try:
            self.world.place.other(step.what)
        except Refused:
            return "refused"

    async def listen(self, step: m.Listen) -> Any:
        self.ears.listen(step.listener)

    async def _inside(self, block: Any, step: Any) -> None:
        try:
            if self.world.asynchronous:
                async with block:
                    await self._steps(step)
            else:
                with block:
                    await self._steps(step)
        except Planned as error:
            if str(error) != "of a block":
                raise

    async def _steps(self, step: Any) -> None:
        for inner in step.steps:
            await self.do(inner)
        if step.fails:
            raise Planned("of a block")

    async def _call(self, fn: Callable[[Any], Any]) -> Any:
        return await self.api.run_sync(fn) if self.world.asynchronous else fn(self.session)

    async def _with(self, slot: str, fn: Callable[[Any], Any]) -> Any:
        return await got(self._on(slot, fn))

    def _on(self, slot: str, fn: Callable[[Any], Any]) -> Any:
        obj = self.slots.get(slot)
        return "no such object" if obj is None else fn(obj)

    def _keep(self, slot: str | None, obj: Any) -> Any:
        if slot is not None and isinstance(obj, tuple(MODELS.values())):
            self.slots[slot] = obj
        return obj

    def _keep_first(self, slot: str | None, found: Any) -> Any:
        first = found[0] if found else None
        self._keep(slot, first[0] if isinstance(first, tuple) and first else first)
        return found


def is_read_of_objects(step: m.Step) -> bool:
    """Whether a step does nothing but to read objects, to the end."""
    if isinstance(step, m.Execute):
        read = CATALOGUE[step.statement].kind == "orm" and step.how in ("all", "scalars", "scalar", "first")
        return read and step.on == "session" and not step.options and CATALOGUE[step.statement].build().is_select
    return isinstance(step, m.Lazy) or (isinstance(step, m.Get) and not (step.lock or step.fresh))
