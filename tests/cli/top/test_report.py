"""The plain report: whole, in a width, with nothing in it that a terminal would obey."""

from __future__ import annotations

import pytest

from respool.cli.top.report import report
from respool.cli.top.words import bar, clean, cut, cut_left, many, paragraph, span
from respool.observe.format import Merged

REPORT = """\
shop, 2 processes, 2026-11-30 12:00:00 UTC
Database 'shop': 4 wait, the first for 3.5 s; 4 of 10 connections are held, 1 of them unused. charge() holds a
  connection and does not use it at /srv/app/shop/payments/providers/card.py:48.

shop [####......] 4 of 10 held, 1 of them unused · 2 free · 4 waiting, the first for 3.50 s · 2 timeouts

FINDINGS (1)
  [F001] charge() holds a connection and does not use it (6 times)
      line:  /srv/app/shop/payments/providers/card.py:48
      route: GET /pay
      taken at shop/views.py:20 in pay()
      last statement: UPDATE cart SET paid = ?
      do: do the slow call before the first write
      do: or give the connection back

CONNECTIONS HELD (2)
  pid  no  state                   for  unused  work
   41   1  idle in transaction  12.5 s  12.0 s  GET /pay
      at /srv/app/shop/payments/providers/card.py:48 in charge()
   41   2  in SQL                30 ms          GET /list
      at shop/views.py:31 in list()

WAITING (2)
     2 at shop/views.py:60 in cart(), the first for 3.50 s

REQUESTS AND BLOCKS NOW (1)
  pid  state              age    held  in SQL  stmts  work
   41  working, holds  12.6 s  12.5 s    4 ms      2  GET /pay

ROUTES (1)
  times    mean  slowest  waited  in SQL  unused  stmts  route
     20  0.50 s   0.90 s  2.00 s  4.00 s  2.00 s    420  GET /list

LAST REQUESTS (2)
     ago    took  waited  in SQL  unused  stmts  outcome    work
  8.00 s  0.50 s  0.10 s  0.20 s  0.10 s     21  committed  GET /list?page=2
  8.00 s  0.50 s  0.10 s  0.20 s  0.10 s     21  committed  GET /list?page=2

WORKERS (2)
  pid  held  of  wait  oldest   runs  state
   41     2   5     2  3.50 s  1h00m  Database 'shop': 2 wait.
   42     2   5     2  3.50 s  1h00m  Database 'shop': 2 wait."""


def test_the_whole(seen: Merged) -> None:
    assert "\n".join(report(seen, 112)) == REPORT


def test_it_keeps_to_its_width_but_for_the_lines_to_change(seen: Merged) -> None:
    assert [line for line in report(seen, 50) if len(line) > 50 and ".py:" not in line] == []
    assert sum("/srv/app/shop/payments/providers/card.py:48" in line for line in report(seen, 50)) == 3


def test_what_is_not_there_is_not_listed(other: Merged) -> None:
    assert list(report(other, 80)) == [
        "mail, 1 process, 2026-11-30 12:00:00 UTC",
        "All is well.",
        "",
        "shop [..........] 0 of 5 held · 1 free · 0 waiting",
    ]


def test_a_worker_without_an_answer_is_told_of(other: Merged) -> None:
    other["silent"] = [{"pid": 78, "error": "no answer within 1 s"}]
    lines = list(report(other, 80))
    assert lines[0] == "mail, 1 process, 1 without an answer, 2026-11-30 12:00:00 UTC"
    assert any("no answer within 1 s" in line and "78" in line for line in lines)


@pytest.mark.parametrize(
    "key, word", [("database_away", "DATABASE AWAY"), ("suspended", "SUSPENDED"), ("closed", "CLOSED")]
)
def test_a_pool_that_does_not_serve_says_why(other: Merged, key: str, word: str) -> None:
    other["databases"][0]["pool"][key] = True
    assert f"shop [..........] {word} · 0 of 5 held · 1 free · 0 waiting" in report(other, 80)


def test_a_pool_of_sqlalchemys_own_says_what_it_knows(other: Merged) -> None:
    other["databases"][0]["pool"] = {"name": "shop", "kind": "NullPool"}
    assert "shop [..........] 0 of ? held · 0 free · 0 waiting" in report(other, 80)


def test_of_many_the_worst_are_shown_and_the_rest_counted(seen: Merged) -> None:
    (shop,) = seen["databases"]
    shop["connections"] = [{**shop["connections"][0], "number": n, "seconds": float(n)} for n in range(25)]
    seen["findings"] *= 12
    lines = list(report(seen, 80))
    assert lines[lines.index("CONNECTIONS HELD (25)") + 2].split()[1] == "24"
    assert lines.count("  … and 15 more") == 1
    assert lines.count("  … and 2 more") == 1


@pytest.mark.parametrize(
    "given, shown",
    [
        (None, ""),
        (3, "3"),
        ("SELECT 1\n  FROM\tt", "SELECT 1 FROM t"),
        ("\x1b[2J\x1b]0;owned\x07", "\\u001b[2J\\u001b]0;owned\\u0007"),
        ("a\x9b31m", "a\\u009b31m"),
        ("GET /\u202egnp.exe", "GET /\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("é漢 →", "é漢 →"),
    ],
)
def test_nothing_reaches_the_terminal_that_it_would_obey(given: object, shown: str) -> None:
    assert clean(given) == shown


def test_the_report_is_clean_whatever_a_process_tells(seen: Merged) -> None:
    def spoil(value: object) -> object:
        if isinstance(value, dict):
            return {key: spoil(each) for key, each in value.items()}
        if isinstance(value, list):
            return [spoil(each) for each in value]
        return f"\x1b[2J{value}\r\n\x07" if isinstance(value, str) else value

    spoilt = spoil(seen)
    assert all(line.isprintable() for line in report(spoilt, 100))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "seconds, shown",
    [
        (None, ""), (0.0, "0 ms"), (0.0994, "99 ms"), (0.0996, "0.10 s"), (9.99, "9.99 s"), (9.996, "10.0 s"),
        (99.94, "99.9 s"), (99.96, "1m40s"), (125.0, "2m05s"), (3599.9, "1h00m"), (7620.0, "2h07m"), (200_000.0, "2d07h"),
    ],
)  # fmt: skip
def test_times(seconds: float | None, shown: str) -> None:
    assert span(seconds) == shown


def test_words() -> None:
    assert (many(1, "timeout"), many(2, "timeout")) == ("1 timeout", "2 timeouts")
    assert (cut("abcdef", 4), cut("abcd", 4)) == ("abc…", "abcd")
    assert (cut_left("abcdef", 4), cut_left("abcd", 4)) == ("…def", "abcd")
    assert [bar(part, 10, 4) for part in (0, 5, 10, 12)] == ["[....]", "[##..]", "[####]", "[####]"]
    assert bar(1, 0, 4) == "[....]"
    assert list(paragraph("", 10)) == [""]
