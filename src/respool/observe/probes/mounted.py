"""``/live`` and ``/ready`` as applications to mount, for ASGI and WSGI; both say what one plain function answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from respool.observe.probes.health import Health, check_limits, judged, required_of

__all__ = ["Answer", "Probes"]


class Answer(NamedTuple):
    """What is answered to a probe."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Probes:
    """Answers the probes of a supervisor or load balancer: ``/live`` and ``/ready``, 200 or 503 with the reason in JSON.

    The last part of the path counts, so it may be mounted at any prefix, or at each of the two paths itself.

    Args:
        databases: any number of ``Database`` and ``AsyncDatabase``.
        required: those, or their names, without which the process is not ready; all of them by default.
        details: the driver's words for why connecting fails, which may name hosts and users, are in the answer.
        limits: ``exhausted_after``, ``away_after``, ``blocked_after`` and ``dead_after``, as for
            :func:`respool.observe.health`.

    Raises:
        ConfigError: something else than a database was given, something is required that was not, or a limit is unknown.
    """

    def __init__(
        self, *databases: Any, required: Iterable[Any] | None = None, details: bool = False, **limits: float
    ) -> None:
        self._required = required_of(databases, required)
        self._databases = databases
        self._details = details
        self._limits = check_limits(limits)

    def health(self) -> Health:
        """How the process is now, by the limits of these probes."""
        return judged(self._databases, self._required, self._limits)

    def answer(self, path: str, method: str = "GET") -> Answer:
        """What is answered. From any thread; it waits for nothing.

        Args:
            path: of the request; its last part is ``live`` or ``ready``.
            method: of the request.
        """
        probe = path.rstrip("/").rpartition("/")[2]
        if probe not in ("live", "ready"):
            return _answer(HTTPStatus.NOT_FOUND, {"reason": "there are /live and /ready"})
        if method not in ("GET", "HEAD"):
            return _answer(HTTPStatus.METHOD_NOT_ALLOWED, {"reason": "GET or HEAD"}, ("Allow", "GET, HEAD"))
        found = self.health()
        if probe == "live":
            told: dict[str, Any] = {"live": found.live, "reason": "all is well" if found.live else found.reason}
            good = found.live
        else:
            told, good = {"ready": found.ok, "reason": found.reason, "databases": self._rows(found)}, found.ok
        return _answer(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, told)

    async def asgi(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """The ASGI application: ``app.mount("/health", Probes(db).asgi)``."""
        if scope["type"] != "http":
            raise NotImplementedError(f"these probes answer HTTP, not {scope['type']}")
        answer = self.answer(scope.get("root_path", "") + "/" + scope["path"], scope["method"])
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """The WSGI application: ``DispatcherMiddleware(app.wsgi_app, {"/health": Probes(db).wsgi})``."""
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        answer = self.answer(path, environ["REQUEST_METHOD"])
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", answer.headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    def _rows(self, found: Health) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = found.as_dict()["databases"]
        if not self._details:
            for row in rows:
                del row["last_error"]
        return rows


def _answer(status: HTTPStatus, told: dict[str, Any], *more: tuple[str, str]) -> Answer:
    body = json.dumps(told, ensure_ascii=False).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        *more,
    ]
    return Answer(int(status), headers, body)
