"""From spans to strips: the one place where tokens meet the theme and the terminal's character set."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from rich.cells import cell_len
from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from gpudash.ui import format as fmt
from gpudash.ui.glyphs import to_ascii
from gpudash.ui.scene import Line, Scene
from gpudash.ui.themes import ThemeFile

if TYPE_CHECKING:
    from gpudash.ui.app import GpudashApp


T = TypeVar("T")
_NOWHERE = sys.maxsize


class Painter:
    """Draws lines in one theme."""

    def __init__(self, theme: ThemeFile, *, ascii_only: bool) -> None:
        self.theme = theme
        self.ascii_only = ascii_only

    def strip(self, line: Line, width: int, ground: str) -> Strip:
        """A strip of exactly `width` cells; neighbours of one look become one segment."""
        style_of = self.theme.style
        segments: list[Segment] = []
        left = width
        run, run_style = "", None
        for text, token in line:
            if left <= 0:
                break
            if self.ascii_only:
                text = to_ascii(text)
            elif not text.isprintable():
                text = fmt.clean(text)
            cells = len(text) if text.isascii() else cell_len(text)
            if cells > left:
                text, cells = fmt.fit(text, left), left
                text = to_ascii(text) if self.ascii_only else text
            left -= cells
            style = style_of(token, ground)
            if style is run_style:
                run += text
            else:
                if run:
                    segments.append(Segment(run, run_style))
                run, run_style = text, style
        rest = style_of("text", ground)
        if run_style is rest:
            segments.append(Segment(run + " " * left, rest))
        else:
            if run:
                segments.append(Segment(run, run_style))
            if left > 0:
                segments.append(Segment(" " * left, rest))
        return Strip(segments, width)


class Painted(Widget):
    """A widget that is lines of spans. It compares what it would draw with what it drew, and refreshes the difference.

    Subclasses answer `line_at(y)`; `update_lines()` is called whenever something may have changed.
    """

    ground: ClassVar[str] = "background"
    """What it stands on by default."""
    ALLOW_SELECT = False

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._drawn: list[tuple[Line, str]] = []
        self._strips: list[Strip | None] = []
        self._kept: dict[tuple[Line, str], Strip] = {}
        """Strips by what they say: a line that comes back, as all do when a table scrolls, is not made anew."""
        self._shifted = _NOWHERE
        """The first line that stands elsewhere now, though it may say what it said."""
        self._width = self._height = 0
        self._painter: Painter | None = None
        self.lines_drawn = 0
        """Lines turned into strips so far; tests count it."""
        self.refreshes = 0
        """Regions asked to be drawn so far; tests count it."""

    @property
    def gpudash(self) -> GpudashApp:
        """The app, by its own type."""
        return cast("GpudashApp", self.app)

    @property
    def painter(self) -> Painter:
        if self._painter is None:
            self._painter = self.gpudash.painter
        return self._painter

    def scene(self) -> Scene:
        """The moment all lines of this beat are drawn for."""
        return self.gpudash.scene

    def line_at(self, y: int) -> tuple[Line, str]:
        """What stands on line `y` of the widget, and the ground under it."""
        raise NotImplementedError

    def update_lines(self) -> int:
        """Draw again what differs from what was drawn; how many lines that is."""
        self._measure()
        height = self._height
        if len(self._drawn) != height or not self.is_attached:
            self._forget(height)
            self.refresh()
            return height
        dirty: list[int] = []
        drawn, strips = self._drawn, self._strips
        shifted, self._shifted = self._shifted, _NOWHERE
        for y in range(height):
            new = self.line_at(y)
            old = drawn[y]
            if new is old or (new[0] is old[0] and new[1] == old[1]):
                if y >= shifted:
                    dirty.append(y)
                continue
            if new != old:
                drawn[y] = new
                strips[y] = None
                dirty.append(y)
            elif y >= shifted:
                dirty.append(y)
        if dirty:
            self._refresh_lines(dirty)
        return len(dirty)

    def shift_lines(self, first: int, step: int) -> None:
        """What was drawn from line `first` on stands `step` lines higher; the next `update_lines` draws all of them."""
        if 0 < abs(step) < len(self._drawn) - first:
            nothing: tuple[Line, str] = ((), "")
            self._drawn[first:] = _shifted(self._drawn[first:], step, nothing)
            self._strips[first:] = _shifted(self._strips[first:], step, None)
            self._shifted = first

    def update_line(self, y: int) -> None:
        """The same for one line."""
        self._measure()
        if 0 <= y < len(self._drawn):
            new = self.line_at(y)
            old = self._drawn[y]
            if new != old:
                self._drawn[y] = new
                self._strips[y] = None
                self._refresh_lines([y])

    def render_lines(self, crop: Region) -> list[Strip]:
        self._measure()
        width, height = self._width, self._height
        if len(self._drawn) != height:
            self._forget(height)
        strips = [self._strip(y, width) if y < height else Strip.blank(width) for y in range(crop.y, crop.bottom)]
        if crop.x == 0 and crop.width == width:
            return strips
        return [strip.crop(crop.x, crop.right) for strip in strips]

    def render_line(self, y: int) -> Strip:
        return self.render_lines(Region(0, y, self.size.width, 1))[0]

    def notify_style_update(self) -> None:
        self._painter = None
        self._kept.clear()
        self._strips = [None] * len(self._strips)
        super().notify_style_update()

    def on_resize(self) -> None:
        self._forget(self.size.height)

    def repaint(self) -> None:
        """Draw every line anew, as after a theme or a terminal came back."""
        self._painter = None
        self._kept.clear()
        self._forget(self.size.height)
        self.refresh()

    def _measure(self) -> None:
        """Ask for the size once a paint: it is slow to ask for, and every line needs it."""
        width, height = self.size
        if (width, height) != (self._width, self._height):
            self._width, self._height = width, height
            self._size_changed()

    def _size_changed(self) -> None:
        """Lines are made for another size from now on."""
        self._kept.clear()

    def _forget(self, height: int) -> None:
        self._drawn = [((), "")] * height
        self._strips = [None] * height

    def _strip(self, y: int, width: int) -> Strip:
        strip = self._strips[y]
        if strip is None or strip.cell_length != width:
            line, ground = self._drawn[y]
            if not ground:
                line, ground = self._drawn[y] = self.line_at(y)
            strip = self._kept.get((line, ground))
            if strip is None:
                if len(self._kept) > 2 * len(self._strips):
                    self._kept.clear()
                strip = self._kept[line, ground] = self.painter.strip(line, width, ground)
            self._strips[y] = strip
            self.lines_drawn += 1
        return strip

    def _refresh_lines(self, dirty: Sequence[int]) -> None:
        """One refresh; neighbouring lines are one region. Which of their cells differ is seen when they are written."""
        width = self._width
        regions: list[Region] = []
        first = last = dirty[0]
        for y in dirty[1:]:
            if y != last + 1:
                regions.append(Region(0, first, width, last - first + 1))
                first = y
            last = y
        regions.append(Region(0, first, width, last - first + 1))
        self.refreshes += len(regions)
        self._set_dirty(*regions)
        self.gpudash.frames.want(self)


class PaintedBlock(Painted):
    """Lines that are made all at once by one function of the scene, such as the strip and the details."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: list[Line] = []
        self._made_for: Scene | None = None

    def compose_lines(self, scene: Scene, width: int, height: int) -> list[Line]:
        """All lines from the top."""
        raise NotImplementedError

    def line_at(self, y: int) -> tuple[Line, str]:
        scene = self.scene()
        if scene is not self._made_for:
            self._made_for = scene
            self._lines = self.compose_lines(scene, self._width, self._height)
        return (self._lines[y] if y < len(self._lines) else (), self.ground)

    def update_lines(self) -> int:
        self._made_for = None
        return super().update_lines()

    def repaint(self) -> None:
        self._made_for = None
        super().repaint()

    def _size_changed(self) -> None:
        super()._size_changed()
        self._made_for = None


def _shifted(lines: list[T], step: int, nothing: T) -> list[T]:
    """The same lines `step` places nearer to the front, and nothing where there is none."""
    gap = [nothing] * abs(step)
    return [*lines[step:], *gap] if step > 0 else [*gap, *lines[:step]]
