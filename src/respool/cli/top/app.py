"""The same in a terminal, live; the one file that knows textual. Keys are those of pg_activity where it has one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.timer import Timer
from textual.widgets import DataTable, Input, Static

from respool.cli.top.looking import Look
from respool.cli.top.report import body, heading, pool_line
from respool.cli.top.views import VIEWS, Column, Row, View, matching, ordered
from respool.cli.top.words import clean, cut, cut_left
from respool.observe.format import Merged

__all__ = ["Top"]

#: Seconds between two looks that + and - go through.
_PACES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
#: How many rows a table shows; the filter finds the others.
_ROWS = 500
#: How wide a column of words may be, and one of places, of which the end tells most.
_WIDEST = 40
_PLACES = {"line": 34}
#: How many columns of the terminal an arrow moves a table by.
_STRIDE = 16

_HELP = """\
1 … 8  views; F1 … F8 do the same      tab  next application
space  pause, and go on                + -  look less often, more often
/      filter: what rows must contain  esc  no filter
enter  all that is known of a row      j k  down, up; all arrows move
< >    sort by the column beside       R    turn the order round
h ?    this page                       q    quit

Letters sort as well; once more, the other way round:
"""


class _Page(ModalScreen[None]):
    """Lines to read, over what was there."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(key, "app.pop_screen", show=False) for key in ("escape", "enter", "q", "h", "question_mark")
    ]
    CSS = """
    _Page { align: center middle; }
    _Page VerticalScroll { width: 96%; height: auto; max-height: 90%; border: round $primary; padding: 0 1; background: $surface; }
    """

    def __init__(self, title: str, lines: Iterable[str]) -> None:
        super().__init__()
        self._title, self._lines = title, list(lines)

    def compose(self) -> ComposeResult:
        with VerticalScroll() as body:
            body.border_title = self._title
            body.border_subtitle = "esc: back"
            yield Static(Text("\n".join(self._lines)), id="page")


class _Table(DataTable[Text]):
    """A table whose rows are chosen, so that left and right are free to move what is seen."""

    def action_cursor_left(self) -> None:
        self.scroll_relative(x=-_STRIDE, animate=False)

    def action_cursor_right(self) -> None:
        self.scroll_relative(x=_STRIDE, animate=False)

    def bring(self, number: int) -> None:
        """Have a column seen whole."""
        widths = [column.get_render_width(self) for column in self.ordered_columns]
        left, right = sum(widths[:number]), sum(widths[: number + 1])
        if not self.scroll_offset.x <= left <= right <= self.scroll_offset.x + self.size.width:
            self.scroll_to(x=max(0, right - self.size.width), animate=False)


