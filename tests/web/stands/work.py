"""What handlers do, once for sync and once for async; a framework's application only calls it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import copy_context
from typing import Any

from sqlalchemy import func, select, text

from respool.errors import ScopeError
from tests.session.shop import Order, Product

__all__ = ["AsyncWork", "SyncWork", "Work"]

ORDER = text("INSERT INTO orders (product_id, note) VALUES (1, '')")


class Work:
    """What is common: the databases, and what was seen.

    Args:
        db, other: the databases.
    """

    def __init__(self, db: Any, other: Any) -> None:
        self.db = db
        self.other = other
        self.told: list[ScopeError] = []  #: what was refused
        self.ran: list[str] = []  #: handlers that came to their end
        self.broken_teardown = False  #: whether somebody else's clean-up fails
        self.jobs: list[Any] = []  #: threads and tasks that outlive their request
        self.plan = ""  #: what a guest does: one of the methods of its kind
        self.guests = 0  #: how often there was one

    def refusal(self, use: Callable[[], Any]) -> None:
        try:
            use()
        except ScopeError as error:
            self.told.append(error)

    def teardown(self) -> None:
        """What another extension does at the end of a request."""
        if self.broken_teardown:
            raise ArithmeticError("somebody else's clean-up")

    def guest_now(self) -> int | None:
        """A guest who cannot wait for anything."""
        self.guests += 1
        if self.plan == "fail":
            raise LookupError("somebody else's")
        if self.plan == "status":
            return 409
        self.db.session.add(Order(product_id=999 if self.plan == "refused" else 1))
        return None


class SyncWork(Work):
    def do(self, what: str, number: int) -> str:
        """Do what the path says."""
        text = str(getattr(self, what)(number))
        self.ran.append(what)
        return text

    def order(self, number: int) -> str:
        self.db.session.add(Order(product_id=number))
        return "thanks"

    def flushed(self, number: int) -> str:
        self.order(number)
        self.db.session.flush()
        return "thanks"

    def broken(self, number: int) -> None:
        self.flushed(number)
        raise LookupError("on purpose")

    def explicit(self, number: int) -> None:
        self.order(number)
        self.db.session.commit()
        self.order(number)
        raise LookupError("on purpose")

    def both(self, number: int) -> str:
        self.order(1)
        self.other.session.add(Order(product_id=1) if number == 1 else Product(id=1, name="there already"))
        return "thanks"

    def read(self, number: int) -> str:
        return str(self.db.session.get_one(Product, number).name)

    def mine(self, number: int) -> str:
        """Have changes that nobody else must see, while others have theirs."""
        session = self.db.session
        product = session.get_one(Product, 1)
        product.stock = number
        session.add(Order(note=str(number), product=product))
        time.sleep(0)
        assert product.stock == number
        notes = [order.note for order in session.new]
        session.rollback()
        return f"{notes}"

    def stream(self) -> Iterator[bytes]:
        session = self.db.session
        name = session.get_one(Product, 1).name

        def body() -> Iterator[bytes]:
            self.refusal(lambda: session.get(Product, 1))
            with self.db.scope("export") as own:
                again = own.get_one(Product, 1).name
            yield name.encode()
            yield again.encode()

        return body()

    def failing(self) -> Iterator[bytes]:
        self.flushed(1)
        return map(int.to_bytes, [-1])  # an OverflowError with the first part

    def streamed(self) -> Iterator[bytes]:
        """A body with a scope of its own, which sees what the request has saved, and writes."""
        self.flushed(1)

        def body() -> Iterator[bytes]:
            with self.db.scope("export") as own:
                there = own.scalar(select(func.count()).select_from(Order))
                own.add(Order(product_id=1))
            yield f"{there} there".encode()

        return body()

    def guest(self) -> int | None:
        """Code of somebody else's: what ``plan`` says."""
        if self.plan in ("fail", "status", "refused"):
            return self.guest_now()
        self.guests += 1
        if self.plan == "use":
            name = self.db.session.get_one(Product, 1).name
            self.db.session.add(Order(product_id=1, note=name))
        elif self.plan == "job":
            self.job()
        elif self.plan == "after":
            self.refusal(lambda: self.db.session.get(Product, 1))
            self.job()
        else:
            getattr(self.db.session, self.plan)()
        return None

    def page(self) -> str:
        """An error page, which reads, adds what is not to be saved, and logs what is."""
        self.guests += 1
        name = str(self.db.session.get_one(Product, 1).name)
        self.db.session.add(Order(product_id=1))
        self.job()
        return name

    def job(self) -> None:
        """Work that goes on after the request."""
        with self.db.scope("job") as session:
            session.add(Order(product_id=1, note="job"))

    def after(self, session: Any) -> None:
        """A background task: it uses the session of its request, and a scope of its own."""
        self.refusal(lambda: session.get(Product, 1))
        self.job()

    def spawn(self, number: int) -> str:
        """Order, and start a thread that will use the request's session, and a scope of its own, after its end."""
        self.order(number)
        session, ended = self.db.session, threading.Event()

        def job() -> None:
            ended.wait(60)
            self.after(session)

        thread = threading.Thread(target=copy_context().run, args=(job,))
        thread.start()
        self.jobs.append((thread, ended))
        return "thanks"

    def leave(self, number: int) -> str:
        """Start a thread that will order by the engine alone, after the request's end."""
        name, ended = self.read(number), threading.Event()

        def job() -> None:
            ended.wait(60)
            with self.db.engine.begin() as connection:
                connection.execute(ORDER)

        thread = threading.Thread(target=copy_context().run, args=(job,))
        thread.start()
        self.jobs.append((thread, ended))
        return name

    async def finish_jobs(self) -> None:
        for thread, ended in self.jobs:
            ended.set()
            await asyncio.to_thread(thread.join)

    def message(self, number: int) -> str:
        """What a websocket's message does."""
        self.refusal(lambda: self.db.session.get(Product, 1))
        with self.db.scope("message") as session:
            session.add(Order(product_id=number))
        return "saved"


