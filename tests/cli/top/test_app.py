"""The live view in a terminal of 80 columns and 24 lines, as somebody uses it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from respool.cli.top.looking import Look
from respool.cli.top.views import VIEWS
from respool.observe.format import Merged

pytest.importorskip("textual")

from textual.widgets import DataTable, Input

from respool.cli.top.app import Top

OVERVIEW = """\
respool top · every 3600 s · shop, 2 processes, 2026-11-30 12:00:00 UTC
!! Database 'shop': 4 wait, the first for 3.5 s; 4 of 10 connections are held, 1
of them unused. charge() holds a connection and does not use it at
/srv/app/shop/payments/providers/card.py:48.
shop [####......] 4 of 10 held, 1 of them unused · 2 free · 4 waiting, the firs…

[1 all] 2 connections 3 waiters 4 now 5 requests 6 routes 7 findings 8 workers
FINDINGS (1)
  [F001] charge() holds a connection and does not use it (6 times)
      line:  /srv/app/shop/payments/providers/card.py:48
      route: GET /pay
      taken at shop/views.py:20 in pay()
      last statement: UPDATE cart SET paid = ?
      do: do the slow call before the first write"""

CONNECTIONS = """\
 1 all[2 connections] 3 waiters 4 now 5 requests 6 routes 7 findings 8 workers
 pid  no  state                  for▼  unused  line
  41   1  idle in transaction  12.5 s  12.0 s  …/providers/card.py:48 in charge(
  41   2  in SQL                30 ms          shop/views.py:31 in list()
  41   3  idle                 2.00 s"""

DETAILS = """\
│ connection 1 of shop, process 41: idle in transaction                    │
│ held by        GET /pay (thread web-3)                                   │
│ works on       GET /pay                                                  │
│ route          GET /pay                                                  │
│ is now at      /srv/app/shop/payments/providers/card.py:48 in charge()   │
│ taken at       shop/views.py:20 in pay()                                 │
│ acquired for   12.5 s                                                    │
│ unused for     12.0 s                                                    │
│ in SQL         4 ms                                                      │
│ statements     2                                                         │
│ last SQL       UPDATE cart SET paid = ?                                  │"""

TABLES = {
    "3": [" pid  waits▼  who                       line",
          "  41  3.50 s  GET /cart (thread web-4)  shop/views.py:60 in cart()"],
    "4": [" pid  state             age▼  waited    held  in SQL  stmts  work      route",
          "  41  working, holds  12.6 s    1 ms  12.5 s    4 ms      2  GET /pay  /pay"],
    "5": ["   ago▼    took  waited  in SQL  unused  stmts  outcome    work              rou",
          " 8.00 s  0.50 s  0.10 s  0.20 s  0.10 s     21  committed  GET /list?page=2  GET"],
    "6": [" route      times    mean  slowest  waited  in SQL  unused▼  stmts",
          " GET /list     20  0.50 s   0.90 s  2.00 s  4.00 s   2.00 s    420"],
    "7": [" code  line                                  ago▼  times  what",
          " F001  …hop/payments/providers/card.py:48  5.00 s      6  charge() holds a conne"],
    "8": [" pid  held▼  of  wait  oldest   runs  state",
          "  41      2   5     2  3.50 s  1h00m  Database 'shop': 2 wait."],
}  # fmt: skip


#: Seconds between two looks, so that none is taken but by the test.
NEVER = 3600


class Terminal:
    """A terminal with the live view in it."""

    def __init__(self, pilot: Any) -> None:
        self.pilot = pilot
        self.app: Top = pilot.app

    async def settle(self) -> None:
        await self.app.workers.wait_for_complete()
        await self.pilot.pause()

    async def press(self, *keys: str) -> str:
        await self.pilot.press(*keys)
        await self.settle()
        return self.text()

    def text(self) -> str:
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)

    def first(self) -> list[str]:
        """The cells of the first row."""
        table = self.app.query_one(DataTable)
        return [str(cell) for cell in table.get_row_at(0)]


def in_a_terminal(
    use: Callable[[Terminal], Awaitable[None]], *looks: Look, source: Callable[[], Look] | None = None
) -> None:
    """Use the view, which sees one look after the other, and the last one again and again."""
    left = list(looks)

    async def run() -> None:
        app = Top(source or (lambda: left.pop(0) if len(left) > 1 else left[0]), every=NEVER)
        async with app.run_test(size=(80, 24)) as pilot:
            terminal = Terminal(pilot)
            await terminal.settle()
            await use(terminal)

    asyncio.run(run())


def test_the_overview_says_what_is_wrong_and_where(seen: Merged) -> None:
    async def use(terminal: Terminal) -> None:
        assert terminal.text().startswith(OVERVIEW)
        assert "space pause  +- pace  / filter" in terminal.text().splitlines()[-1]

    in_a_terminal(use, Look([seen], None))


def test_connections_and_all_that_is_known_of_one(seen: Merged) -> None:
    async def use(terminal: Terminal) -> None:
        assert CONNECTIONS in await terminal.press("2")
        shown = await terminal.press("enter")
        assert DETAILS in "\n".join(line[2:78] for line in shown.splitlines())
        assert CONNECTIONS in await terminal.press("escape")
        assert CONNECTIONS in await terminal.press("f2")
        assert OVERVIEW in await terminal.press("f1")

    in_a_terminal(use, Look([seen], None))


@pytest.mark.parametrize("key", list(TABLES))
def test_each_view_fits_into_eighty_columns(seen: Merged, key: str) -> None:
    async def use(terminal: Terminal) -> None:
        shown = (await terminal.press(key)).splitlines()
        assert shown[7:9] == TABLES[key]
        assert "esc: back" in await terminal.press("enter")

    in_a_terminal(use, Look([seen], None))


def test_details_of_a_request_are_its_timeline(seen: Merged) -> None:
    async def use(terminal: Terminal) -> None:
        shown = await terminal.press("5", "enter")
        assert "took 0.50 s: waited 0.10 s, held a connection 0.30 s" in shown
        assert shown.index("+0 ms      wait   0.10 s") < shown.index("+0.15 s    sql    0.20 s")
        assert "and 4 steps more" in shown

    in_a_terminal(use, Look([seen], None))


def test_letters_and_arrows_sort(seen: Merged) -> None:
    async def use(terminal: Terminal) -> None:
        await terminal.press("2")
        assert terminal.first()[:2] == ["41", "1"]
        assert "for▲" in await terminal.press("t")
        assert terminal.first()[1] == "3"
        assert "unused▼" in await terminal.press("greater_than_sign")
        assert terminal.first()[1] == "1"
        assert "stmts▼" in await terminal.press("n")
        assert terminal.first()[1] == "2"
        assert " pid" in await terminal.press("left", "left")
        assert "stmts" not in terminal.text()
        assert "stmts▼" in await terminal.press("right", "right")
        terminal.app.look_now()
        await terminal.settle()
        assert "stmts▼" in terminal.text()  # a look moves nothing
        assert "state▲" in await terminal.press("x")
        assert [terminal.first()[2]] == ["idle"]
        assert "no▼" in await terminal.press("less_than_sign")
        assert "no▲" in await terminal.press("R")

    in_a_terminal(use, Look([seen], None))


def test_the_filter_leaves_what_contains_it(seen: Merged) -> None:
    async def use(terminal: Terminal) -> None:
        await terminal.press("2", "slash", *"CARD")
        assert terminal.app.query_one(DataTable).row_count == 1
        shown = await terminal.press("enter", "enter")  # the one keeps the filter, the other opens the row
        assert "providers/card.py:48 in charge()" in shown
        assert "filter: CARD" in shown
        await terminal.press("escape", "escape")
        assert terminal.app.query_one(DataTable).row_count == 3
        shown = await terminal.press("slash", *"qx")
        assert "nothing contains 'qx'" in shown
        assert terminal.app.query_one(Input).value == "qx"  # neither sorted nor ended
        assert "route: GET /pay" in await terminal.press("escape", "1", "slash", *"route:")
        assert "taken at" not in terminal.text()

    in_a_terminal(use, Look([seen], None))


def test_a_pause_keeps_what_is_shown(seen: Merged, other: Merged) -> None:
    async def use(terminal: Terminal) -> None:
        assert "PAUSED" in await terminal.press("space")
        terminal.app.look_now()
        await terminal.settle()
        assert "shop, 2 processes" in terminal.text()
        shown = await terminal.press("space")
        assert "mail, 1 process" in shown
        assert "All is well." in shown
        assert "PAUSED" not in shown

    in_a_terminal(use, Look([seen], None), Look([other], None))


def test_the_pace_changes(seen: Merged) -> None:
    async def use(terminal: Terminal) -> None:
        assert "every 3600 s" in await terminal.press("plus")
        for pace in ("30", "10", "5"):
            assert f"every {pace} s" in await terminal.press("minus")
        assert "every 10 s" in await terminal.press("plus")
        assert "every 30 s" in await terminal.press("equals_sign")

    in_a_terminal(use, Look([seen], None))


def test_tab_goes_through_the_applications(seen: Merged, other: Merged) -> None:
    async def use(terminal: Terminal) -> None:
        assert "(2 applications, tab) · mail" in terminal.text()
        assert "shop, 2 processes" in await terminal.press("tab")
        terminal.app.look_now()
        await terminal.settle()
        assert "shop, 2 processes" in terminal.text()
        assert "nobody waits for a connection" in await terminal.press("3", "tab")

    in_a_terminal(use, Look([other, seen], None))


def test_the_row_stays_chosen_while_others_come_and_go(seen: Merged) -> None:
    async def use(terminal: Terminal) -> None:
        await terminal.press("2", "j")
        assert terminal.app._chosen_key() == "41/shop/2"
        seen["databases"][0]["connections"].insert(
            0, {**seen["databases"][0]["connections"][0], "number": 9, "seconds": 99.0}
        )
        terminal.app.look_now()
        await terminal.settle()
        assert terminal.first()[1] == "9"
        assert terminal.app._chosen_key() == "41/shop/2"
        seen["databases"][0]["connections"][:] = seen["databases"][0]["connections"][:1]
        terminal.app.look_now()
        await terminal.settle()
        assert terminal.app._chosen_key() == "41/shop/9"
        assert terminal.app.query_one(DataTable).row_count == 1

    in_a_terminal(use, Look([seen], None))


def test_when_nobody_answers_any_more_it_says_so_and_goes_on(seen: Merged) -> None:
    async def use(terminal: Terminal) -> None:
        terminal.app.look_now()
        await terminal.settle()
        assert "No process answers." in terminal.text()
        assert "nothing is open" not in await terminal.press("2")
        assert "no connection is open" in terminal.text()
        terminal.app.look_now()
        await terminal.settle()
        assert CONNECTIONS in terminal.text()

    in_a_terminal(use, Look([seen], None), Look([], "No process answers."), Look([seen], None))


def test_a_look_that_fails_ends_nothing(seen: Merged) -> None:
    looks = iter([OSError("no"), Look([seen], None)])

    def source() -> Look:
        look = next(looks)
        if isinstance(look, OSError):
            raise look
        return look

    async def use(terminal: Terminal) -> None:
        assert "OSError: no" in terminal.text()
        terminal.app.look_now()
        await terminal.settle()
        assert "shop, 2 processes" in terminal.text()

    in_a_terminal(use, source=source)


def test_keys_work_while_a_process_keeps_it_waiting(seen: Merged) -> None:
    gate = threading.Event()

    def source() -> Look:
        gate.wait()
        return Look([seen], None)

    async def run() -> None:
        app = Top(source, every=NEVER)
        async with app.run_test(size=(80, 24)) as pilot:
            terminal = Terminal(pilot)
            await pilot.press("2", "h")
            assert "look less often" in terminal.text()
            gate.set()
            await terminal.settle()
            assert CONNECTIONS in await terminal.press("escape")

    asyncio.run(run())


def test_what_processes_tell_is_shown_and_never_obeyed(seen: Merged) -> None:
    seen["databases"][0]["connections"][0]["label"] = "[red]x[/] \x1b[31m[link=a]"

    async def use(terminal: Terminal) -> None:
        shown = await terminal.press("2", "enter")
        assert "[red]x[/] \\u001b[31m[link=a]" in shown

    in_a_terminal(use, Look([seen], None))


def test_q_quits(seen: Merged) -> None:
    async def use(terminal: Terminal) -> None:
        await terminal.pilot.press("q")
        assert terminal.app._exit

    in_a_terminal(use, Look([seen], None))


def test_without_colours_the_state_can_be_told(seen: Merged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def use(terminal: Terminal) -> None:
        for key in ("1", "2"):
            await terminal.press(key)
            assert terminal.app.no_color
            for strip in terminal.app.screen._compositor.render_strips():
                for segment in strip:
                    for colour in (segment.style.color, segment.style.bgcolor) if segment.style else ():
                        if colour is not None and colour.triplet is not None:
                            assert len(set(colour.triplet)) == 1, segment
        assert "[2 connections]" in terminal.text()
        assert "!! Database" in terminal.text()

    in_a_terminal(use, Look([seen], None))


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_letter_means_one_column_and_no_command(view: Any) -> None:
    letters = [column.letter for column in view.columns if column.letter]
    assert len(set(letters)) == len(letters)
    assert not set(letters) & set("qhjkR/+-<>? 12345678")
    assert view.first in [column.title for column in view.columns]
    assert len({column.title for column in view.columns}) == len(view.columns)
