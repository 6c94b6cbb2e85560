"""The command palette: type a few letters of what you want. A theme is put on while the cursor is on its line, and
taken off again if you go on or leave by Esc.
"""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input

from gpudash.ui import commands
from gpudash.ui import format as fmt
from gpudash.ui.commands import Command, Found
from gpudash.ui.scene import Line, Scene, Span
from gpudash.ui.screens.dialog import Dialog, Lines
from gpudash.ui.widgets.paint import Painted

PREVIEW_AFTER_S = 0.06
"""The cursor must rest that long on a theme, so that passing a dozen does not put on a dozen."""
MOST_LINES = 20
_KEY_WIDTH, _LABEL_WIDTH = 9, 26


class CommandLines(Painted):
    """The commands that fit; the cursor is moved by the keys of the palette, or by the mouse."""

    ground = "surface"

    class Clicked(Message):
        """A command was clicked."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Found] = []
        self.index = 0
        self.top = 0

    @property
    def command(self) -> Command | None:
        """The one under the cursor."""
        return self.found[self.index].command if self.found else None

    def show(self, found: list[Found]) -> None:
        self.found, self.index, self.top = found, 0, 0
        self.styles.height = max(1, min(len(found), self.app.size.height - 12, MOST_LINES))
        self.update_lines()

    def move(self, step: int) -> None:
        """Up and down by one goes round at the ends; by a page it stops there."""
        if not self.found:
            return
        last = len(self.found) - 1
        if abs(step) == 1:
            self.index = (self.index + step) % (last + 1)
        else:
            self.index = max(0, min(last, self.index + step))
        height = max(1, self.size.height)
        self.top = max(self.index - height + 1, min(self.top, self.index))
        self.update_lines()

    def line_at(self, y: int) -> tuple[Line, str]:
        number = self.top + y
        if number >= len(self.found):
            return ((("  Nothing has that name.", "muted"),) if y == 0 and not self.found else ()), self.ground
        return _line(self.found[number], number == self.index, self.size.width)

    def on_click(self, event: events.Click) -> None:
        if self.top + event.y < len(self.found):
            self.move(self.top + event.y - self.index if self.top + event.y != self.index else 0)
            self.post_message(self.Clicked())

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.move(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.move(-3)


class Palette(Dialog[Command]):
    """Answers the command that was chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "up", show=False),
        Binding("down,tab", "move(1)", "down", show=False),
        Binding("pageup", "move(-10)", "page up", show=False),
        Binding("pagedown", "move(10)", "page down", show=False),
        Binding("ctrl+home", "move(-100000)", "first", show=False),
        Binding("ctrl+end", "move(100000)", "last", show=False),
    ]
    DEFAULT_CSS = """
    Palette .box { margin: 2 0 0 0; }
    Palette Input { margin: 0 0 1 0; }
    """

    def __init__(self, known: list[Command]) -> None:
        super().__init__()
        self._known = known
        self._rests = 0

    def compose(self) -> ComposeResult:
        self._worn = self.gpudash.look.name
        with Vertical(classes="box -wide") as box:
            box.border_title = self.words("What shall be done?")
            box.border_subtitle = self.words("Enter does it · Esc leaves it")
            field = Input(placeholder="a verb, a screen, an instance, a theme", select_on_focus=False)
            field.cursor_blink = False
            yield field
            yield CommandLines()
            yield Lines(self._count, height=1)

    def on_mount(self) -> None:
        self.begin_at(self.query_one(Input))
        self._lines.show(commands.find(self._known, ""))

    @property
    def _lines(self) -> CommandLines:
        return self.query_one(CommandLines)

    def _count(self, scene: Scene, width: int) -> list[Line]:
        """How many there are; before that, the words of the chosen one where its own line has no room for them."""
        found = len(self._lines.found)
        text = f"{found} of {len(self._known)}" if found != len(self._known) else fmt.plural(found, "command")
        command = self._lines.command
        about = "" if command is None else fmt.clean(command.about())
        if fmt.cell_len(about) <= width - _KEY_WIDTH - _LABEL_WIDTH - 3:
            about = ""
        about = fmt.fit(about, max(0, width - len(text) - 3))
        return [((f" {about} ", "text"), (text, "muted"))]

    def on_input_changed(self, event: Input.Changed) -> None:
        self._lines.show(commands.find(self._known, event.value))
        self._moved()

    def on_input_submitted(self) -> None:
        self._choose()

    def on_command_lines_clicked(self) -> None:
        self._choose()

    def action_move(self, step: int) -> None:
        self._lines.move(step)
        self._moved()

    def _moved(self) -> None:
        self.redraw()
        self._rests += 1
        self.set_timer(PREVIEW_AFTER_S, lambda number=self._rests: self._preview(number))

    def _preview(self, number: int) -> None:
        if number != self._rests:
            return
        command = self._lines.command
        self._wear(command.theme if command and command.theme else self._worn)

    def _wear(self, theme: str) -> None:
        if self.gpudash.look.name != theme:
            self.gpudash.use_theme_named(theme)

    def _choose(self) -> None:
        command = self._lines.command
        if command is None:
            return
        self._rests += 1
        if command.theme is None:
            self._wear(self._worn)
        self.dismiss(command)

    def action_back(self) -> None:
        self._rests += 1
        self._wear(self._worn)
        self.dismiss(None)


def _line(found: Found, here: bool, width: int) -> tuple[Line, str]:
    command, off = found.command, found.command.reason is not None
    spans: list[Span] = [("▸ " if here else "  ", "mark")]
    spans.append((fmt.fit(command.key, _KEY_WIDTH), "key-off" if off else "key"))
    label = fmt.clean(command.label)
    shown = fmt.fit(label, min(_LABEL_WIDTH, max(8, width - _KEY_WIDTH - 3)))
    if found.places and label == command.label and not off:
        for number, letter in enumerate(shown):
            spans.append((letter, "sorted" if number in found.places else "value"))
    else:
        spans.append((shown, "muted" if off else "value"))
    spans.append((f" {fmt.clean(command.about())}", "muted"))
    return tuple(spans), "cursor" if here else "surface"
