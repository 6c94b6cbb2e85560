"""A word for terminals too small to show anything that could be trusted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from gpudash.ui import format as fmt
from gpudash.ui.actions import bindings
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.base import Living
from gpudash.ui.widgets.paint import PaintedBlock


class _Word(PaintedBlock):
    DEFAULT_CSS = "_Word { height: 1fr; width: 1fr; }"

    def compose_lines(self, scene: Scene, width: int, height: int) -> list[Line]:
        from gpudash.ui.app import LEAST_SIZE

        wide, high = LEAST_SIZE
        text = f"This terminal is {width}×{height}; gpudash needs {wide}×{high}. "
        text += "Make it larger, or q to leave. Nothing is lost."
        words: Iterable[str] = fmt.wrap(text, max(8, width - 2))
        return [(), *(((" " + line, "tone-warn"),) for line in words)][: height or 1]


class TooSmall(Living):
    """Goes by itself when the terminal grows."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("fleet", only=("quit", "suspend_process"))]

    def compose(self) -> ComposeResult:
        yield _Word()
