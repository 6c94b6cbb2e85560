"""Filter and order of a table, for every screen that has one: the line it is typed in, what stays on, what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from gpudash.ui.columns import Column
from gpudash.ui.remembered import Remembered
from gpudash.ui.screens.base import Living
from gpudash.ui.view import Filter, View
from gpudash.ui.widgets.line_table import LineTable

# The line of the filter needs Textual's text field, which the first frame does without: it is imported when needed.


class Filtering(Living):
    """A screen with one table. Subclasses say how to rebuild and how to order."""

    view: View[Any]
    table: LineTable[Any]
    keeps_filter: ClassVar[bool] = True
    """Whether it opens with the filter it was left with."""
    filter_hint: ClassVar[str] = "words, column:value, ! negates"

    def rebuild(self) -> None:
        """Filter and order anew, and draw."""
        raise NotImplementedError

    def sort_as(self, column_id: str, *, reverse: bool) -> bool:
        """Order by that column from the next `rebuild` on; False where there is none."""
        raise NotImplementedError

    def sortable(self) -> Sequence[Column[Any]]:
        """The columns that can be ordered by, from the left."""
        return [column for column in self.table.columns if column.sort is not None]

    def action_sort_next(self) -> None:
        """Order by the next column."""
        self._sort_beside(1)

    def action_sort_before(self) -> None:
        """Order by the column before."""
        self._sort_beside(-1)

    def _sort_beside(self, step: int) -> None:
        able = self.sortable()
        here = next((number for number, column in enumerate(able) if column.id == self.view.sort_id), None)
        column = able[(here + step) % len(able)] if here is not None else able[0 if step > 0 else -1]
        self.order_by(column, column.falling)

    def order_by(self, column: Column[Any], reverse: bool) -> None:
        """Order by that column now, and keep it."""
        if self.sort_as(column.id, reverse=reverse):
            self.rebuild()
            self.remember()
            title = column.title.lower() or column.id
            self.gpudash.say(f"Sorted by {title}{', the highest first' if reverse else ''}.", "muted")

    # -- typing -------------------------------------------------------------------------------------------------

    async def action_filter(self) -> None:
        """Into the line of the filter."""
        from gpudash.ui.widgets.filter_bar import FilterBar

        for bar in self.query(FilterBar):
            bar.focus_input()
            return
        bar = FilterBar(self.view.filter.text, placeholder=self.filter_hint)
        await self.mount(bar, before=self.table)
        self.set_focus(bar.input)
        self.call_after_refresh(self.show_count)

    def on_filter_bar_changed(self, event: object) -> None:
        text = str(getattr(event, "text", ""))
        if text != self.view.filter.text:
            self._filter_by(text)
            self.filter_changed()

    def on_filter_bar_done(self) -> None:
        self.filter_done()

    def on_filter_bar_cleared(self) -> None:
        self.filter_cleared()

    # Textual calls a handler of every class in the line, so these are what a subclass changes.

    def filter_changed(self) -> None:
        """Another filter was typed, and the rows stand."""

    def filter_done(self) -> None:
        """Enter in the filter: it stays, where there is one."""
        self.table.focus()
        if not self.view.filter.text:
            self.close_filter()

    def filter_cleared(self) -> None:
        """Esc in the filter."""
        self.close_filter()

    def on_filter_bar_moved(self, event: object) -> None:
        step = {"up": -1, "down": 1, "pageup": -10, "pagedown": 10}[str(getattr(event, "key", "up"))]
        row = self.table.cursor_row
        self.table.move_to((self.view.position(row) if row else 0) + step)

    # -- on and off ---------------------------------------------------------------------------------------------

    @property
    def is_filtered(self) -> bool:
        """The line of the filter is there, whether or not something stands in it."""
        return bool(self.view.filter.text) or bool(self.query("FilterBar"))

    def close_filter(self) -> None:
        """All rows again."""
        from gpudash.ui.widgets.filter_bar import FilterBar

        self.query(FilterBar).remove()
        if self.view.filter.text:
            self._filter_by("")
        self.table.focus()

    def show_count(self) -> None:
        """How many of all rows are shown, beside the filter, and how to see the rest."""
        if not self.is_filtered:
            return
        from gpudash.ui.widgets.filter_bar import FilterBar

        way_out = " · Esc shows all" if self.view.filter and self.keeps_filter else ""
        for bar in self.query(FilterBar):
            bar.show_count(len(self.view.order), len(self.view.rows), self.view.filter.problem, way_out)

    def _filter_by(self, text: str) -> None:
        self.view.filter = Filter.parse(text, self.view.fields)
        self.rebuild()
        self.remember()

    # -- over a restart -----------------------------------------------------------------------------------------

    def remember(self) -> None:
        """Keep filter and order as they are now."""
        text = self.view.filter.text if self.keeps_filter else ""
        self.gpudash.remember(type(self).__name__, Remembered(text, self.view.sort_id, self.view.reverse))

    def restore(self) -> None:
        """As it was left. A filter that is on stands above the rows, so that nobody takes a part for the whole."""
        left = self.gpudash.views.of(type(self).__name__)
        if left.sort:
            self.sort_as(left.sort, reverse=left.reverse)
        if left.filter and self.keeps_filter:
            from gpudash.ui.widgets.filter_bar import FilterBar

            self.view.filter = Filter.parse(left.filter, self.view.fields)
            self.mount(FilterBar(left.filter, placeholder=self.filter_hint), before=self.table)
            self.call_after_refresh(self.show_count)
