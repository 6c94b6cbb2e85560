"""The moment and the place a line is drawn for, and the words drawn: spans of text, each with the name of its look."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple

Span = tuple[str, str]
"""Text, and the token that gives it its look."""
Line = tuple[Span, ...]
"""One line, left to right."""


class Scene(NamedTuple):
    """What every text is computed from beside its record."""

    now: datetime
    zone: tzinfo | None = None
    """The person's time zone; None is the machine's."""
    speed: float = 1.0
    """Seconds of `now` that pass in one real second; not 1 on a sandbox that hurries."""

    def real(self, span: timedelta) -> timedelta:
        """A span of the clock as a person waits for it: cadences, holds and back-offs are real seconds."""
        return span if self.speed == 1.0 else span / self.speed


def plain(line: Line) -> str:
    """The words of a line without their looks."""
    return "".join(text for text, _ in line)
