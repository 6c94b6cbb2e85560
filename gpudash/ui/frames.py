"""When a frame is drawn: at once after the key or the beat that changed something, and all of it together.

Textual lets every changed widget tell the screen by messages of its own, and the screen draws with the next stroke of a
timer: what one key changes in three widgets costs a dozen messages and comes in two frames, the second of them up to
two strokes late. Widgets that know which of their lines differ ask here instead.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from textual.screen import Screen
from textual.widget import Widget

if TYPE_CHECKING:
    from gpudash.ui.app import GpudashApp

FRAME_S = 1 / 240
"""Least seconds from one frame to the next."""


class Frames:
    """Draws what is wanted with the next turn of the loop; a burst of wishes is a frame each 4 ms."""

    def __init__(self, app: GpudashApp) -> None:
        self._app = app
        self._screens: set[Screen[Any]] = set()
        self._waiting: asyncio.TimerHandle | None = None
        self._last = 0.0

    def want(self, widget: Widget) -> None:
        """Draw the regions that this widget has marked as dirty."""
        screen = widget.screen
        screen._dirty_widgets.add(widget)
        self._screens.add(screen)
        if self._waiting is None:
            loop = asyncio.get_running_loop()
            self._waiting = loop.call_at(self._last + FRAME_S, self._draw)

    def _draw(self) -> None:
        self._waiting = None
        screens, self._screens = self._screens, set()
        self._last = asyncio.get_running_loop().time()
        for screen in screens:
            # A message that waits for its turn may take the screen away; what it shows now is drawn with the next one.
            if screen.is_running and screen.is_attached:
                with screen._context():
                    try:
                        screen._on_timer_update()
                    except Exception as exc:  # the loop would only note it, and the screen would stand still
                        self._app._handle_exception(exc)
