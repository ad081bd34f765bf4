"""What the page is asked, and what it answers: the same for ASGI, WSGI and servers of other kinds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

__all__ = ["Request", "Response", "text"]

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Request:
    """A request for the page; ``authorize`` gets it."""

    method: str
    path: str  #: below the page's own place: ``/``, ``/live``; empty where the slash is missing
    headers: Mapping[str, str]  #: by names in lower case; the values of equal ones are joined by ``", "``
    client: str | None  #: the address of whoever asks, as far as the server knows
    root: str = ""  #: the page's own place: ``/respool``
    http_version: str = "1.1"
    raw: Any = None  #: the ASGI scope, the WSGI environ, or the framework's own request

    @property
    def host(self) -> str:
        """The name in the Host header, in lower case and without a port; empty if it is none."""
        found = _HOST.fullmatch(self.headers.get("host", "").strip().lower())
        return found[1].strip("[]").removesuffix(".") if found else ""

    @classmethod
    def of_asgi(cls, scope: Mapping[str, Any], place: str = "") -> Request:
        """That of an ASGI scope; ``place`` is where the page is, below the application's own root."""
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            _add(headers, name.decode("latin-1").lower(), value.decode("latin-1"))
        root, path = scope.get("root_path", "").rstrip("/"), scope["path"]
        path = path.removeprefix(root) if path == root or path.startswith(f"{root}/") else path
        path, root = path.removeprefix(place), root + place
        sent = scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1")
        if path == "/" and sent and not sent.endswith("/"):  # some who mount add the slash by themselves
            path, root = "", unquote(sent)
        client = scope.get("client")
        return cls(
            scope["method"],
            path,
            headers,
            client[0] if client else None,
            root,
            scope.get("http_version", "1.1"),
            scope,
        )

    @classmethod
    def of_wsgi(cls, environ: Mapping[str, Any], place: str = "") -> Request:
        """The same of a WSGI environ."""
        headers = {
            name[5:].lower().replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")
        }
        return cls(
            environ.get("REQUEST_METHOD", "GET"),
            environ.get("PATH_INFO", "").removeprefix(place),
            headers,
            environ.get("REMOTE_ADDR") or None,
            environ.get("SCRIPT_NAME", "") + place,
            environ.get("SERVER_PROTOCOL", "HTTP/1.1").rpartition("/")[2],
            environ,
        )

    @classmethod
    def of_native(
        cls, raw: Any, method: str, path: str, place: str, headers: Iterable[tuple[str, str]], client: str | None
    ) -> Request:
        """The same of a framework's own request, where it has a server of its own."""
        found: dict[str, str] = {}
        for name, value in headers:
            _add(found, name.lower(), value)
        version = str(getattr(raw, "version", "1.1"))
        return cls(method, path.removeprefix(place), found, client, place, version, raw)


def _add(headers: dict[str, str], name: str, value: str) -> None:
    headers[name] = f"{headers[name]}, {value}" if name in headers else value


#: Nothing from elsewhere, nothing written into the page, no frame around it; and no copy of it is kept.
SAFE = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}


@dataclass(frozen=True, slots=True)
class Response:
    """The answer: ``body``, or a stream of snapshots."""

    status: int
    kind: str  #: the media type
    body: bytes = b""
    more: Mapping[str, str] = field(default_factory=dict)  #: headers beside those of every answer
    stream: bool = False

    def headers(self) -> list[tuple[str, str]]:
        """All headers."""
        length = {} if self.stream else {"Content-Length": str(len(self.body))}
        return [*({"Content-Type": self.kind, **length} | SAFE | dict(self.more)).items()]

    def body_for(self, request: Request) -> bytes:
        """What is sent: nothing for HEAD."""
        return b"" if request.method == "HEAD" else self.body


def text(status: int, words: str, **more: str) -> Response:
    """An answer in plain words."""
    return Response(status, "text/plain; charset=utf-8", f"{words}\n".encode(), more)


def to_the_slash(request: Request) -> Response:
    """Relative addresses on the page need the slash at its own; relative as well, whatever is in front of it."""
    return text(308, "This way.", Location=f"./{quote(request.root.rpartition('/')[2])}/")
