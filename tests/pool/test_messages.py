"""What the pool's errors say: the numbers of the moment, who holds what, and the cause."""

from __future__ import annotations

import pytest

from respool.errors import ConnectFailed, PoolQueueFull, PoolTimeout
from respool.pool import ConnectionPool
from respool.pool.core.algorithms import Park
from respool.pool.core.messages import connect_failed, words_of
from tests.pool.rig import OUTAGE, Rig, acquire


def test_a_timeout_gives_the_numbers_of_the_moment_and_the_holders() -> None:
    rig = Rig(max_size=2)
    rig.grown("GET /slow", "GET /slower")
    other = acquire(rig, "also waiting")
    run = acquire(rig, timeout=1.5)
    run.answer()
    error = run.error
    assert isinstance(error, PoolTimeout)
    assert isinstance(other.effect, Park)
    assert (error.pool, error.timeout) == ("shop", 1.5)
    for fact, value in {"max_size": 2, "acquired": 2, "idle": 0, "connecting": 0, "waiting": 1}.items():
        assert error.facts[fact] == value
    text = str(error)
    assert "no connection from pool 'shop' within 1.5 s" in text
    assert "GET /slow has it" in text
    assert "max_size=2" in text
    assert error.__cause__ is None


def test_a_timeout_in_an_outage_has_the_last_connect_error_as_its_cause() -> None:
    rig = Rig()
    run = acquire(rig, timeout=1)
    rig.fail(OUTAGE)
    run.answer()
    assert isinstance(run.error, PoolTimeout)
    assert run.error.__cause__ is OUTAGE
    assert run.error.facts["database_away"] is True
    assert "ConnectionRefusedError" in str(run.error)


def test_a_timeout_names_the_three_who_hold_longest() -> None:
    rig = Rig(max_size=5)
    for name in ("first", "second", "third", "fourth", "fifth"):
        rig.grown(name)
        rig.advance(1)
    run = acquire(rig, timeout=1)
    run.answer()
    assert [name in str(run.error) for name in ("first has", "third has", "fourth has")] == [True, True, False]


def test_a_full_line_is_told_with_its_limit_and_the_holders() -> None:
    rig = Rig(max_size=1, max_waiting=1)
    rig.grown("GET /slow")
    waiting = acquire(rig)
    error = acquire(rig).error
    assert isinstance(error, PoolQueueFull)
    assert (error.max_waiting, error.facts["waiting"]) == (1, 1)
    assert "GET /slow has it" in str(error)
    assert isinstance(waiting.effect, Park)


def test_why_the_database_is_away_stands_in_the_first_line_without_a_password() -> None:
    rig = Rig()
    run = acquire(rig, timeout=1)
    error = ConnectionRefusedError("cannot reach postgresql://shop:hunter2@db.local:5432/shop:\n  connection refused")
    rig.do(rig.state.failed, rig.opening.pop(0), error, outage=True)
    run.answer()
    assert isinstance(run.error, PoolTimeout)
    assert run.error.headline == (
        "no connection from pool 'shop' within 1 s: the database is away: ConnectionRefusedError: "
        "cannot reach postgresql://shop:***@db.local:5432/shop: connection refused"
    )
    assert run.error.connect_error is not None
    assert run.error.connect_error in run.error.headline
    assert "hunter2" not in str(run.error)


def test_why_a_connection_could_not_be_opened_stands_in_the_first_line() -> None:
    error = connect_failed("shop", ValueError('password authentication failed for user "shop"'))
    assert isinstance(error, ConnectFailed)
    assert error.headline.endswith(
        'could not open a connection: ValueError: password authentication failed for user "shop"'
    )
    assert error.connect_error == 'ValueError: password authentication failed for user "shop"'


def test_why_stands_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    tries = iter([ConnectionRefusedError("nobody listens on 5432; password=hunter2"), None])

    class Away:
        def connect(self) -> object:
            if (error := next(tries)) is not None:
                raise error
            return object()

        def close(self, resource: object) -> None: ...

    away = Away()
    with ConnectionPool(away.connect, close=away.close, name="shop") as pool:
        with pool.acquire(timeout=60):
            pass
    assert (
        "pool 'shop': connect failed, trying again: ConnectionRefusedError: nobody listens on 5432; password=***"
        in (caplog.text)
    )


@pytest.mark.parametrize(
    "said, shown",
    [
        ("", "OSError"),
        ("refused", "OSError: refused"),
        ("a\n\tb\n  c", "OSError: a b c"),
        (
            'invalid dsn: missing "=" after "postgresql://u:hunter2@h/d"',
            'OSError: invalid dsn: missing "=" after "postgresql://u:***@h/d"',
        ),
        ("mysql://u:p@ss:hunter2@h:3306/d is away", "OSError: mysql://u:***@h:3306/d is away"),
        ("host=h user=u password=hunter2 dbname=d", "OSError: host=h user=u password=*** dbname=d"),
        ("password='hunter 2' is wrong", "OSError: password=*** is wrong"),
        ('{"passwd": "hunter2", "user": "u"}', 'OSError: {"passwd": ***, "user": "u"}'),
        ("PWD=hunter2;UID=u", "OSError: PWD=***;UID=u"),
        ("sslpassword: hunter2, sslmode: on", "OSError: sslpassword: ***, sslmode: on"),
        ("token=hunter2&x=1", "OSError: token=***&x=1"),
        (
            "Access denied for user 'u'@'h' (using password: YES)",
            "OSError: Access denied for user 'u'@'h' (using password: YES)",
        ),
        (
            "Access denied for user 'u'@'h' (using password: NO)",
            "OSError: Access denied for user 'u'@'h' (using password: NO)",
        ),
        (
            'FATAL: password authentication failed for user "u"',
            'OSError: FATAL: password authentication failed for user "u"',
        ),
        ("failed to resolve host 'hunter2@127.0.0.1': no", "OSError: failed to resolve host '***@127.0.0.1': no"),
        ('could not translate host name "h@nter2@db" to', 'OSError: could not translate host name "***@db" to'),
        (
            "Can't connect to MySQL server on 'hunter2@db' (-2)",
            "OSError: Can't connect to MySQL server on '***@db' (-2)",
        ),
        ("fe_sendauth: no password supplied", "OSError: fe_sendauth: no password supplied"),
    ],
)
def test_a_drivers_words_are_shown_in_one_line_and_without_a_password(said: str, shown: str) -> None:
    assert words_of(OSError(said)) == shown


def test_a_drivers_words_are_not_endless() -> None:
    assert len(words_of(OSError("x" * 10_000))) < 330
