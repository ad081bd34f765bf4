"""The rest of the contract: the end of a request is the last step before its first byte.

What runs before that byte and uses the session belongs to the request: it is saved with it, under a true status. What
runs after it is refused with a lesson, or has a scope of its own. The places where code runs so late are every
framework's own; a stand names them (``late``, ``after``, ``unsendable``, ``pages``, ``stopping``), and puts the work's
guest there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from respool.errors import ScopeEnded
from tests.web.clients import Answer

__all__ = ["ENDINGS"]

T = TypeVar("T")

#: These cases by name, in the order of the table.
ENDINGS: dict[str, Any] = {}


def case(function: Any) -> Any:
    ENDINGS[function.__name__] = function
    return function


def some(places: Iterable[T]) -> list[T]:
    """What a stand names; where it has none, the case is among its missing ones."""
    found = list(places)
    assert found, "the stand names no place for this case"
    return found


# -- before the first byte ---------------------------------------------------------------------------------------------


@case
async def late_use(place: Any) -> None:
    """What runs late reads and writes by the session of the request, and is saved with it."""
    for late in some(place.kind.late):
        before, seen = place.saved(), []
        async with place.open(guest_at=late.name, plan="use") as stand:
            answer = await stand.call("/do/order/1", probe=lambda: seen.append(place.saved()))  # noqa: B023
            assert (answer.status, answer.body) == (200, b"thanks"), (late, answer)
            assert stand.work.guests == 1, late
        assert place.saved() - before == 2, late
        assert seen in ([before + 2], []), late  # a server on loopback has no probe


@case
async def late_error(place: Any) -> None:
    """What runs late and fails takes the request's work along, and the client is told."""
    for late in some(place.kind.late):
        before = place.saved()
        async with place.open(guest_at=late.name, plan="fail") as stand:
            answer = await stand.call("/do/order/1")
            assert stand.work.guests >= 1, late
        if late.quiet:
            assert (answer.status, place.saved() - before) == (200, 1), (late, answer)
        else:
            assert (is_broken(answer), place.saved() - before) == (True, 0), (late, answer)


@case
async def late_failing_commit(place: Any) -> None:
    """What runs late and adds what the COMMIT is refused for is answered by an error."""
    for late in some(place.kind.late):
        before = place.saved()
        async with place.open(guest_at=late.name, plan="refused") as stand:
            answer = await stand.call("/do/order/1")
            assert stand.work.guests >= 1, late
        assert (is_broken(answer), place.saved() - before) == (True, 0), (late, answer)


@case
async def late_status(place: Any) -> None:
    """What runs late and makes an error of the answer decides by it, too."""
    for late in some(late for late in place.kind.late if late.status):
        before = place.saved()
        async with place.open(guest_at=late.name, plan="status") as stand:
            answer = await stand.call("/do/order/1")
        assert (answer.status, place.saved() - before) == (409, 0), (late, answer)


@case
async def late_cleanup(place: Any) -> None:
    """An extension that cleans up once the answer is made, by ``close()``, ``rollback()`` or ``commit()``, costs nothing."""
    for late in some(late for late in place.kind.late if late.cleans):
        for plan in ("close", "rollback", "commit"):
            before = place.saved()
            async with place.open(guest_at=late.name, plan=plan) as stand:
                answer = await stand.call("/do/order/1")
                assert stand.work.guests == 1, late
            assert (answer.status, place.saved() - before) == (200, 1), (late, plan, answer)


@case
async def after_the_answer(place: Any) -> None:
    """What runs after the first byte is refused the session, by name; a scope of its own serves it."""
    for after in some(place.kind.after):
        before = place.saved()
        async with place.open(guest_at=after, plan="after") as stand:
            answer = await stand.call("/do/order/1")
            await stand.settled()
            assert stand.work.guests == 1, after
            assert [(type(e), e.scope) for e in stand.work.told] == [(ScopeEnded, "POST /do/order/1")], after
        assert (answer.status, place.saved() - before) == (200, 2), (after, answer)


# -- what becomes of an answer after the handler has returned it -------------------------------------------------------


