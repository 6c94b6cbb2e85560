"""A full screen that is one table: tunnels, events, costs, leftovers, offers. Filter, sort, footer and empty words in
one place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from gpudash.ui.actions import BY_ID, Action, bindings
from gpudash.ui.columns import Column
from gpudash.ui.panels import cells_of
from gpudash.ui.scene import Line, Scene, plain
from gpudash.ui.screens.base import Living
from gpudash.ui.view import Fields, Filter, View
from gpudash.ui.widgets.filter_bar import FilterBar
from gpudash.ui.widgets.footer import Footer, FooterFacts
from gpudash.ui.widgets.line_table import LineTable
from gpudash.ui.widgets.paint import PaintedBlock

R = TypeVar("R")


class Heading(PaintedBlock):
    """The name of the screen, and what it adds up to."""

    ground = "panel"
    DEFAULT_CSS = "Heading { height: 1; }"

    def __init__(self, left: Line, right: Callable[[Scene], Line]) -> None:
        super().__init__()
        self.left, self._right = left, right

    def compose_lines(self, scene: Scene, width: int, height: int) -> list[Line]:
        right = self._right(scene)
        gap = width - 2 - cells_of(self.left) - cells_of(right)
        return [((" ", "text"), *self.left, (" " * max(1, gap), "text"), *right)]


@dataclass(frozen=True)
class Key:
    """One more key of a list, for its footer."""

    key: str
    label: str
    method: str


def key_action(key: Key) -> Action:
    """A key of one screen only, as the footer wants it."""
    return Action(key.method, key.key, key.label, "", "list", frozenset({"list"}))


class ListScreen(Living, Generic[R]):
    """Rows of one kind, asked for when the screen opens and with Ctrl+R."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("list"),
        Binding("enter", "open", "open", id="list.open", show=False),
    ]
    title_text: ClassVar[str] = ""
    columns: ClassVar[Sequence[Column[Any]]] = ()
    own_keys: ClassVar[Sequence[Key]] = ()
    first_sort: ClassVar[str] = ""
    first_falling: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.view: View[R] = View(self._fields(), self._needle)
        column = next((c for c in self.columns if c.id == self.first_sort), None)
        if column is not None and column.sort is not None:
            self.view.sort_by(column.id, column.sort, reverse=self.first_falling)
        self.table: LineTable[R] = LineTable(self.view, self.columns, id="table")
        self.footer = Footer(id="footer")
        self.asked = False
        self.problem: str | None = None

    # -- what a list says of itself -----------------------------------------------------------------------------

    async def fetch(self) -> Iterable[tuple[Hashable, R]]:
        """The rows by key."""
        raise NotImplementedError

    def right(self, scene: Scene) -> Line:
        """What stands at the right of the heading."""
        return ()

    def nothing(self) -> str:
        """What stands there instead of rows."""
        return "Nothing here."

    def _fields(self) -> Fields[R]:
        words = {column.id: _says(column) for column in self.columns}
        numbers = {column.id: _number(column) for column in self.columns if column.right and column.sort is not None}
        return Fields(words, numbers)

    def _needle(self, record: R) -> str:
        scene = Scene(self.gpudash.scene.now)
        return " ".join(plain(column.text(record, scene, 60)) for column in self.columns).lower()

    # -- life ---------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield Heading(((self.title_text, "title"),), self._heading_right)
        yield self.table
        yield self.footer

    def on_mount(self) -> None:
        self.table.empty = self._empty
        self.table.focus()
        self._show_footer()
        self.load()

    def load(self) -> None:
        """Ask for the rows; the screen stands meanwhile."""

        async def fetch() -> None:
            rows = dict(await self.fetch())
            if not self.is_open:
                return
            self.asked = True
            self.view.replace_all(rows)
            self.rebuild()

        self.gpudash.carry_out(fetch())

    def rebuild(self) -> None:
        self.view.rebuild(self.gpudash.scene.now)
        self.table.order_changed()
        self._count()
        for heading in self.query(Heading):
            heading.update_lines()

    def action_refresh(self) -> None:
        super().action_refresh()
        self.load()

    def on_line_table_sort_requested(self, event: LineTable.SortRequested) -> None:
        column = next((c for c in self.columns if c.id == event.column_id), None)
        if column is None or column.sort is None:
            return
        again = self.view.sort_id == column.id
        self.view.sort_by(column.id, column.sort, reverse=not self.view.reverse if again else column.falling)
        self.rebuild()

    def action_open(self) -> None:
        """Enter on a row."""
        self.opened()

    def on_line_table_opened(self) -> None:
        self.opened()

    def opened(self) -> None:
        """A row was opened by Enter or a double click; what that does is the subclass's to say."""

    # -- filter -------------------------------------------------------------------------------------------------

    async def action_filter(self) -> None:
        for bar in self.query(FilterBar):
            bar.focus_input()
            return
        bar = FilterBar(self.view.filter.text, placeholder="words, column:value, ! negates")
        await self.mount(bar, before=self.table)
        self.set_focus(bar.input)
        self.call_after_refresh(self._count)

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        if event.text != self.view.filter.text:
            self.view.filter = Filter.parse(event.text, self.view.fields)
            self.rebuild()
            self.filter_changed()

    def on_filter_bar_done(self) -> None:
        self.filter_done()

    def on_filter_bar_cleared(self) -> None:
        self.filter_cleared()

    # Textual calls a handler of every class in the line, so these two are what a subclass changes.

    def filter_changed(self) -> None:
        """The rows that fit are shown now; the cursor stays with its row, or the nearest."""

    def filter_done(self) -> None:
        """Enter in the filter."""
        self.table.focus()

    def filter_cleared(self) -> None:
        """Esc in the filter."""
        self.action_back()

    def on_filter_bar_moved(self, event: FilterBar.Moved) -> None:
        step = {"up": -1, "down": 1, "pageup": -10, "pagedown": 10}[event.key]
        row = self.table.cursor_row
        self.table.move_to((row.position if row else 0) + step)

    def action_back(self) -> None:
        """The filter first, then the screen."""
        if self.query(FilterBar):
            self.query(FilterBar).remove()
            self.view.filter = Filter.parse("", self.view.fields)
            self.rebuild()
            self.table.focus()
        else:
            self.leave()

    # -- inside -------------------------------------------------------------------------------------------------

    def _heading_right(self, scene: Scene) -> Line:
        if self.problem:
            return ((self.problem, "tone-warn"),)
        return self.right(scene)

    def _count(self) -> None:
        for bar in self.query(FilterBar):
            bar.show_count(len(self.view.order), len(self.view.rows), self.view.filter.problem)

    def _empty(self) -> Sequence[Line]:
        if not self.asked:
            return [(), (("   Asking …", "muted"),)]
        if self.view.rows:
            return [
                (),
                ((f"   Nothing fits “{self.view.filter.text}”. ", "muted"), ("Esc", "key"), (" shows all.", "muted")),
            ]
        return [(), ((f"   {self.nothing()}", "muted"),)]

    def _show_footer(self) -> None:
        own = [(key_action(key), True) for key in self.own_keys]
        shared = [(BY_ID[name], True) for name in ("filter", "refresh", "help", "back")]
        self.footer.show(FooterFacts((*own, *shared)))


def _says(column: Column[R]) -> Callable[[R, datetime], str]:
    return lambda record, now: plain(column.text(record, Scene(now), 60))


def _number(column: Column[R]) -> Callable[[R, datetime], float | None]:
    def number(record: R, now: datetime) -> float | None:
        value = column.sort(record) if column.sort is not None else None
        return value if isinstance(value, (int, float)) else None

    return number
