"""Idle connections that the server has closed: seen at their sockets, without a round trip and without any traffic.

A server that ends a connection may say a last word before it hangs up, and one that does not may still have something
to say (a notice): so it is not what can be read that counts, but that the other end has hung up.
"""

from __future__ import annotations

import select
from typing import Any

from respool.engine.dialects.signs import driver_of, has_heard_the_end, is_closed, socket_of

__all__ = ["has_hung_up", "hung_up"]

#: What tells so without being asked for; and Linux's sign that the other end will send no more, which has to be.
_ENDS = getattr(select, "POLLHUP", 0) | getattr(select, "POLLERR", 0)
_ASKED = getattr(select, "POLLRDHUP", 0)


def hung_up(records: list[Any]) -> list[Any]:
    """Those of these connection records whose server has hung up; one system call for all that have a socket."""
    gone, sockets = [], {}
    for record in records:
        driver = driver_of(record.dbapi_connection)
        if is_closed(driver):
            gone.append(record)
        elif (descriptor := _descriptor(driver)) is not None:
            sockets[descriptor] = record
    return gone + [sockets[descriptor] for descriptor in _ended(list(sockets))]


def has_hung_up(dbapi_connection: Any) -> bool:
    """Whether the server has hung up on this connection, as far as can be seen without asking it."""
    driver = driver_of(dbapi_connection)
    if is_closed(driver) or has_heard_the_end(driver):
        return True
    descriptor = _descriptor(driver)
    return descriptor is not None and bool(_ended([descriptor]))


def _descriptor(driver: Any) -> int | None:
    try:
        socket = socket_of(driver)
        descriptor = socket if isinstance(socket, int) else socket.fileno()
    except Exception:  # no socket, or none any more
        return None
    return descriptor if isinstance(descriptor, int) and descriptor >= 0 else None


def _ended(descriptors: list[int]) -> list[int]:
    if not descriptors or not hasattr(select, "poll"):  # Windows has none: there it is noticed at the next checkout
        return []
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, _ASKED)
    return [descriptor for descriptor, signs in poll.poll(0) if signs & (_ENDS | _ASKED)]
