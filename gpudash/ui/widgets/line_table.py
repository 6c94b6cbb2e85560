"""A table drawn by line: 10,000 rows cost what the rows on screen cost.

Cursor, marks and scroll position hold on to keys, so nothing jumps when rows come, go or change places. There is no
scrollbar widget; the thumb is the last cell of each line, because every widget edge cuts every line of the screen
into more strips.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from gpudash.ui import format as fmt
from gpudash.ui.actions import bindings
from gpudash.ui.columns import Column, Placed, arrange
from gpudash.ui.order import Row
from gpudash.ui.scene import Line, Scene, Span
from gpudash.ui.view import View
from gpudash.ui.widgets.paint import Painted

R = TypeVar("R")

_MARGIN = 2
"""Cells before the first column: the cursor's bar and the mark."""


_THUMB: Line = (("█", "rule"),)
_TRACK: Line = (("│", "rule"),)


class _Range(NamedTuple):
    """Marks that grow and shrink with Shift and arrows."""

    first: Hashable
    last: Hashable
    """Where the cursor was left; elsewhere, a new range begins."""
    before: frozenset[Hashable]
    """What was marked when it began."""


@dataclass(slots=True)
class _Drawn(Generic[R]):
    """What a row says, by column; columns that do not live with the clock are asked again only for another record."""

    record: R
    moment: Scene
    cells: list[Line]
    spans: Line
    looks: tuple[bool, bool, Line] | None = None
    """Under the cursor, marked, and its part of the thumb."""
    line: tuple[Line, tuple[Line, str]] = ((), ((), ""))
    """The whole line in those looks, and for which spans it was made."""


