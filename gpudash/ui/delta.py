"""What the terminal shows, and the fewest bytes that make it show something else.

Textual writes every changed line from its first cell, with a whole escape code and a reset around each word. Here the
last frame is remembered by line; of a new one only the cells that differ are written, and of their looks only what is
another than that of the cell before. Lines that only moved are moved by the terminal. A second of a busy fleet is a
tenth of the bytes, which counts over SSH, and nothing at all where no cell differs.

The frame is forgotten (`forget`) whenever somebody else may have written to the terminal: a resize, a child program,
a way back from the background.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

T = TypeVar("T")
Piece = tuple[str, str]
"""Text, and the numbers of its SGR code."""
_RESET = "\x1b[m"
MANY_LINES = 8
"""From so many changed lines on it is worth a look whether they only moved."""
STEPS = (1, -1, 3, -3)
"""How far a key and the wheel scroll."""
KNOWN_STRIPS = 200
"""Lines whose words are remembered beyond those on screen, for tables that scroll."""


class Shown:
    """The frame that stands on the terminal."""

    def __init__(self) -> None:
        self._strips: dict[int, tuple[Strip | None, ...]] = {}
        """By line, what it was made of; only where all of it is known."""
        self._lines: dict[int, tuple[list[Piece], int]] = {}
        """By line, its words and looks with its length; only where each character takes one cell."""
        self._known: dict[int, tuple[Strip, list[Piece], bool]] = {}
        """By identity of a strip, its words and looks, and whether each character takes one cell."""
        self._codes: dict[Style | None, str] = {None: ""}

    def forget(self) -> None:
        """Nothing is known of what stands there: whatever comes next is written whole."""
        self._strips.clear()
        self._lines.clear()
        self._known.clear()

    def bytes_for(self, update: CompositorUpdate, colors: ColorSystem | None) -> str | None:
        """What to write so that the update is on screen, nothing where it is; None for an update of another kind."""
        writer = _Writer()
        if isinstance(update, LayoutUpdate):
            if update.region.x:
                return None
            frame = [tuple(strips) for strips in update.strips]
            if any(None in strips for strips in frame):
                # In the middle of a resize: what was not drawn comes with the next frame, which is written whole.
                self.forget()
            for y, strips in enumerate(frame, update.region.y):
                if None not in strips:
                    self._show(writer, y, strips, None, colors)
        elif isinstance(update, ChopsUpdate):
            lines = sorted({y for y, _, _ in update.spans})
            if len(lines) >= MANY_LINES:
                self._scroll(writer, {y: tuple(update.chops[y].values()) for y in lines})
            for y in lines:
                chops: Mapping[int, Strip | None] = update.chops[y]
                cuts = tuple(zip(chops, update.chop_ends[y], strict=True))
                self._show(writer, y, tuple(chops.values()), cuts, colors)
        else:
            return None
        return writer.text()

    def _scroll(self, writer: _Writer, new: Mapping[int, tuple[Strip | None, ...]]) -> None:
        """Let the terminal itself move lines that only stand elsewhere, as when a table scrolls."""
        ys, old = list(new), self._strips
        probes = (ys[len(ys) // 4], ys[len(ys) // 2], ys[-len(ys) // 4])
        for step in STEPS:
            if sum(old.get(y + step) == new[y] != old.get(y) for y in probes if None not in new[y]) < 2:
                continue
            moved = [y for y in ys if None not in new[y] and old.get(y + step) == new[y]]
            first, last = min(moved[0], moved[0] + step), max(moved[-1], moved[-1] + step)
            if any(y not in new for y in range(first, last + 1)):
                return
            writer.scroll(first, last, step)
            _move(self._strips, first, last, step)
            _move(self._lines, first, last, step)
            return

    def _show(
        self,
        writer: _Writer,
        y: int,
        strips: tuple[Strip | None, ...],
        cuts: Sequence[tuple[int, int]] | None,
        colors: ColorSystem | None,
    ) -> None:
        """Write what differs on one line. A strip that is None was not drawn: there stands what stood there."""
        whole = None not in strips
        if whole and self._strips.get(y) == strips:
            return
        old = self._lines.pop(y, None)
        self._strips.pop(y, None)
        new: list[Piece] | None = []
        x = 0
        for number, strip in enumerate(strips):
            if cuts is not None:
                x, end = cuts[number]
            if strip is None:
                new = None if new is None or old is None else new + _cut(old[0], x, end)
                x = end
                continue
            pieces, is_plain = self._pieces(strip, colors)
            new = None if new is None or not is_plain else new + pieces if new else pieces
            x += strip.cell_length
        if whole:
            self._strips[y] = strips
        if new is not None:
            self._lines[y] = new, x
            if old is not None and old[1] == x:
                writer.differences(y, old[0], new)
                return
        x = 0
        for number, strip in enumerate(strips):
            if cuts is not None:
                x = cuts[number][0]
            if strip is not None:
                writer.write(y, x, self._pieces(strip, colors)[0])
                x += strip.cell_length

    def _pieces(self, strip: Strip, colors: ColorSystem | None) -> tuple[list[Piece], bool]:
        known = self._known.get(id(strip))
        if known is not None and known[0] is strip:
            return known[1], known[2]
        codes = self._codes
        pieces: list[Piece] = []
        is_plain = True
        for text, style, _ in strip:
            code = codes.get(style)
            if code is None:
                assert style is not None
                if len(codes) > 5000:
                    codes.clear()
                    codes[None] = ""
                code = codes[style] = Strip.render_ansi(style, colors or ColorSystem.TRUECOLOR)
            if text:
                pieces.append((text, code))
                is_plain = is_plain and (text.isascii() or _is_plain(text))
        if len(self._known) > KNOWN_STRIPS:
            self._known.clear()
        self._known[id(strip)] = strip, pieces, is_plain
        return pieces, is_plain


class _Writer:
    """Puts pieces at places, with the shortest way there and the shortest change of look."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._code = ""
        self._y = self._x = -1

    def text(self) -> str:
        if self._out and self._code:
            self._out.append(_RESET)
        return "".join(self._out)

    def write(self, y: int, x: int, pieces: Iterable[Piece]) -> None:
        out = self._out
        if y != self._y or x < self._x or self._x < 0:
            out.append(f"\x1b[{y + 1};{x + 1}H" if x else f"\x1b[{y + 1}H")
        elif x > self._x:
            out.append(f"\x1b[{x - self._x}C" if x - self._x > 1 else "\x1b[C")
        for text, code in pieces:
            if code != self._code:
                out.append(change_of_look(self._code, code))
                self._code = code
            out.append(text)
            x += len(text) if text.isascii() else cell_len(text)
        self._y, self._x = y, x

    def scroll(self, first: int, last: int, step: int) -> None:
        """Move those lines up by `step`, down where it is negative; what comes free is blank."""
        what = "M" if step > 0 else "L"
        self._out.append(f"\x1b[{first + 1};{last + 1}r\x1b[{first + 1}H\x1b[{abs(step)}{what}\x1b[r")
        self._y = self._x = -1

    def differences(self, y: int, old: list[Piece], new: list[Piece]) -> None:
        """Write those cells of a line that are others now; each character takes one cell."""
        shorter = min(len(old), len(new))
        first = x = 0
        while first < shorter and old[first] == new[first]:
            x += len(new[first][0])
            first += 1
        last = 0
        while last < shorter - first and old[-1 - last] == new[-1 - last]:
            last += 1
        before, after = old[first : len(old) - last], new[first : len(new) - last]
        was, was_code = before.pop(0) if before else ("", "")
        for text, code in after:
            while text:
                count = min(len(was), len(text))
                here, text = text[:count], text[count:]
                if code != was_code:
                    self.write(y, x, [(here, code)])
                elif here != was[:count]:
                    skip, stop = _bounds(was, here)
                    self.write(y, x + skip, [(here[skip:stop], code)])
                x += count
                was = was[count:]
                if not was and before:
                    was, was_code = before.pop(0)