class AsyncWork(Work):
    async def do(self, what: str, number: int) -> str:
        """Do what the path says."""
        text = str(await getattr(self, what)(number))
        self.ran.append(what)
        return text

    async def order(self, number: int) -> str:
        self.db.session.add(Order(product_id=number))
        return "thanks"

    async def flushed(self, number: int) -> str:
        await self.order(number)
        await self.db.session.flush()
        return "thanks"

    async def broken(self, number: int) -> None:
        await self.flushed(number)
        raise LookupError("on purpose")

    async def explicit(self, number: int) -> None:
        await self.order(number)
        await self.db.session.commit()
        await self.order(number)
        raise LookupError("on purpose")

    async def both(self, number: int) -> str:
        await self.order(1)
        self.other.session.add(Order(product_id=1) if number == 1 else Product(id=1, name="there already"))
        return "thanks"

    async def read(self, number: int) -> str:
        return str((await self.db.session.get_one(Product, number)).name)

    async def mine(self, number: int) -> str:
        """Have changes that nobody else must see, while others have theirs."""
        session = self.db.session
        product = await session.get_one(Product, 1)
        product.stock = number
        session.add(Order(note=str(number), product=product))
        await asyncio.sleep(0)
        assert product.stock == number
        notes = [order.note for order in session.new]
        await session.rollback()
        return f"{notes}"

    async def stream(self) -> AsyncIterator[bytes]:
        session = self.db.session
        name = (await session.get_one(Product, 1)).name

        async def body() -> AsyncIterator[bytes]:
            try:
                await session.get(Product, 1)
            except ScopeError as error:
                self.told.append(error)
            async with self.db.scope("export") as own:
                again = (await own.get_one(Product, 1)).name
            yield name.encode()
            yield again.encode()

        return body()

    async def failing(self) -> AsyncIterator[bytes]:
        await self.flushed(1)

        async def body() -> AsyncIterator[bytes]:
            yield int.to_bytes(-1)  # an OverflowError with the first part

        return body()

    async def streamed(self) -> AsyncIterator[bytes]:
        """A body with a scope of its own, which sees what the request has saved, and writes."""
        await self.flushed(1)

        async def body() -> AsyncIterator[bytes]:
            async with self.db.scope("export") as own:
                there = await own.scalar(select(func.count()).select_from(Order))
                own.add(Order(product_id=1))
            yield f"{there} there".encode()

        return body()

    async def guest(self) -> int | None:
        """Code of somebody else's: what ``plan`` says."""
        if self.plan in ("fail", "status", "refused"):
            return self.guest_now()
        self.guests += 1
        if self.plan == "use":
            name = (await self.db.session.get_one(Product, 1)).name
            self.db.session.add(Order(product_id=1, note=name))
        elif self.plan == "job":
            await self.job()
        elif self.plan == "after":
            try:
                await self.db.session.get(Product, 1)
            except ScopeError as error:
                self.told.append(error)
            await self.job()
        else:
            await getattr(self.db.session, self.plan)()
        return None

    async def page(self) -> str:
        """An error page, which reads, adds what is not to be saved, and logs what is."""
        self.guests += 1
        name = str((await self.db.session.get_one(Product, 1)).name)
        self.db.session.add(Order(product_id=1))
        await self.job()
        return name

    async def job(self) -> None:
        """Work that goes on after the request."""
        async with self.db.scope("job") as session:
            session.add(Order(product_id=1, note="job"))

    async def after(self, session: Any) -> None:
        """A background task: it uses the session of its request, and a scope of its own."""
        try:
            await session.execute(select(text("1")))
        except ScopeError as error:
            self.told.append(error)
        await self.job()

    async def leave(self, number: int) -> str:
        """Start a task that will order by the engine alone, after the request's end."""
        name, ended = await self.read(number), asyncio.Event()

        async def job() -> None:
            await ended.wait()
            async with self.db.engine.begin() as connection:
                await connection.execute(ORDER)

        self.jobs.append((asyncio.create_task(job()), ended))
        return name

    async def spawn(self, number: int) -> str:
        """Order, and start a task that will use the request's session, and a scope of its own, after its end."""
        await self.order(number)
        session, ended = self.db.session, asyncio.Event()

        async def job() -> None:
            await ended.wait()
            await self.after(session)

        self.jobs.append((asyncio.create_task(job()), ended))
        return "thanks"

    async def finish_jobs(self) -> None:
        for task, ended in self.jobs:
            ended.set()
            await task

    async def message(self, number: int) -> str:
        """What a websocket's message does."""
        self.refusal(lambda: self.db.session)
        async with self.db.scope("message") as session:
            session.add(Order(product_id=number))
        return "saved"
