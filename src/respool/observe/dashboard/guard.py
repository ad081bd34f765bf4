"""Who may see the page: clients on this machine, or whom the application lets in; and never another site's script."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from respool.observe.dashboard.request import Request, Response, text

__all__ = ["Authorize", "Guard"]

logger = logging.getLogger("respool.observe")

#: Decides whether a request may see the page: ``True``, or an awaitable of it; anything else is no.
Authorize = Callable[[Request], bool | Awaitable[bool]]

#: What a proxy on this machine adds: whoever asks is somewhere else.
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")

_HOW = "Give the page authorize=, a function that decides who may see it: docs/how-to/dashboard.md."


class Guard:
    """Lets requests in, or says why not.

    Args:
        authorize: decides for the application; ``None``: clients on this machine only.
        hosts: the names under which the page may be asked for, beside those of this machine.
    """

    def __init__(self, authorize: Authorize | None, hosts: Sequence[str]) -> None:
        self.authorize = authorize
        self._hosts = {host.lower().removesuffix(".") for host in hosts}

    def refuse(self, request: Request) -> Response | None:
        """Why this request is refused, whatever ``authorize`` says."""
        if request.method not in ("GET", "HEAD"):
            return text(405, "The page only shows: GET or HEAD.", Allow="GET, HEAD")
        if not self._is_named(request.host):
            # else a name of somebody else's that points here would let the scripts of its pages read this one
            return text(403, "The Host header has a name that the page does not go by. Give it to it: hosts=[…].")
        if self._is_another_site(request):
            return text(403, "Asked for by a page of another site.")
        if self.authorize is not None:
            return None
        if any(name in request.headers for name in _FORWARDED) or request.http_version == "1.0":
            return text(403, f"Asked for through a proxy, so nobody knows from where. {_HOW}")
        if not _is_loopback(request.client or ""):
            return text(403, f"The page is for clients on this machine. {_HOW}")
        return None

    def ask(self, request: Request) -> bool | Awaitable[bool]:
        """What ``authorize`` says; it may be an awaitable of it."""
        try:
            return True if self.authorize is None else self.authorize(request)
        except Exception:
            logger.exception("authorize failed: nobody is let in")
            return False

    @staticmethod
    async def wait(said: Awaitable[bool]) -> bool:
        """The same when it is awaited."""
        try:
            return await said
        except Exception:
            logger.exception("authorize failed: nobody is let in")
            return False

    @staticmethod
    def judge(said: Any) -> Response | None:
        """Why a request is refused of which ``authorize`` has said this."""
        return None if said is True else text(403, "The application does not let you see this page.")

    def _is_named(self, host: str) -> bool:
        if host == "localhost" or host in self._hosts:
            return True
        # a number is nobody's name, so no page can have been made for it elsewhere
        return _is_loopback(host) or (self.authorize is not None and _address(host) is not None)

    @staticmethod
    def _is_another_site(request: Request) -> bool:
        headers = request.headers
        follows_a_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not follows_a_link:
            return True
        origin = headers.get("origin")
        return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _is_loopback(text: str) -> bool:
    found = _address(text)
    return found is not None and found.is_loopback
