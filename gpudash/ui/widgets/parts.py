"""The line that names the parts of a page; a click on one opens it."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.message import Message

from gpudash.ui.scene import Line, Scene
from gpudash.ui.widgets.paint import PaintedBlock


class PartsLine(PaintedBlock):
    """``1▸overview  2 signals  3 timeline``."""

    ground = "surface"
    DEFAULT_CSS = "PartsLine { height: 1; }"

    class Chosen(Message):
        """A part was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.current = self.names[0]
        self._places: list[tuple[int, int, str]] = []

    def show(self, name: str) -> None:
        """That part is on the page now."""
        self.current = name
        self.update_lines()

    def compose_lines(self, scene: Scene, width: int, height: int) -> list[Line]:
        gap = 1 if width < 76 else 3
        line: list[tuple[str, str]] = [(" ", "text")]
        self._places, x = [], 1
        for number, name in enumerate(self.names, 1):
            here = name == self.current
            line += [
                (str(number), "key"),
                ("▸" if here else " ", "accent"),
                (name, "title" if here else "muted"),
                (" " * gap, "text"),
            ]
            self._places.append((x, x + 2 + len(name), name))
            x += 2 + len(name) + gap
        return [tuple(line)]

    def on_click(self, event: events.Click) -> None:
        event.stop()
        for start, end, name in self._places:
            if start <= event.x < end:
                self.post_message(self.Chosen(name))
