"""The socket: what it answers, to whom, and that nobody can stall it."""

from __future__ import annotations

import os
import socket
import stat
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from respool.observe.workers import ask, client, protocol, server, workers
from respool.observe.workers.places import AVAILABLE
from respool.observe.workers.server import Server

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="this system has no such sockets")

LARGE = "x" * 8_000_000
QUESTION = b'{"respool": 1, "ask": "small"}\n'


def broken() -> Any:
    raise ValueError("secret")


ANSWERS: dict[str, Callable[[], Any]] = {"small": lambda: {"a": "é\n"}, "large": lambda: LARGE, "broken": broken}


@pytest.fixture
def serve(sockets: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers, which are stopped at the end."""
    started: list[Server] = []

    def serve(**settings: Any) -> Server:
        new = Server("shop", ANSWERS, sockets, **settings)
        new.start()
        started.append(new)
        return new

    yield serve
    for each in started:
        each.stop()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of servers, in which nothing is over by itself."""
    now = [0.0]
    monkeypatch.setattr(server, "monotonic", lambda: now[0])
    return now


def connected(to: Server) -> socket.socket:
    assert to.path is not None
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(str(to.path))
    return connection


def said(to: Server, *parts: bytes) -> bytes:
    """What comes back for a few bytes."""
    with connected(to) as connection:
        for part in parts:
            connection.sendall(part)
        return b"".join(iter(lambda: connection.recv(1_000_000), b""))


def rest(connection: socket.socket) -> bytes:
    """What comes until the other end hangs up, which may be before it has read what it was told."""
    got = b""
    try:
        while piece := connection.recv(1_000_000):
            got += piece
    except ConnectionResetError:
        pass
    return got


def test_one_line_is_asked_and_one_answered(serve: Callable[..., Server]) -> None:
    assert said(serve(), QUESTION) == b'{"respool":1,"answer":{"a":"\\u00e9\\n"}}\n'


def test_a_question_may_come_in_pieces(serve: Callable[..., Server]) -> None:
    assert b'"answer"' in said(serve(), QUESTION[:5], QUESTION[5:])


def test_a_large_answer_comes_whole(serve: Callable[..., Server]) -> None:
    serve(patience=60)
    assert [answer.value for answer in ask(workers(), "large", within=60)] == [LARGE]


@pytest.mark.parametrize(
    "line, answer",
    [
        (b"GET / HTTP/1.1\n", "that is no line of JSON"),
        (b"[" * 4000 + b"\n", "that is no line of JSON"),
        (b"\xff\n", "that is no line of JSON"),
        (b"[]\n", "that is not respool's protocol"),
        (b'{"ask": "small"}\n', "that is not respool's protocol"),
        (b'{"respool": 2, "ask": "small"}\n', "version 2 of the protocol was used, version 1 is spoken here"),
        (b'{"respool": 1, "ask": ["small"]}\n', "the question is missing"),
        (b'{"respool": 1, "ask": "stop"}\n', "questions: small, large, broken"),
        (b"x" * (protocol.LONGEST_REQUEST + 1), "that is too long for a question"),
    ],
)
def test_anything_else_is_refused_with_the_reason(serve: Callable[..., Server], line: bytes, answer: str) -> None:
    told = said(serve(), line)
    with pytest.raises(protocol.Refused) as refused:
        protocol.read_answer(told)
    assert str(refused.value).startswith(answer)


def test_an_answer_that_fails_is_told_without_its_words(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    there = serve()
    told = said(there, b'{"respool": 1, "ask": "broken"}\n')
    assert b"ValueError in the process; its log says more" in told
    assert b"secret" not in told
    assert "secret" in caplog.text
    assert b'"answer"' in said(there, QUESTION)


def test_who_asks_nothing_is_dropped_and_keeps_nobody_waiting(serve: Callable[..., Server], clock: list[float]) -> None:
    there = serve(patience=5)
    with connected(there) as silent, connected(there) as half:
        half.sendall(QUESTION[:5])
        assert b'"answer"' in said(there, QUESTION)
        clock[0] = 5.1
        assert b'"answer"' in said(there, QUESTION)
        assert (rest(silent), rest(half)) == (b"", b"")


def test_who_does_not_read_is_dropped_and_keeps_nobody_waiting(
    serve: Callable[..., Server], clock: list[float]
) -> None:
    there = serve(patience=5)
    with connected(there) as lazy:
        lazy.sendall(b'{"respool": 1, "ask": "large"}\n')
        assert b'"answer"' in said(there, QUESTION)
        clock[0] = 5.1
        assert b'"answer"' in said(there, QUESTION)
        assert len(rest(lazy)) < len(LARGE)


def test_of_too_many_the_first_goes(serve: Callable[..., Server]) -> None:
    there = serve(clients=2, patience=600)
    with connected(there) as first, connected(there), connected(there):
        assert rest(first) == b""
        assert b'"answer"' in said(there, QUESTION)


def test_asking_again_and_again_costs_one_answer(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setitem(ANSWERS, "counted", lambda: asked.append(1) or len(asked))
    there, question = serve(fresh=600), b'{"respool": 1, "ask": "counted"}\n'
    assert [protocol.read_answer(said(there, question)) for _ in range(3)] == [1, 1, 1]
    assert len(asked) == 1


def test_an_answer_is_not_kept_for_long(serve: Callable[..., Server], clock: list[float]) -> None:
    there = serve(fresh=5)
    said(there, QUESTION)
    assert "small" in there._known
    clock[0] = 5.1
    for _ in range(2):  # with the second it is certain that what comes after the first was done
        said(there, b"?\n")
    assert there._known == {}


def test_it_survives_that_no_file_is_left(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    there = serve()
    failing = iter([OSError(24, "too many open files")])
    accept = socket.socket.accept

    def few(listener: socket.socket) -> Any:
        for error in failing:
            raise error
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", few)
    monkeypatch.setattr(server, "_PAUSE", 0.0)
    assert b'"answer"' in said(there, QUESTION)


def test_only_its_user_can_reach_it(serve: Callable[..., Server], sockets: Path) -> None:
    there = serve()
    assert there.path is not None
    assert stat.S_IMODE(there.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert [path.suffix for path in sockets.iterdir()] == [".sock"]


def test_a_folder_is_made_for_it(sockets: Path) -> None:
    there = Server("shop", ANSWERS, sockets / "new")
    there.start()
    assert stat.S_IMODE((sockets / "new").stat().st_mode) == 0o700
    there.stop()


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="this system does not tell who is at the other end")
def test_the_other_end_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = socket.socketpair()
    with one, other:
        assert protocol.stranger(one) is None
        seen: list[tuple[Any, ...]] = []
        monkeypatch.setattr(protocol.struct, "unpack", lambda *_: seen.append(_) or (1, 4711, 1))
        assert protocol.stranger(one) == "user 4711"


@pytest.mark.skipif(not hasattr(os, "fork") or os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="this system does not tell who is at the other end")
def test_another_user_is_told_nothing_even_if_the_file_can_be_reached(
    serve: Callable[..., Server], sockets: Path
) -> None:
    there = serve()
    assert there.path is not None
    sockets.chmod(0o755)
    there.path.chmod(0o666)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads run
        child = os.fork()
    if child == 0:
        code = 3
        try:
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(60)
                connection.connect(str(there.path))
                connection.sendall(QUESTION)
                code = 1 if connection.recv(100) else 0
        except (BrokenPipeError, ConnectionResetError):
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    sockets.chmod(0o700)
    assert b'"answer"' in said(there, QUESTION)


def test_the_client_looks_as_well(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    serve()
    monkeypatch.setattr(protocol, "stranger", lambda _: "user 4711")
    assert [answer.error for answer in ask(workers())] == ["the socket is that of user 4711"]


def test_stopping_removes_the_file_and_drops_who_is_there(serve: Callable[..., Server], sockets: Path) -> None:
    there = serve()
    with connected(there) as connection:
        there.stop()
        assert rest(connection) == b""
    assert list(sockets.iterdir()) == []
    there.stop()


def test_a_start_that_fails_leaves_nothing(sockets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(thread: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(server.threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError):
            Server("shop", ANSWERS, sockets).start()
    assert list(sockets.iterdir()) == []


def test_a_path_that_is_too_long_is_an_error(sockets: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        Server("shop", ANSWERS, sockets / ("x" * 120)).start()


def test_a_process_that_does_not_answer_does_not_hold_the_others_up(
    serve: Callable[..., Server], sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    read = client._read

    def watched(asked: Any) -> Any:
        answer = read(asked)
        now[0] = 5.1 if answer is not None else 0.0
        return answer

    monkeypatch.setattr(client, "monotonic", lambda: now[0])
    monkeypatch.setattr(client, "_read", watched)
    serve()
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(sockets / "shop.1.ab.sock"))
        deaf.listen()
        answers = {answer.worker.pid: answer for answer in ask(workers(), "small", within=5)}
    assert answers[1].error == "no answer within 5 s"
    assert answers[os.getpid()].error is None


def test_a_worker_whose_line_is_full_is_asked_once_there_is_room(
    sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms: list[bool] = []
    connect = client._connect
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as before:
        busy.bind(str(sockets / "shop.1.ab.sock"))
        busy.listen(0)
        before.connect(str(sockets / "shop.1.ab.sock"))

        def watched(*asked: Any) -> bool:
            rooms.append(connect(*asked))
            with busy.accept()[0] as accepted:
                if rooms[-1]:
                    accepted.recv(1000)
                    accepted.sendall(protocol.write(answer="now"))
            return rooms[-1]

        monkeypatch.setattr(client, "_connect", watched)
        assert [answer.value for answer in ask(workers(), within=60)] == ["now"]
    assert rooms == [False, True]


def test_who_ends_before_it_has_heard_is_gone(sockets: Path) -> None:
    path = sockets / "shop.123.abcd.sock"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(os.fspath(path))
    listening.listen()

    def end(asked: Any, line: bytes) -> bool:
        connected = connect(asked, line)
        listening.close()
        return connected

    connect = client._connect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "_connect", end)
        assert ask(workers("shop"), within=30) == []
    assert not path.exists()
