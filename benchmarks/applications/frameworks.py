"""Puts the routes into an application: FastAPI's, with a session from a dependency or from the context, and Flask's."""

# Annotations are evaluated here: FastAPI cannot see the local names of a postponed one.
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from benchmarks.applications.routes import ACTS, ACTS_OF_THREADS, STREAM, Late, portions, portions_of_threads

__all__ = ["in_context", "in_flask", "with_dependency"]


def with_dependency(app: Any, work: Any, dependency: Any) -> None:
    """FastAPI, with handlers that ask for their session.

    Args:
        app: a ``FastAPI``.
        work: what the routes do.
        dependency: ``Depends(…)``.
    """
    from fastapi import Request, Response

    kept: list[Any] = []

    def handler(act: Any) -> Any:
        async def handle(request: Request, session: Annotated[Any, dependency]) -> Response:
            return _response(await act(work, session, _params(request, kept)))

        return handle

    for (method, path), act in ACTS.items():
        app.add_api_route(path, handler(act), methods=[method], response_model=None)
    _tell_late(app)


def in_context(app: Any, work: Any, current: Callable[[], Awaitable[Any]]) -> None:
    """FastAPI, with a session that handlers get where they are.

    Args:
        app: a ``FastAPI``.
        work: what the routes do.
        current: the session, or ``None`` where there is none.
    """
    from fastapi import Request, Response

    kept: list[Any] = []

    def handler(act: Any) -> Any:
        async def handle(request: Request) -> Response:
            return _response(await act(work, await current(), _params(request, kept)))

        return handle

    for (method, path), act in ACTS.items():
        app.add_api_route(path, handler(act), methods=[method], response_model=None)
    _tell_late(app)


def _params(request: Any, kept: list[Any]) -> dict[str, Any]:
    from fastapi import HTTPException

    return request.path_params | {"error": HTTPException(409), "keep": kept}


def _response(answer: Any) -> Any:
    from fastapi.responses import JSONResponse, StreamingResponse

    if answer is STREAM:
        return StreamingResponse(portions())
    status, data = answer if isinstance(answer, tuple) else (200, answer)
    return JSONResponse(data, status)


def _tell_late(app: Any) -> None:
    from fastapi.responses import JSONResponse

    async def tell() -> Any:
        return JSONResponse({"outcome": Late.outcome})

    app.add_api_route("/late", tell, methods=["GET"], response_model=None)


def in_flask(app: Any, work: Any, current: Callable[[], Any]) -> None:
    """Flask.

    Args:
        app: a ``Flask``.
        work: what the routes do.
        current: the session of the request, or ``None`` where there is none.
    """
    from flask import Response
    from werkzeug.exceptions import Conflict

    kept: list[Any] = []

    def view(act: Any) -> Any:
        def answer(**params: Any) -> Any:
            data = act(work, current(), params | {"error": Conflict(), "keep": kept})
            return Response(portions_of_threads()) if data is STREAM else data

        return answer

    for (method, path), act in ACTS_OF_THREADS.items():
        rule = path.replace("{", "<").replace("}", ">")
        app.add_url_rule(rule, f"{method} {path}", view(act), methods=[method])
    app.add_url_rule("/late", "late", lambda: {"outcome": Late.outcome})
