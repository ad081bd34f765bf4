"""The cases: what is done to an application, and what it should do."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from benchmarks.applications.load import Ask, crowd
from benchmarks.applications.sampling import run
from benchmarks.applications.serving import POOL
from benchmarks.correctness.place import Place, Verdict

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """One case.

    Args:
        name: what it is called in commands, and in a peer's ``without``.
        title, text: for the page: what is done, and what is right.
        judge: does it.
        cold: whether it needs an application whose pool has not been used.
        coroutines: whether it can only happen to coroutines, which can be cut off.
        threads: whether it can only happen to threads.
    """

    name: str
    title: str
    text: str
    judge: Callable[[Place], Verdict]
    cold: bool = False
    coroutines: bool = False
    threads: bool = False


def untrue_200(place: Place) -> Verdict:
    tokens = [f"r{n}" for n in range(5)]
    statuses = {token: place.running.ask("POST", f"/refused/{token}")[0] for token in tokens}
    time.sleep(0.2)  # for who commits after the answer
    lost = {token for token, status in statuses.items() if status == 200} - place.store.tokens()
    told = _told(statuses.values())
    return Verdict(not lost, f"{told}, nothing saved" if not lost else f"{len(lost)} × 200, and the row is not there")


def declined_rows(place: Place) -> Verdict:
    declined = [f"d{n}" for n in range(40)]
    kept = [f"k{n}" for n in range(40)]
    answers = {token: place.send("POST", f"/{what}/{token}") for pair in zip(declined, kept, strict=True)
               for what, token in zip(("declined", "orders"), pair, strict=True)}  # fmt: skip
    statuses = {token: answer.result()[0] for token, answer in answers.items()}
    time.sleep(0.2)
    saved = place.store.tokens()
    wrong = saved.intersection(declined)
    lost = {token for token in kept if statuses[token] == 200} - saved
    if wrong or lost:
        return Verdict(
            False, f"{len(wrong)} of 40 refused rows are saved, {len(lost)} of those that were told saved not"
        )
    return Verdict(True, f"{_told(statuses[token] for token in declined)}: none saved; all others are")


def shared_session(place: Place) -> Verdict:
    statuses, partly, lost = [], 0, 0
    for number in range(10):
        status, _ = place.running.ask("POST", f"/shared/s{number}", 10)
        time.sleep(0.02)
        there = sum(token.startswith(f"s{number}-") for token in place.store.tokens())
        statuses.append(status)
        lost += status == 200 and there < 8
        partly += status != 200 and there > 0
    if lost or partly:
        return Verdict(False, f"{lost} of 10 told 200 with rows missing, {partly} told an error with rows saved")
    others = [place.running.ask("GET", f"/items/{number}", 5)[0] for number in range(1, 41)]
    told = f"{_told(statuses)}; all rows or none; other requests afterwards: {_told(others)}"
    return Verdict(others == [200] * 40, told)


def starvation(place: Place) -> Verdict:
    run(crowd(place.running.port, 64, 0.3, lambda: Ask("GET", "/sleep/5", b"{}")))  # all connections are there
    answers = run(crowd(place.running.port, 64, 2.0, lambda: Ask("GET", "/sleep/5", b"{}")))
    mean, longest = sum(answers.took) / max(len(answers.took), 1), max(answers.took, default=99.0)
    least, middle, most = min(answers.turns), median(answers.turns), max(answers.turns)
    told = f"each client served {least} to {most} times ({middle:g}), longest wait {longest / mean:.1f} × the mean"
    return Verdict(not answers.errors and 3 * least >= middle and longest <= 10 * mean, told)


def cut_waiters(place: Place) -> Verdict:
    holding = [place.send("GET", "/sleep/1000") for _ in range(POOL)]
    time.sleep(0.3)
    cut = [place.send("GET", "/limited/10/50") for _ in range(30)]
    cut_statuses = _told(_statuses(cut))
    _statuses(holding)
    queries = [place.send("GET", "/limited/500/50") for _ in range(20)]
    _statuses(queries)
    probes = [place.send("GET", "/sleep/1000", 4.5) for _ in range(POOL)]
    took = [answer.result()[1] for answer in probes]
    place.wait(lambda: not place.store.idle_in_transaction(), 1.0)  # whoever ends after the answer
    held = place.store.idle_in_transaction()
    if _statuses(probes) != [200] * POOL or max(took) > 1.9:
        return Verdict(False, f"afterwards five requests of 1 s: {_told(_statuses(probes))}, after {max(took):.1f} s")
    if held:
        return Verdict(False, f"{held} connections are left idle in a transaction")
    return Verdict(True, f"{cut_statuses}; all five connections are there afterwards")


def lost_wake_up(place: Place) -> Verdict:
    traps = [place.proxy.trap(None, "hold") for _ in range(POOL)]
    first = [place.send("GET", "/items/1", 5) for _ in range(POOL)]
    place.wait(lambda: all(trap.sprung.is_set() for trap in traps), 1.0)
    waiting = [place.send("GET", "/items/2", 5) for _ in range(3)]
    time.sleep(0.3)
    place.proxy.cut()
    while not all(answer.done() for answer in waiting):
        for trap in traps:  # whoever makes fewer connects at once meets the others now
            trap.release()
        time.sleep(0.005)
    statuses, longest = _statuses(waiting), max(answer.result()[1] for answer in waiting)
    if statuses != [200] * 3:
        missed = sum(status == 0 for status in statuses)
        return Verdict(False, f"{_told(statuses)}: {missed} of 3 still wait after 5 s, though the database is there")
    return Verdict(
        True, f"the three in line are served after {longest:.1f} s; the five before: {_told(_statuses(first))}"
    )


def cold_burst(place: Place) -> Verdict:
    end = threading.Event()
    slow = threading.Thread(target=place.slow_connects, args=(0.3, end))
    slow.start()
    time.sleep(0.05)
    answers = run(crowd(place.running.port, 5, 2.5, lambda: Ask("GET", "/limited/1/150", b"{}")))
    end.set()
    slow.join()
    last = answers.at[-1][0] if answers.at else 0.0
    late = [right for at, right in answers.at if at > last - 1.0]
    told = f"in the last second {sum(late)} of {len(late)} are served; {len(place.proxy.accepted)} connects"
    return Verdict(sum(late) > 0.5 * len(late), told)


def stream_pinning(place: Place) -> Verdict:
    with ExitStack() as stack:
        for _ in range(POOL):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", place.running.port))
            client.sendall(b"GET /stream HTTP/1.1\r\nHost: shop\r\n\r\n")
            client.recv(200)  # the answer has begun; the client takes its time
        time.sleep(0.3)
        held = place.store.idle_in_transaction()
        status, took = place.send("GET", "/items/1", 2.0).result()
    if status != 200:
        return Verdict(False, f"an ordinary request has no answer within 2 s; {held} connections idle in a transaction")
    return Verdict(held == 0, f"{held or 'no'} connections held; an ordinary request takes {took:.2f} s")


def late_use(place: Place) -> Verdict:
    place.running.ask("POST", "/late")
    outcome = "not yet"

    def over() -> bool:
        nonlocal outcome
        _, body = place.running.ask("GET", "/late")
        outcome = json.loads(body)["outcome"] if body else "no answer"
        return outcome != "not yet"

    place.wait(over, 3)
    time.sleep(0.3)
    held = place.store.idle_in_transaction()
    if outcome.startswith("refused") and not held:
        return Verdict(True, outcome)
    return Verdict(False, outcome + (f"; {held} connection left idle in a transaction" if held else ""))


def forked(place: Place) -> Verdict:
    command = [sys.executable, "-m", "benchmarks.correctness.forking", place.peer.key, place.store.url()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout:
        return Verdict(False, f"the parent ended with {done.returncode}: {done.stderr.strip()[-200:]}")
    counts = Counter(json.loads(done.stdout.splitlines()[-1]))
    told = f"{counts['right']} right rows, {counts['wrong']} of other requests, {counts['error']} errors"
    told += f", {counts['hung']} of 4 workers hang" if counts["hung"] else ""
    return Verdict(not counts["wrong"] and not counts["error"] and not counts["hung"], told)


def _statuses(answers: Iterable[Future[tuple[int, float]]]) -> list[int]:
    return [answer.result()[0] for answer in answers]


def _told(statuses: Iterable[int]) -> str:
    """``8 × 200, 2 × 500``"""
    counts = Counter("no answer" if status == 0 else str(status) for status in statuses)
    return ", ".join(f"{count} × {status}" for status, count in sorted(counts.items()))


CASES = (
    Case(
        "false-200",
        "A commit that the database refuses",
        "The row breaks a deferred constraint: the COMMIT fails. No client may be told 200.",
        untrue_200,
    ),
    Case(
        "declined",
        "A refused request's rows",
        "Forty requests write a row and are then answered 4xx by an exception, beside forty that write one and succeed."
        " None of the refused rows may be saved, by nobody's commit.",
        declined_rows,
    ),
    Case(
        "shared",
        "One session in eight tasks or threads",
        "A handler writes eight rows through its session at the same time. What is answered must be so, all rows or an"
        " error and none, and other requests must be served as ever afterwards.",
        shared_session,
    ),
    Case(
        "starvation",
        "More clients than connections",
        "64 clients, five connections, 5 ms each. Right: nobody is served less than a third as often as the median, and"
        " no wait is longer than ten times the mean. Callers without any think time are in “Fairness”.",
        starvation,
    ),
    Case(
        "cut-off",
        "Requests that are cut off",
        "Thirty that wait for a connection and twenty that are in a query are ended by their time limit. Right: all five"
        " connections are there afterwards.",
        cut_waiters,
        coroutines=True,
    ),
    Case(
        "lost-wake-up",
        "Connects that fail while others wait",
        "Five connects hang and are then reset; three requests wait meanwhile. The database is there: right is to serve"
        " them at once.",
        lost_wake_up,
        cold=True,
    ),
    Case(
        "cold-pool",
        "A connect that takes longer than a request may",
        "A connect takes 300 ms, and requests end themselves after 150 ms. Right: the pool fills all the same, and"
        " requests are served.",
        cold_burst,
        cold=True,
        coroutines=True,
    ),
    Case(
        "slow-stream",
        "Slow readers of an answer",
        "Five clients do not read on in an answer of 20 MB, before which something was read from the database. Right: no"
        " connection is held, and others are served.",
        stream_pinning,
    ),
    Case(
        "fork",
        "A fork with a warm pool",
        "A process that has used its pool forks four workers, which read. Right: each gets its own rows.",
        forked,
        threads=True,
    ),
    Case(
        "late",
        "A session after its request",
        "A task or thread that a request has started uses the request's session when that is over. Right: it is told so,"
        " and no connection is left behind.",
        late_use,
    ),
)
