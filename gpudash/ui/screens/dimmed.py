"""What stands behind a dialog, darkened: Textual tints ten thousand cells anew at every key, here each line is tinted once.

A table goes on living below its dialogs, so each of its lines is looked at in every frame; one that is the same strip as
before is the same dimmed strip. The colours are those that Textual would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual._context import visible_screen_stack
from textual.color import Color
from textual.geometry import Region
from textual.renderables.background_screen import BackgroundScreen
from textual.screen import ModalScreen
from textual.strip import Strip

Answer = TypeVar("Answer")

MOST_STRIPS = 400
"""Dimmed lines that are remembered."""


class Dimmer:
    """Lays a translucent colour over strips."""

    def __init__(self, color: Color) -> None:
        self.color = color
        self._styles: dict[Style | None, Style] = {}
        self._strips: dict[int, tuple[Strip, Strip]] = {}

    def line(self, strips: Sequence[Strip]) -> Strip:
        """A line that is made of several, as one."""
        dimmed = [self.strip(strip) for strip in strips]
        return dimmed[0] if len(dimmed) == 1 else Strip.join(dimmed)

    def strip(self, strip: Strip) -> Strip:
        """The same strip dimmed; for the same strip the same object."""
        known = self._strips.get(id(strip))
        if known is not None and known[0] is strip:
            return known[1]
        dimmed = Strip([Segment(text, self._style(style)) for text, style, _ in strip], strip.cell_length)
        if len(self._strips) > MOST_STRIPS:
            self._strips.clear()
        self._strips[id(strip)] = strip, dimmed
        return dimmed

    def _style(self, style: Style | None) -> Style:
        known = self._styles.get(style)
        if known is None:
            (segment,) = BackgroundScreen.process_segments([Segment(" ", style)], self.color)
            known = self._styles[style] = segment.style or Style()
        return known


class Dimmed(ModalScreen[Answer], Generic[Answer]):
    """A screen that shows the one below it through its own background."""

    _dimmer: Dimmer | None = None

    def _on_screen_resume(self, event: events.ScreenResume) -> None:
        """Come up in one frame. Textual would apply the styles that the mount has applied, and draw all of it three times:
        once laid out, once because it is the top screen now, and once because the screen below was asked to refresh.
        """
        size = self.app.size
        if not self.is_attached or self._size == size:
            return
        event.prevent_default()
        self.stack_updates += 1
        self.app._refresh_notifications()
        self._update_auto_focus()
        for screen in (self, *self.app._background_screens):  # the layout draws all there is
            screen._repaint_required = False
            screen._dirty_widgets.discard(screen)
            screen._compositor._dirty_regions.clear()
        self._refresh_layout(size)

    def render_lines(self, crop: Region) -> list[Strip]:
        color, below = self.styles.background, visible_screen_stack.get([])
        if not below or below[-1] is self or color.a >= 1:
            return super().render_lines(crop)
        if self._dimmer is None or self._dimmer.color != color:
            self._dimmer = Dimmer(color)
        compositor = below.pop()._compositor
        lines = compositor._render_chops(compositor.size.region, lambda _: True)
        strips = [self._dimmer.line(list(line.values())) for line in lines[crop.y : crop.bottom]]
        strips += [Strip.blank(crop.width)] * (crop.height - len(strips))
        return strips if crop.x == 0 else [strip.crop(crop.x, crop.right) for strip in strips]
