"""A page of lines that scrolls: help and the page of one instance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from gpudash.ui.scene import Line, Scene
from gpudash.ui.widgets.paint import Painted


class Page(Painted, can_focus=True):
    """Lines made anew in every beat; only those that differ are drawn."""

    DEFAULT_CSS = "Page { height: 1fr; width: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_lines(-1)", "up", id="page.up", show=False),
        Binding("down,j", "scroll_lines(1)", "down", id="page.down", show=False),
        Binding("pageup,ctrl+b", "scroll_lines(-20)", "page up", id="page.page_up", show=False),
        Binding("pagedown,ctrl+f,space", "scroll_lines(20)", "page down", id="page.page_down", show=False),
        Binding("home,g", "scroll_lines(-100000)", "top", id="page.top", show=False),
        Binding("end,G", "scroll_lines(100000)", "end", id="page.end", show=False),
    ]

    class Scrolled(Message):
        """Other lines are shown now."""

    def __init__(self, make: Callable[[Scene, int], Sequence[Line]], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._make = make
        self._lines: list[Line] = []
        self._made_for: tuple[object, ...] = ()
        self.top = 0

    @property
    def below(self) -> int:
        """Lines that are hidden below the last one shown."""
        return max(0, len(self._lines) - self.size.height - self.top)

    def line_at(self, y: int) -> tuple[Line, str]:
        width = self.size.width
        made_for = (self.scene(), width)
        if made_for != self._made_for:
            self._made_for = made_for
            self._lines = list(self._make(self.scene(), width))
            self.top = max(0, min(self.top, len(self._lines) - self.size.height))
        number = self.top + y
        return (self._lines[number] if number < len(self._lines) else ()), self.ground

    def update_lines(self) -> int:
        self._made_for = ()
        return super().update_lines()

    def action_scroll_lines(self, lines: int) -> None:
        self.top = max(0, min(self.top + lines, len(self._lines) - self.size.height))
        self.update_lines()
        self.post_message(self.Scrolled())

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.action_scroll_lines(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.action_scroll_lines(-3)
