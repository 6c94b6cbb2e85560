"""What all dialogs share: a small box over the screen that goes on living below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, cast

from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.widget import Widget

from gpudash.ui import format as fmt
from gpudash.ui.glyphs import to_ascii
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.dimmed import Dimmed
from gpudash.ui.widgets.paint import Painted, PaintedBlock

if TYPE_CHECKING:
    from gpudash.ui.app import GpudashApp

Answer = TypeVar("Answer")


class Lines(PaintedBlock):
    """Lines inside a box, made anew in every beat."""

    ground = "surface"
    DEFAULT_CSS = "Lines { height: auto; }"

    def __init__(self, make: Callable[[Scene, int], Sequence[Line]], *, height: int, id: str | None = None) -> None:
        super().__init__(id=id)
        self._make = make
        self.styles.height = height

    def compose_lines(self, scene: Scene, width: int, height: int) -> list[Line]:
        return list(self._make(scene, width))[:height]


class Dialog(Dimmed[Answer], Generic[Answer]):
    """Answers by `dismiss`; Esc answers None."""

    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back", show=False),
        Binding("ctrl+c,ctrl+q", "app.quit", "quit", show=False),
        Binding("tab,down", "app.focus_next", "next", show=False),
        Binding("shift+tab,up", "app.focus_previous", "previous", show=False),
    ]

    @property
    def gpudash(self) -> GpudashApp:
        """The app, by its own type."""
        return cast("GpudashApp", self.app)

    def begin_at(self, widget: Widget) -> None:
        """Where the focus is when it opens. At once, so that it comes in the first frame; `focus()` asks for a second."""
        self.set_focus(widget, scroll_visible=False)

    def words(self, text: str) -> str:
        """Text for a border: no markup of others, no character this terminal lacks."""
        text = fmt.clean(text).replace("[", "\\[")
        return to_ascii(text) if self.gpudash.options.ascii_only else text

    def dismiss(self, result: Answer | None = None) -> AwaitComplete:
        """Answer once. A second Enter that was on its way already answers nothing, and closes no other screen."""
        return super().dismiss(result) if self.app.screen is self else AwaitComplete()

    def action_back(self) -> None:
        self.dismiss(None)

    def redraw(self) -> None:
        """Draw what depends on the clock or on what was typed."""
        for widget in self.query(Painted):
            widget.update_lines()