class Top(App[None]):
    """The live view.

    Args:
        source: takes one look. It may wait for processes, so it is called in a thread.
        every: seconds between two looks.
    """

    ENABLE_COMMAND_PALETTE = False
    TITLE = "respool top"
    CSS = """
    #head { height: 1; text-style: reverse; }
    #verdict { height: auto; max-height: 3; text-style: bold; }
    #pools { height: auto; max-height: 5; }
    #tabs { height: 1; margin-top: 1; }
    #all { height: 1fr; }
    DataTable { height: 1fr; }
    #filter { height: 1; border: none; padding: 0; }
    #keys { height: 1; text-style: dim; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c", "quit", "quit", priority=False),
        Binding("h,question_mark", "help", "help"),
        Binding("space", "pause", "pause"),
        Binding("plus,equals_sign", "pace(1)", "slower"),
        Binding("minus", "pace(-1)", "faster"),
        Binding("slash", "filter", "filter"),
        Binding("escape", "no_filter", "no filter"),
        Binding("less_than_sign,comma", "sort(-1)", "sort"),
        Binding("greater_than_sign,full_stop", "sort(1)", "sort"),
        Binding("R", "turn", "turn"),
        Binding("j", "down", "down"),
        Binding("k", "up", "up"),
        Binding("tab", "application", "application", priority=True),
        *(Binding(f"{number},f{number}", f"view({number})", str(number)) for number in range(1, len(VIEWS) + 2)),
    ]

    def __init__(self, source: Callable[[], Look], *, every: float = 2.0) -> None:
        super().__init__()
        self._source, self._every = source, every
        self._look = Look([], "looking …")
        self._application: str | None = None  #: the one that is shown
        self._number = 1
        self._sorted: dict[str, tuple[str, bool]] = {view.name: (view.first, False) for view in VIEWS}
        self._wanted = ""
        self._paused = self._looking = False
        self._timer: Timer | None = None
        self._rows: dict[str, Row] = {}  #: those of the table, by their keys

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        yield Static(id="verdict")
        yield Static(id="pools")
        yield Static(id="tabs")
        with VerticalScroll(id="all"):
            yield Static(id="overview")
        yield _Table(id="table", cursor_type="row", zebra_stripes=True)
        yield Input(id="filter", placeholder="what rows must contain; enter: keep it, esc: all rows")
        yield Static(Text("space pause  +- pace  / filter  enter details  <> sort  h help  q quit"), id="keys")

    def on_mount(self) -> None:
        self._main.query_one("#filter").display = False
        self._begin(1)
        self._again()
        self.look_now()

    # -- looking --------------------------------------------------------------------------------------------------

    def look_now(self) -> None:
        """Take a look, unless one is being taken."""
        if not self._looking and not self._paused:
            self._looking = True
            self.run_worker(self._in_a_thread, thread=True)

    def _in_a_thread(self) -> None:
        try:
            seen = self._source()
        except Exception as error:  # whatever it was, the next look may do better
            seen = Look([], f"{type(error).__name__}: {error}")
        self.call_from_thread(self._arrived, seen)

    def _arrived(self, seen: Look) -> None:
        self._looking, self._look = False, seen
        self._draw()

    def _again(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_interval(self._every, self.look_now)

    @property
    def _main(self) -> Screen[Any]:
        """The screen of the view, also while a page is over it."""
        return self.screen_stack[0]

    @property
    def _seen(self) -> Merged | None:
        """What is shown: the application that was chosen, or else the first."""
        found = self._look.applications
        chosen = [each for each in found if each["process"]["application"] == self._application]
        return next(iter(chosen or found), None)

    @property
    def _view(self) -> View | None:
        """The view that is shown; ``None``: the overview."""
        return None if self._number == 1 else VIEWS[self._number - 2]

    # -- drawing --------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        seen = self._seen
        self._main.query_one("#head", Static).update(Text(self._head(seen)))
        self._main.query_one("#tabs", Static).update(self._tabs())
        verdict = (self._look.problem or "No process answers.") if seen is None else clean(seen["verdict"])
        self._main.query_one("#verdict", Static).update(Text(f"{'' if seen is None else _mark(seen)}{verdict}"))
        pools = [] if seen is None else [cut(pool_line(database), self.size.width) for database in seen["databases"]]
        self._main.query_one("#pools", Static).update(Text("\n".join(pools)))
        if self._view is not None:
            self._draw_table(self._view, seen)
            return
        lines = [] if seen is None else list(body(seen, max(20, self.size.width - 3)))
        wanted = self._wanted.casefold()
        shown = "\n".join(line for line in lines if wanted in line.casefold()).strip("\n")
        nothing = "" if seen is None else f"nothing contains {self._wanted!r}" if wanted else "nothing has happened yet"
        self._main.query_one("#overview", Static).update(Text(shown or nothing))

    def _head(self, seen: Merged | None) -> str:
        several = f" ({len(self._look.applications)} applications, tab)" if len(self._look.applications) > 1 else ""
        state = "PAUSED" if self._paused else f"every {self._every:g} s"
        wanted = f" · filter: {self._wanted}" if self._wanted else ""
        who = "" if seen is None else f" · {heading(seen)}"
        return f"respool top · {state}{wanted}{several}{who}"

    def _tabs(self) -> Text:
        tabs = Text(no_wrap=True, overflow="ellipsis")
        for number, name in enumerate(("all", *(view.name for view in VIEWS)), 1):
            here = number == self._number
            tabs.append(f"[{number} {name}]" if here else f" {number} {name}", style="bold reverse" if here else "")
        return tabs

    def _draw_table(self, view: View, seen: Merged | None) -> None:
        table = self._table
        title, ascending = self._sorted[view.name]
        rows = [] if seen is None else matching(view.rows(seen), view, self._wanted)
        rows = ordered(rows, view.column(title), ascending=ascending)[:_ROWS]
        before, at, (x, y) = self._chosen_key(), table.cursor_row, table.scroll_offset
        table.clear(columns=True)
        for column in view.columns:
            mark = ("▲" if ascending != (not column.right) else "▼") if column.title == title else ""
            table.add_column(Text(f"{column.title}{mark}", justify="right" if column.right else "left"))
        self._rows = {}
        for row in rows:
            key, number = view.key(row), 1
            while key in self._rows:
                number += 1
                key = f"{view.key(row)} {number}"
            self._rows[key] = row
            table.add_row(*(_cell(column, row) for column in view.columns), key=key)
        if not rows:
            nothing = f"nothing contains {self._wanted!r}" if self._wanted else view.nothing
            table.clear(columns=True)
            table.add_column(Text(nothing))
            return
        table.scroll_x = table.scroll_target_x = x
        table.scroll_y = table.scroll_target_y = y
        keys = list(self._rows)
        table.move_cursor(row=keys.index(before) if before in self._rows else min(at, len(keys) - 1))

    def _chosen_key(self) -> str | None:
        keys, row = list(self._rows), self._table.cursor_row
        return keys[row] if 0 <= row < len(keys) else None

    def _begin(self, number: int) -> None:
        """Show a view from its first row."""
        self._number, self._rows = number, {}
        overview, table = self._main.query_one("#all"), self._table
        overview.display, table.display = number == 1, number != 1
        table.clear(columns=True)
        (overview if number == 1 else table).focus()
        self._draw()

    # -- keys -----------------------------------------------------------------------------------------------------

    def action_view(self, number: int) -> None:
        """Show a view."""
        self._begin(number)

    def action_pause(self) -> None:
        """Keep what is shown, or go on."""
        self._paused = not self._paused
        self._draw()
        self.look_now()

    def action_pace(self, step: int) -> None:
        """Look less often, or more often."""
        further = [pace for pace in _PACES if (pace > self._every if step > 0 else pace < self._every)]
        if further:
            self._every = min(further) if step > 0 else max(further)
        self._again()
        self._draw()

    def action_application(self) -> None:
        """Show the next application."""
        names = [each["process"]["application"] for each in self._look.applications]
        seen = self._seen
        if seen is not None:
            self._application = names[(names.index(seen["process"]["application"]) + 1) % len(names)]
            self._begin(self._number)

    def action_sort(self, step: int) -> None:
        """Sort by the column beside."""
        view = self._view
        if view is not None:
            titles = [column.title for column in view.columns]
            self._sort_by(view, view.columns[(titles.index(self._sorted[view.name][0]) + step) % len(titles)])

    def action_turn(self) -> None:
        """Turn the order round."""
        if self._view is not None:
            self._sort_by(self._view, self._view.column(self._sorted[self._view.name][0]))

    def _sort_by(self, view: View, column: Column) -> None:
        title, ascending = self._sorted[view.name]
        self._sorted[view.name] = (column.title, title == column.title and not ascending)
        self._draw()
        self.call_after_refresh(self._table.bring, view.columns.index(column))

    def action_down(self) -> None:
        """The next row."""
        self._main.query_one(
            "#all", VerticalScroll
        ).scroll_down() if self._view is None else self._table.action_cursor_down()

    def action_up(self) -> None:
        """The row before."""
        self._main.query_one(
            "#all", VerticalScroll
        ).scroll_up() if self._view is None else self._table.action_cursor_up()

    @property
    def _table(self) -> _Table:
        return self._main.query_one("#table", _Table)

    def action_filter(self) -> None:
        """Ask what rows must contain."""
        field = self._main.query_one("#filter", Input)
        field.display = True
        field.focus()

    def action_no_filter(self) -> None:
        """Show all rows."""
        self._main.query_one("#filter", Input).value = self._wanted = ""
        self._leave_filter()

    def action_help(self) -> None:
        """The keys."""
        letters = [
            f"{view.name:<12}" + ", ".join(f"{c.letter}\u00a0{c.title}" for c in view.columns if c.letter)
            for view in VIEWS
        ]
        self.push_screen(_Page("keys", [*_HELP.splitlines(), *letters]))

    def _leave_filter(self) -> None:
        self._main.query_one("#filter").display = False
        (self._main.query_one("#all") if self._view is None else self._table).focus()
        self._draw()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._wanted = event.value
        self._draw()

    def on_input_submitted(self) -> None:
        self._leave_filter()

    def on_data_table_row_selected(self) -> None:
        row, view = self._rows.get(self._chosen_key() or ""), self._view
        if row is not None and view is not None:
            self.push_screen(_Page(view.name, view.details(row)))

    def on_key(self, event: events.Key) -> None:
        """A letter sorts by its column."""
        view = self._view
        if view is None or len(self.screen_stack) > 1 or isinstance(self.focused, Input):
            return
        for column in view.columns:
            if column.letter and column.letter == event.character:
                event.stop()
                self._sort_by(view, column)


def _mark(seen: Merged) -> str:
    """How it is, for whoever sees no colours."""
    pools: list[dict[str, Any]] = [database["pool"] for database in seen["databases"]]
    if any(pool.get("waiting") or pool.get("database_away") or pool.get("closed") for pool in pools):
        return "!! "
    return "! " if seen["findings"] else ""


def _cell(column: Column, row: Row) -> Text:
    text = column.show(row)
    width = _PLACES.get(column.title)
    text = cut(text, _WIDEST) if width is None else cut_left(text, width)
    return Text(text, justify="right" if column.right else "left")