#: What is asked for with an answer that is not to be had, by the stands' names for it.
ASKING = {
    "a range that is not there": {"range": "bytes=1000000000-"},
    "a precondition that fails": {"if-match": '"never"'},
    "what the client has already": {"if-none-match": "*", "if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"},
}


@case
async def unsendable(place: Any) -> None:
    """An answer that the framework cannot make into bytes, or finds wanting while it sends it."""
    for what, status in some(place.kind.unsendable.items()):
        before = place.saved()
        async with place.open() as stand:
            answer = await stand.call(f"/unsendable/{what}", "GET", headers=ASKING.get(what, {}))
        assert (answer.status, place.saved() - before) == (status, int(status < 400)), (what, answer)


@case
async def failing_first_part(place: Any) -> None:
    """A body whose first part fails: an error and nothing saved; or, where the status has left, an answer cut short."""
    async with place.open() as stand:
        answer = await stand.call("/failing")
    assert not answer.complete or answer.status >= 500
    assert place.saved() == int(answer.status < 400), answer


@case
async def held_back_start(place: Any) -> None:
    """A middleware holds the start back for the first part, whose scope of its own finds what the request has saved."""
    for around in (False, True):
        before = place.saved()
        async with place.open(guest_at="gzip", around=around) as stand:
            answer = await stand.call("/streamed")
            assert (answer.status, answer.body) == (200, b"%d there" % (before + 1)), answer
        assert place.saved() - before == 2


# -- errors ------------------------------------------------------------------------------------------------------------


@case
async def error_pages(place: Any) -> None:
    """Every error page reads by the session of the request, and logs by a scope of its own."""
    for name, page in some(place.kind.pages.items()):
        before = place.saved()
        async with place.open(guest_at="pages") as stand:
            answer = await stand.call(page.path, page.method)
            assert stand.work.guests == 1, (name, answer)
        assert (answer.status, b"tea" in answer.body) == (page.status, True), (name, answer)
        assert place.saved() - before == 1, name  # the log's row; what it adds by the request's session is not saved


@case
async def error_page_of_a_failed_commit(place: Any) -> None:
    """By the application's handler for the very error, and by the one for all that is unexpected."""
    for handlers, status in ((True, 409), (False, 500)):
        before = place.saved()
        async with place.open(guest_at="pages", handlers=handlers) as stand:
            answer = await stand.call("/do/order/999")
            assert stand.work.guests == 1, (status, answer)
        assert (answer.status, b"tea" in answer.body, place.saved() - before) == (status, True, 1), answer


@case
async def error_answered_as_success(place: Any) -> None:
    """An exception that a handler of the framework's has made a 200 of rolls back."""
    async with place.open(guest_at="handled") as stand:
        answer = await stand.call("/do/broken/1")
        assert (answer.status, answer.body) == (200, b"handled"), answer
        assert (await stand.call("/do/order/1")).status == 200
    assert place.saved() == 1


@case
async def policy_with_method(place: Any) -> None:
    """A policy that takes three arguments is told the method; one that takes two is asked as ever."""
    asked: list[Any] = []

    def by_method(status: Any, error: Any, method: str) -> bool:
        asked.append((status, error, method))
        return method == "POST"

    async with place.open(commit=by_method) as stand:
        assert (await stand.call("/do/order/1", "GET")).status == 200
        assert place.saved() == 0
        assert (await stand.call("/do/order/1")).status == 200
    assert (place.saved(), asked) == (1, [(200, None, "GET"), (200, None, "POST")])
    async with place.open(commit=lambda status, error: status == 200) as stand:
        assert (await stand.call("/do/order/1")).status == 200
    assert place.saved() == 2


# -- the application's end ---------------------------------------------------------------------------------------------


@case
async def stopping(place: Any) -> None:
    """Whatever the framework runs when the application stops can still use the database."""
    for hook in some(place.kind.stopping):
        before = place.saved()
        async with place.open(running=False, guest_at=hook, plan="job") as stand:
            async with stand.living():
                assert (await stand.call("/do/order/1")).status == 200, hook
            assert (stand.work.guests, place.saved() - before) == (1, 2), hook
            assert stand.db.closed, hook


def is_broken(answer: Answer) -> bool:
    """A plain 500, and complete."""
    return answer.status == 500 and answer.complete and b"thanks" not in answer.body
