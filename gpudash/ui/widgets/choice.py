"""A short list to choose from, in a dialog: one line a choice, those that cannot be had with their reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from gpudash.ui.scene import Line
from gpudash.ui.widgets.paint import Painted


@dataclass(frozen=True)
class Choice:
    """One line."""

    id: str
    line: Line
    reason: str | None = None
    """Why it cannot be chosen."""


class ChoiceList(Painted, can_focus=True):
    """Up, Down and Enter, or the mouse."""

    ground = "surface"
    DEFAULT_CSS = "ChoiceList { height: auto; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("enter,space", "choose", "choose", show=False),
    ]

    class Chosen(Message):
        """Enter or a click on a choice."""

        def __init__(self, choice: Choice) -> None:
            super().__init__()
            self.choice = choice

    class Moved(Message):
        """The cursor is on another choice."""

        def __init__(self, choice: Choice) -> None:
            super().__init__()
            self.choice = choice

    def __init__(self, choices: Sequence[Choice], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.choices = list(choices)
        self.index = next((number for number, choice in enumerate(choices) if choice.reason is None), 0)
        self.styles.height = len(self.choices)

    @property
    def choice(self) -> Choice:
        return self.choices[self.index]

    def line_at(self, y: int) -> tuple[Line, str]:
        if y >= len(self.choices):
            return (), self.ground
        choice = self.choices[y]
        here = y == self.index
        bar = (("▸ " if here else "  ", "mark"),)
        line = choice.line
        if choice.reason is not None:
            line = tuple((text, "muted") for text, _ in line)
        return (*bar, *line), "cursor" if here else self.ground

    def action_move(self, step: int) -> None:
        self.index = (self.index + step) % len(self.choices)
        self.update_lines()
        self.post_message(self.Moved(self.choice))

    def action_choose(self) -> None:
        self.post_message(self.Chosen(self.choice))

    def on_click(self, event: events.Click) -> None:
        if event.y < len(self.choices):
            self.index = event.y
            self.update_lines()
            self.post_message(self.Moved(self.choice))
            self.action_choose()
