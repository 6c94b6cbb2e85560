"""The line in which a filter is typed. It filters with every key; Enter keeps it, Esc clears it."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input

from gpudash.ui.scene import Line, Scene, Span
from gpudash.ui.widgets.paint import PaintedBlock


class _Side(PaintedBlock):
    ground = "panel"

    def __init__(self, line: Line, *, classes: str) -> None:
        super().__init__(classes=classes)
        self.line: Line = line

    def compose_lines(self, scene: Scene, width: int, height: int) -> list[Line]:
        cells = sum(len(text) for text, _ in self.line)
        return [((" " * max(0, width - cells - 1), "text"), *self.line)]


class FilterBar(Horizontal):
    """``/ h100 <3            14 of 212``."""

    DEFAULT_CSS = """
    FilterBar { height: 1; background: $ground-panel; }
    FilterBar .lead { width: 3; }
    FilterBar Input { width: 1fr; }
    FilterBar .count { width: 30; max-width: 50%; }
    FilterBar .count.-problem { width: 46; }
    """

    class Changed(Message):
        """Another filter was typed."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Done(Message):
        """Enter: the filter stands."""

    class Cleared(Message):
        """Esc: no filter any more."""

    class Moved(Message):
        """An arrow or page key was pressed while typing; it is meant for the rows."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, text: str = "", *, placeholder: str = "", id: str | None = None) -> None:
        super().__init__(id=id)
        self.input = Input(text, placeholder=placeholder, select_on_focus=False)
        self.input.cursor_blink = False
        self._late_at = len(text)
        self._side = _Side((), classes="count")

    def compose(self) -> ComposeResult:
        yield _Side((("/", "key"),), classes="lead")
        yield self.input
        yield self._side

    @property
    def text(self) -> str:
        return self.input.value

    @text.setter
    def text(self, value: str) -> None:
        self.input.value = value

    def focus_input(self) -> None:
        self._late_at = self.input.cursor_position
        self.input.focus()

    def put_late(self, letter: str) -> None:
        """A letter typed while this was opening, that comes only now: it goes before those typed after it."""
        cursor = self.input.cursor_position
        self.input.insert(letter, self._late_at)
        self._late_at += len(letter)
        self.input.cursor_position = cursor + len(letter)

    def show_count(self, shown: int, total: int, problem: str | None, note: str = "") -> None:
        """How many rows are left, or what of the filter was not understood."""
        span: Span = (problem, "tone-warn") if problem else (f"{shown} of {total}{note}", "muted")
        self._side.line = (span,)
        self._side.set_class(problem is not None, "-problem")
        self._side.update_lines()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Done())

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape":
            event.stop()
            self.post_message(self.Cleared())
        elif event.key in ("up", "down", "pageup", "pagedown"):
            event.stop()
            self.post_message(self.Moved(event.key))