class _Look(NamedTuple):
    attributes: frozenset[str]
    ink: str
    ground: str


@lru_cache(maxsize=4096)
def change_of_look(before: str, after: str) -> str:
    """The escape code that leads from one look to another, each given by the numbers of its SGR code."""
    was, now = _look(before), _look(after)
    if was.attributes - now.attributes or not after:
        return f"\x1b[0;{after}m" if after else _RESET
    parts = sorted(now.attributes - was.attributes, key=int)
    if now.ink != was.ink:
        parts.append(now.ink or "39")
    if now.ground != was.ground:
        parts.append(now.ground or "49")
    return f"\x1b[{';'.join(parts)}m" if parts else ""


def _look(code: str) -> _Look:
    attributes: set[str] = set()
    ink = ground = ""
    numbers = code.split(";") if code else []
    while numbers:
        number = numbers.pop(0)
        if number in ("38", "48"):
            count = 4 if numbers[0] == "2" else 2
            color = ";".join([number, *numbers[:count]])
            del numbers[:count]
        elif number in ("39", "49"):
            color = ""
        elif number[:-1] in ("3", "4", "9", "10"):
            color = number
        else:
            attributes.add(number)
            continue
        if number[0] == "3" or (number[0] == "9" and len(number) == 2):
            ink = color
        else:
            ground = color
    return _Look(frozenset(attributes), ink, ground)


@lru_cache(maxsize=4096)
def _is_plain(text: str) -> bool:
    """Whether each character takes one cell, so that its place in the text is its place on the line."""
    return all(cell_len(character) == 1 for character in text)


def _move(known: dict[int, T], first: int, last: int, step: int) -> None:
    """What is known of those lines is known of the lines `step` above; of what comes free nothing is."""
    there = {y: known.pop(y) for y in range(first, last + 1) if y in known}
    known.update({y - step: what for y, what in there.items() if first <= y - step <= last})


def _cut(pieces: Iterable[Piece], start: int, end: int) -> list[Piece]:
    cut: list[Piece] = []
    x = 0
    for text, code in pieces:
        here = text[max(0, start - x) : max(0, end - x)]
        if here:
            cut.append((here, code))
        x += len(text)
    return cut


def _bounds(was: str, now: str) -> tuple[int, int]:
    """From which character to which two texts differ; `now` is not the longer one, and they do differ."""
    start, stop = 0, len(now)
    while was[start] == now[start]:
        start += 1
    while was[stop - 1] == now[stop - 1]:
        stop -= 1
    return start, stop