class LineTable(Painted, Generic[R], can_focus=True):
    """Rows of one view in columns, with cursor, marks, sorting and mouse."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("table")]
    DEFAULT_CSS = "LineTable { height: 1fr; width: 1fr; }"

    class Opened(Message):
        """A row was asked for by Enter or a double click."""

    class Marked(Message):
        """Marks changed."""

    class SortRequested(Message):
        """A column's title was clicked."""

        def __init__(self, column_id: str) -> None:
            super().__init__()
            self.column_id = column_id

    def __init__(
        self,
        view: View[R],
        columns: Sequence[Column[R]],
        *,
        lookup: Callable[[Hashable], R | None] | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.view = view
        self.columns = columns
        self.lookup = lookup
        self.cursor: Hashable | None = None
        self.marks: set[Hashable] = set()
        self._range: _Range | None = None
        self.top = 0
        """Number of the first row on screen."""
        self.empty: Callable[[], Sequence[Line]] = lambda: ()
        """What stands there instead of rows."""
        self.on_cursor: Callable[[], None] = lambda: None
        """Called when the cursor comes to another row, so that what stands around follows in the same frame."""
        self.texts_made = 0
        """Rows whose texts were computed so far; tests count it."""
        self._cursor_position = 0
        self._placed: list[Placed[R]] = []
        self._placed_for = -1
        self._tail: Span = ("", "text")
        self._live: list[int] = []
        """Which of the columns that have a place live with the clock."""
        self._cache: dict[Hashable, _Drawn[R]] = {}
        self._moment: Scene | None = None
        """The beat that is on screen; a row says what it said at that moment until its record is another."""
        self._header_cache: tuple[object, Line] | None = None

    # -- rows ---------------------------------------------------------------------------------------------------

    @property
    def rows_on_screen(self) -> int:
        return max(0, self.size.height - 1)

    @property
    def cursor_row(self) -> Row[R] | None:
        """The row under the cursor while it is shown."""
        row = self.view.rows.get(self.cursor) if self.cursor is not None else None
        return row if row is not None and self.view.position(row) >= 0 else None

    @property
    def record(self) -> R | None:
        """The record under the cursor, as it is now."""
        row = self.cursor_row
        return None if row is None else self._record(row)

    def order_changed(self, *, keep_line: bool = True, same_moment: bool = False) -> None:
        """The view was rebuilt: keep the cursor on its row and, where that can be, the row on its line.

        With `same_moment` no beat has passed: only rows whose records are others say something new.
        """
        order = self.view.order
        row = self.cursor_row
        if row is None:
            line = self._cursor_position
            if order:
                self._set_cursor(order[min(line, len(order) - 1)])
            elif self.cursor is not None:
                self.cursor = None
                self.on_cursor()
        elif keep_line:
            self.top += self.view.position(row) - self._cursor_position
        self._follow()
        if same_moment:
            self.records_changed()
        else:
            self.update_lines()

    def records_changed(self) -> int:
        """Draw rows whose records are others; no beat has passed for the rest. How many lines."""
        return super().update_lines()

    def move_to(self, position: int) -> None:
        """Put the cursor on the row of that number; the nearest where there is none."""
        order = self.view.order
        if not order:
            return
        old_top, old = self.top, self.cursor_row
        row = order[min(max(position, 0), len(order) - 1)]
        if row is old:
            return
        self._set_cursor(row)
        self._follow()
        if self.top != old_top or old is None:
            self._scrolled(self.top - old_top)
        else:
            self.update_line(self.view.position(old) - self.top + 1)
            self.update_line(self.view.position(row) - self.top + 1)

    def select(self, key: Hashable) -> bool:
        """Put the cursor on that row, where it is shown."""
        row = self.view.rows.get(key)
        if row is None or self.view.position(row) < 0:
            return False
        self.move_to(self.view.position(row))
        return True

    def toggle_mark(self, *, step: int = 1) -> None:
        """Mark or unmark the row under the cursor and go on."""
        row = self.cursor_row
        if row is None:
            return
        self.marks ^= {row.key}
        self.update_line(self.view.position(row) - self.top + 1)
        self.move_to(self.view.position(row) + step)
        self.post_message(self.Marked())

    def extend_marks(self, step: int) -> None:
        """Mark from where the range began up to the next row; a step back unmarks the row it leaves."""
        row = self.cursor_row
        if row is None:
            return
        if self._range is None or self._range.last != row.key:
            self._range = _Range(row.key, row.key, frozenset(self.marks))
        self.move_to(self.view.position(row) + step)
        now = self.cursor_row or row
        self._range = self._range._replace(last=now.key)
        first = self.view.rows.get(self._range.first)
        here = self.view.position(now)
        start = -1 if first is None else self.view.position(first)
        low, high = (min(start, here), max(start, here)) if start >= 0 else (here, here)
        self.marks = {*self._range.before, *(row.key for row in self.view.order[low : high + 1])}
        self.update_lines()
        self.post_message(self.Marked())

    def unmark(self, key: Hashable) -> None:
        """Take the mark off that row, where it has one."""
        if key in self.marks:
            self.marks.discard(key)
            self.update_lines()
            self.post_message(self.Marked())

    def mark_shown(self) -> None:
        """Mark every row of the view, or none where all are."""
        shown = {row.key for row in self.view.order}
        self.marks = set() if shown <= self.marks else self.marks | shown
        self.update_lines()
        self.post_message(self.Marked())

    def clear_marks(self) -> bool:
        """True where there were any."""
        if not self.marks:
            return False
        self.marks = set()
        self._range = None
        self.update_lines()
        self.post_message(self.Marked())
        return True

    def _record(self, row: Row[R]) -> R:
        now = None if self.lookup is None else self.lookup(row.key)
        return row.record if now is None else now

    def _set_cursor(self, row: Row[R]) -> None:
        self._cursor_position = self.view.position(row)
        if row.key != self.cursor:
            self.cursor = row.key
            self.on_cursor()

    def _follow(self) -> None:
        """Scroll so that the cursor is on screen and no line is wasted."""
        height, count = self.rows_on_screen, len(self.view.order)
        row = self.cursor_row
        if row is not None:
            position = self._cursor_position = self.view.position(row)
            if position < self.top:
                self.top = position
            elif position >= self.top + height > 0:
                self.top = position - height + 1
        self.top = max(0, min(self.top, count - height))

    # -- keys and mouse -----------------------------------------------------------------------------------------

    def action_cursor_up(self) -> None:
        self._step(-1)

    def action_cursor_down(self) -> None:
        self._step(1)

    def action_page_up(self) -> None:
        self._step(-max(1, self.rows_on_screen - 1))

    def action_page_down(self) -> None:
        self._step(max(1, self.rows_on_screen - 1))

    def action_jump_first(self) -> None:
        self.move_to(0)

    def action_jump_last(self) -> None:
        self.move_to(len(self.view.order) - 1)

    def _step(self, step: int) -> None:
        row = self.cursor_row
        self.move_to(0 if row is None else self.view.position(row) + step)

    def on_click(self, event: events.Click) -> None:
        """A title sorts, a row gets the cursor, the first cells mark, a double click opens."""
        event.stop()
        if event.y == 0:
            for place in self._layout():
                if place.x <= event.x - _MARGIN < place.x + place.width:
                    self.post_message(self.SortRequested(place.column.id))
            return
        position = self.top + event.y - 1
        if position >= len(self.view.order):
            return
        self.move_to(position)
        if event.x < _MARGIN:
            self.toggle_mark(step=0)
        elif event.chain == 2:
            self.post_message(self.Opened())

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._wheel(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._wheel(-3)

    def _wheel(self, step: int) -> None:
        height, count = self.rows_on_screen, len(self.view.order)
        top = max(0, min(self.top + step, count - height))
        if top == self.top:
            self._step(1 if step > 0 else -1)
            return
        old_top, self.top = self.top, top
        row = self.cursor_row
        if row is not None:
            inside = min(max(self.view.position(row), top), top + height - 1)
            self._set_cursor(self.view.order[inside])
        self._scrolled(top - old_top)

    def _scrolled(self, step: int) -> None:
        """Rows stand so many lines higher: what was drawn of them goes along."""
        self.shift_lines(1, step)
        self.update_lines()

    def on_resize(self) -> None:
        self._follow()

    # -- drawing ------------------------------------------------------------------------------------------------

    def update_lines(self) -> int:
        """Draw lines whose texts differ now; how many."""
        self._moment = self.scene()
        return super().update_lines()

    def line_at(self, y: int) -> tuple[Line, str]:
        if y == 0:
            return self._header(), "panel"
        order = self.view.order
        if not order:
            lines = self.empty()
            return (lines[y - 1] if y - 1 < len(lines) else ()), self.ground
        position = self.top + y - 1
        if position >= len(order):
            return (), self.ground
        row = order[position]
        looks = (row.key == self.cursor, row.key in self.marks, self._thumb(y))
        drawn = self._say_now(row)
        if drawn.looks != looks or drawn.line[0] is not drawn.spans:
            on_cursor, marked, thumb = looks
            ground = "cursor" if on_cursor else "marked" if marked else self.ground
            margin = ((("▌" if on_cursor else " ") + ("✓" if marked else " "), "mark"),)
            drawn.looks, drawn.line = looks, (drawn.spans, (margin + drawn.spans + thumb, ground))
        return drawn.line[1]

    def _say_now(self, row: Row[R]) -> _Drawn[R]:
        layout = self._layout()
        record, moment = self._record(row), self._moment
        if moment is None:
            moment = self._moment = self.scene()
        drawn = self._cache.get(row.key)
        if drawn is None or drawn.record is not record:
            return self._say(row.key, record, drawn)
        if drawn.moment is not moment:
            self.texts_made += 1
            drawn.moment = moment
            cells, news = drawn.cells, False
            for number in self._live:
                cell = _cell(layout[number], record, moment)
                if cell != cells[number]:
                    cells[number] = cell
                    news = True
            if news:
                drawn.spans = (*chain.from_iterable(cells), self._tail)
        return drawn

    def _say(self, key: Hashable, record: R, drawn: _Drawn[R] | None) -> _Drawn[R]:
        """Everything anew, for the moment it is now."""
        self.texts_made += 1
        scene = self.scene()
        cells = [_cell(place, record, scene) for place in self._layout()]
        spans = (*chain.from_iterable(cells), self._tail)
        if drawn is not None and drawn.spans == spans:
            spans = drawn.spans
        if len(self._cache) > 500:
            self._cache.clear()
        drawn = self._cache[key] = _Drawn(record, self._moment or scene, cells, spans)
        return drawn

    def _layout(self) -> list[Placed[R]]:
        width = self._width
        if width != self._placed_for:
            placed = self._placed = arrange(self.columns, width - _MARGIN - 1)
            self._placed_for = width
            self._live = [number for number, place in enumerate(placed) if place.column.live]
            end = placed[-1].x + placed[-1].width if placed else 0
            self._tail = (" " * max(0, width - _MARGIN - 1 - end), "text")
            self._cache.clear()
            self._header_cache = None
        return self._placed

    def _header(self) -> Line:
        placed = self._layout()
        made_for = (id(placed), self.view.sort_id, self.view.reverse)
        if self._header_cache is not None and self._header_cache[0] == made_for:
            return self._header_cache[1]
        spans: list[Span] = [(" " * _MARGIN, "label")]
        x = 0
        for place in placed:
            spans.append((" " * (place.x - x), "label"))
            column = place.column
            here = column.id == self.view.sort_id
            title = column.title
            if here and len(title) < place.width:
                arrow = "↓" if self.view.reverse else "↑"
                title = arrow + title if column.right else title + arrow
            spans.append((fmt.fit(title, place.width, right=column.right), "sorted" if here else "label"))
            x = place.x + place.width
        line = tuple(spans)
        self._header_cache = (made_for, line)
        return line

    def _thumb(self, y: int) -> Line:
        height, count = len(self._drawn) - 1, len(self.view.order)
        if count <= height or height <= 0:
            return ()
        size = max(1, height * height // count)
        start = round((height - size) * self.top / (count - height))
        return _THUMB if start <= y - 1 < start + size else _TRACK


def _cell(place: Placed[R], record: R, scene: Scene) -> Line:
    """What one column says, exactly as wide as its place, with the gap before it."""
    cell = place.column.text(record, scene, place.width)
    if len(cell) == 1:
        text, token = cell[0]
        line: Line = ((fmt.fit(text, place.width, right=place.column.right), token),)
    else:
        rest = place.width - sum(fmt.cell_len(text) for text, _ in cell)
        line = (*cell, (" " * rest, "text")) if rest > 0 else cell
    return ((" " * place.gap, "text"), *line) if place.gap else line


AnyTable = LineTable[Any]
