"""What Starlette's and FastAPI's stands have in common: guests in middleware, and error pages."""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse

from respool.errors import PoolQueueFull
from tests.web.stands.base import Late, Stand
from tests.web.stands.middleware import AtEnd, AtStart, Buffered, HoldsBack, run

__all__ = ["AFTER", "LATE", "add_around", "add_pages"]

#: Where middleware of a user's can be, and of which kind.
LATE = (
    Late("pure middleware added before install"),
    Late("pure middleware added after install"),
    Late("BaseHTTPMiddleware added before install", status=True),
    Late("BaseHTTPMiddleware added after install", status=True),
    Late("middleware that answers by itself", status=True),
)
AFTER = ("background task", "the end of a pure middleware")


def add_around(stand: Stand, app: Any, when: str) -> None:
    """Add the middleware that goes before, or after, the call of ``install``."""
    if stand.around:
        app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
    if stand.guest_at == f"pure middleware added {when} install":
        app.add_middleware(AtStart, guest=stand.work.guest)
    if stand.guest_at == f"BaseHTTPMiddleware added {when} install":
        app.add_middleware(BaseHTTPMiddleware, dispatch=then(stand.work.guest))
    if when == "after" and stand.guest_at == "middleware that answers by itself":
        app.add_middleware(Buffered, guest=stand.work.guest)
    if when == "after" and stand.guest_at == "the end of a pure middleware":
        app.add_middleware(AtEnd, guest=stand.work.guest)
    if when == "after" and stand.guest_at == "gzip":
        app.add_middleware(HoldsBack)


def add_pages(stand: Stand, app: Any) -> None:
    """Add the handlers for errors."""
    if stand.guest_at == "pages":
        for error, status in ((403, 403), (404, 404), (Exception, 500)):
            app.add_exception_handler(error, page(stand, status))
        if stand.handlers:
            app.add_exception_handler(IntegrityError, page(stand, 409))
    elif stand.handlers:
        app.add_exception_handler(IntegrityError, lambda request, error: PlainTextResponse("no such product", 409))
        app.add_exception_handler(PoolQueueFull, lambda request, error: PlainTextResponse("busy", 429))
    if stand.guest_at == "handled":
        app.add_exception_handler(LookupError, lambda request, error: PlainTextResponse("handled"))


def page(stand: Stand, status: int) -> Any:
    def answer(request: Any, error: Exception) -> Any:
        assert not isinstance(error, HTTPException) or error.status_code == status
        return PlainTextResponse(stand.work.page(), status)

    async def answer_async(request: Any, error: Exception) -> Any:
        return PlainTextResponse(await stand.work.page(), status)

    return answer if stand.kind == "sync" else answer_async


async def pass_on(request: Any, call_next: Any) -> Any:
    return await call_next(request)


def then(guest: Any) -> Any:
    async def dispatch(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        status = await run(guest)
        return PlainTextResponse("changed", status) if status else response

    return dispatch
