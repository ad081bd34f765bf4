"""The fault proxy does what it says: what a client sees of each fault."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from respool.testing import FaultProxy

HOST = "127.0.0.1"


class Echo(socketserver.StreamRequestHandler):
    """Sends every line back, and a last one after the client's end."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            for line in self.rfile:
                self.server.heard.put(line)
                self.wfile.write(line)
            self.wfile.write(b"bye\n")


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), Echo)
        self.heard: SimpleQueue[bytes] = SimpleQueue()
        self.port = self.server_address[1]


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    with EchoServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo: EchoServer) -> Iterator[FaultProxy]:
    with FaultProxy(HOST, echo.port) as proxy:
        yield proxy


def client(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), timeout=10)


def ask(connection: socket.socket, line: bytes) -> bytes:
    connection.sendall(line)
    return connection.recv(100)


def test_bytes_go_through_and_connections_are_counted(proxy: FaultProxy) -> None:
    with client(proxy) as one, client(proxy) as two:
        assert ask(one, b"hello\n") == b"hello\n"
        assert ask(two, b"x" * 50 + b"\n") == b"x" * 50 + b"\n"
        assert proxy.open == 2
    assert len(proxy.attempts) == len(proxy.accepted) == 2


def test_much_data_goes_through_in_order(proxy: FaultProxy) -> None:
    lines = b"".join(b"%d\n" % n for n in range(200_000))
    with client(proxy) as one:
        sender = threading.Thread(target=one.sendall, args=(lines,))
        sender.start()
        with one.makefile("rb") as answers:
            assert b"".join(answers.readline() for _ in range(200_000)) == lines
        sender.join()


def test_the_end_of_one_direction_goes_through_alone(proxy: FaultProxy) -> None:
    with client(proxy) as one:
        one.sendall(b"last\n")
        one.shutdown(socket.SHUT_WR)
        with one.makefile("rb") as answers:
            assert answers.read() == b"last\nbye\n"


def test_cut_resets_every_connection_and_lets_new_ones_in(proxy: FaultProxy) -> None:
    with client(proxy) as one, client(proxy) as two:
        ask(one, b"a\n")
        ask(two, b"b\n")
        assert proxy.cut() == 2
        assert proxy.open == 0
        for connection in (one, two):
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
    with client(proxy) as three:
        assert ask(three, b"again\n") == b"again\n"


def test_refused_attempts_are_counted_and_old_connections_go_on(proxy: FaultProxy) -> None:
    with client(proxy) as old:
        ask(old, b"a\n")
        proxy.refuse()
        with pytest.raises(ConnectionResetError), client(proxy) as refused:
            refused.recv(1)
        assert ask(old, b"b\n") == b"b\n"
    assert (len(proxy.attempts), len(proxy.accepted)) == (2, 1)
    proxy.accept()
    with client(proxy) as new:
        assert ask(new, b"c\n") == b"c\n"


def test_a_closed_port_refuses_in_earnest_and_comes_back_as_the_same(proxy: FaultProxy) -> None:
    port = proxy.port
    proxy.refuse(close_port=True)
    with pytest.raises(ConnectionRefusedError):
        client(proxy)
    proxy.accept()
    assert proxy.port == port
    with client(proxy) as new:
        assert ask(new, b"a\n") == b"a\n"


def test_a_stalled_proxy_passes_nothing_and_later_everything(proxy: FaultProxy) -> None:
    with client(proxy) as old:
        ask(old, b"a\n")
        proxy.stall()
        old.sendall(b"b\n")
        with client(proxy) as new:
            new.sendall(b"c\n")
            for connection in (old, new):
                connection.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    connection.recv(1)
                connection.settimeout(10)
            proxy.flow()
            assert (old.recv(10), new.recv(10)) == (b"b\n", b"c\n")


def test_half_close_ends_what_the_server_says_and_still_passes_what_the_client_sends(
    proxy: FaultProxy, echo: EchoServer
) -> None:
    with client(proxy) as one:
        ask(one, b"a\n")
        assert proxy.half_close() == 1
        assert one.recv(1) == b""
        one.sendall(b"still heard\n")
        assert [echo.heard.get(timeout=10) for _ in range(2)] == [b"a\n", b"still heard\n"]
        for line in (b"and after\n", b"the server's answer\n"):
            one.sendall(line)
            assert echo.heard.get(timeout=10) == line
        assert one.recv(1) == b""
        assert proxy.open == 1


@pytest.mark.parametrize("sign", [None, b"now"])
def test_a_trap_resets_the_one_connection_that_springs_it(proxy: FaultProxy, sign: bytes | None) -> None:
    with client(proxy) as spared:
        ask(spared, b"a\n")
        trap = proxy.trap(sign, "reset")
        with pytest.raises(ConnectionResetError), client(proxy) as victim:  # noqa: PT012 - the connect may hear of it already
            if sign is not None:
                assert ask(victim, b"not yet\n") == b"not yet\n"
                assert not trap.sprung.is_set()
            ask(victim, b"now\n")
        assert trap.sprung.is_set()
        assert ask(spared, b"now\n") == b"now\n", "once"
    with client(proxy) as new:
        assert ask(new, b"now\n") == b"now\n"


@pytest.mark.parametrize("sign", [None, b"now"])
def test_a_trap_holds_one_connection_until_it_is_released(
    proxy: FaultProxy, echo: EchoServer, sign: bytes | None
) -> None:
    trap = proxy.trap(sign, "hold")
    with client(proxy) as held, client(proxy) as free:
        held.sendall(b"now\n")
        assert trap.sprung.wait(10)
        assert ask(free, b"free\n") == b"free\n"
        assert echo.heard.get(timeout=10) == b"free\n", "and nothing came before it"
        trap.release()
        assert held.recv(10) == b"now\n"
    proxy.trap(b"never").release()


def test_latency_delays_every_piece_in_each_direction(proxy: FaultProxy) -> None:
    with client(proxy) as one:
        ask(one, b"a\n")
        proxy.latency = 0.05
        began = time.monotonic()
        assert ask(one, b"b\n") == b"b\n"
        assert time.monotonic() - began >= 0.1  # a lower bound: nothing that a slow machine could break


def test_most_attempts_within_a_stretch(proxy: FaultProxy) -> None:
    proxy.attempts = [0.0, 0.4, 0.9, 1.0, 1.3, 5.0]
    assert proxy.most_attempts_within(1.0) == 4  # 0.4 to 1.3
    assert proxy.most_attempts_within(0.05) == 1


def test_a_server_that_is_not_there_shows_as_a_reset() -> None:
    with socket.create_server((HOST, 0)) as taken:
        nobody = taken.getsockname()[1]
    with FaultProxy(HOST, nobody) as proxy, pytest.raises(ConnectionResetError), client(proxy) as one:
        one.recv(1)


def test_close_ends_everything_and_may_be_called_twice(echo: EchoServer) -> None:
    proxy = FaultProxy(HOST, echo.port)
    with client(proxy) as one:
        ask(one, b"a\n")
        proxy.close()
        proxy.close()
        with pytest.raises(ConnectionResetError):
            one.recv(1)
    assert not proxy._thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        client(proxy)
