"""A full screen that is one table: tunnels, events, costs, leftovers, offers. Filter, sort, footer and empty words in
one place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import BindingType

from gpudash.errors import GpudashError
from gpudash.model.instance import InstanceKey
from gpudash.ui.actions import ACTIONS, BY_ID, Action, bindings
from gpudash.ui.columns import Column
from gpudash.ui.panels import cells_of
from gpudash.ui.scene import Line, Scene, plain
from gpudash.ui.screens.filtering import Filtering
from gpudash.ui.view import Fields, View
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


_OF_A_ROW = frozenset({"open", "close_tunnel", "copy_url", "copy_event", "copy_id", "bounds", "purge"})
"""Actions on the row under the cursor."""


def own_actions(kind: str) -> list[Action]:
    """The keys of one kind of list that stand in its footer."""
    return sorted((a for a in ACTIONS if kind in a.screens and a.footer), key=lambda action: action.footer)


class ListScreen(Filtering, Generic[R]):
    """Rows of one kind, asked for when the screen opens and with Ctrl+R."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("list")]
    kind: ClassVar[str] = ""
    """Its name in the key table, where it has keys of its own."""
    title_text: ClassVar[str] = ""
    row_name: ClassVar[str] = "line"
    """What one row is called in an answer."""
    columns: ClassVar[Sequence[Column[Any]]] = ()
    first_sort: ClassVar[str] = ""
    first_falling: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.view: View[R] = View(self._fields(), self._needle)
        self.sort_as(self.first_sort, reverse=self.first_falling)
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
        self.restore()
        self._show_footer()
        self.load()

    def load(self) -> None:
        """Ask for the rows; the screen stands meanwhile."""

        async def fetch() -> None:
            try:
                rows = dict(await self.fetch())
            except GpudashError as exc:
                # What was there stays; the heading says why it is not newer.
                self.asked, self.problem = True, str(exc)
            else:
                self.asked = True
                self.view.replace_all(rows)
            if self.is_open:
                self.rebuild()

        self.gpudash.carry_out(fetch())

    def kept(self, fails: Callable[[R], bool]) -> list[tuple[Hashable, R]]:
        """Rows of before that nobody could tell anything newer about: failure is not emptiness."""
        return [(key, row.record) for key, row in self.view.rows.items() if fails(row.record)]

    def rebuild(self) -> None:
        self.view.rebuild(self.gpudash.scene.now)
        self.table.order_changed()
        self.show_count()
        self._show_footer()
        for heading in self.query(Heading):
            heading.update_lines()

    def chosen(self) -> R | None:
        """The row under the cursor; that there is none is the answer to the key."""
        if self.table.record is None:
            self.gpudash.say(f"No {self.row_name} is selected.", "tone-warn")
        return self.table.record

    def can_act(self, action: Action) -> bool:
        """Whether a key of this list can act now; it is grey where there is no row to act on."""
        return bool(self.view.order) or action.id not in _OF_A_ROW

    def action_refresh(self) -> None:
        super().action_refresh()
        self.load()

    # -- order --------------------------------------------------------------------------------------------------

    def on_line_table_sort_requested(self, event: LineTable.SortRequested) -> None:
        column = next((c for c in self.columns if c.id == event.column_id), None)
        if column is not None:
            again = self.view.sort_id == column.id
            self.order_by(column, not self.view.reverse if again else column.falling)

    def action_sort_turn(self) -> None:
        """The same order, turned round."""
        column = next((c for c in self.columns if c.id == self.view.sort_id), None)
        if column is not None:
            self.order_by(column, not self.view.reverse)

    def sort_as(self, column_id: str, *, reverse: bool) -> bool:
        column = next((c for c in self.columns if c.id == column_id), None)
        if column is None or column.sort is None:
            return False
        self.view.sort_by(column.id, column.sort, reverse=reverse)
        return True

    def action_open(self) -> None:
        """Enter on a row."""
        self.opened()

    def on_line_table_opened(self) -> None:
        self.opened()

    def opened(self) -> None:
        """A row was opened by Enter or a double click; what that does is the subclass's to say."""

    def action_back(self) -> None:
        """The filter first, then the screen."""
        if self.is_filtered:
            self.close_filter()
        else:
            self.leave()

    # -- inside -------------------------------------------------------------------------------------------------

    def _heading_right(self, scene: Scene) -> Line:
        if self.problem:
            return ((self.problem, "tone-warn"),)
        return self.right(scene)

    def _empty(self) -> Sequence[Line]:
        if not self.asked:
            return [(), (("   Asking …", "muted"),)]
        if self.view.rows:
            return [
                (),
                ((f"   Nothing fits “{self.view.filter.text}”. ", "muted"), ("Esc", "key"), (" shows all.", "muted")),
            ]
        if self.problem:
            return [(), ((f"   Nobody knows: {self.problem}", "tone-warn"),)]
        return [(), ((f"   {self.nothing()}", "muted"),)]

    def open_instance(self, key: InstanceKey | None, name: str) -> None:
        """The page of that instance, or why there is none."""
        from gpudash.ui.screens.instance import InstanceScreen

        if key is not None and key in self.fleet.store.records:
            self.app.push_screen(InstanceScreen(key))
        else:
            self.gpudash.say(
                f"{name or 'That'} is not in the fleet any more." if key else "It concerns no instance.", "muted"
            )

    def copy(self, text: str) -> None:
        """Onto the clipboard, and said."""
        self.app.copy_to_clipboard(text)
        self.gpudash.say(f"Copied {text}", "tone-good")

    def _show_footer(self) -> None:
        own = [(action, self.can_act(action)) for action in own_actions(self.kind)]
        shared = [(BY_ID[name], True) for name in ("filter", "refresh", "help", "back")]
        self.footer.show(FooterFacts((*own, *shared)))


def _says(column: Column[R]) -> Callable[[R, datetime], str]:
    return lambda record, now: plain(column.text(record, Scene(now), 60))


def _number(column: Column[R]) -> Callable[[R, datetime], float | None]:
    def number(record: R, now: datetime) -> float | None:
        value = column.sort(record) if column.sort is not None else None
        return value if isinstance(value, (int, float)) else None

    return number
