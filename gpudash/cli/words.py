"""How values read in plain text: unknown is ``?``, estimates start with ``~``, what does not apply is ``–``. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from gpudash.model.money import Amount, Price, cents

UNKNOWN = "?"
NOT_APPLICABLE = "–"


def price(value: Price | None) -> str:
    """USD an hour: ``2.49``, ``~0.031``, ``?``. Small prices keep the digits that make them more than zero."""
    return UNKNOWN if value is None else ("~" if value.estimated else "") + digits(value.usd_per_hour)


def digits(usd: Decimal) -> str:
    """At least two decimals; below ten cents as many as show two figures."""
    if usd == 0 or abs(usd) >= Decimal("0.1"):
        return f"{cents(usd)}"
    places = min(6, max(2, 1 - usd.adjusted()))
    return f"{usd:.{places}f}"


def amount(value: Amount | None) -> str:
    """A sum: ``$48.30``, ``~$0.04``, ``>$1.20`` where a part has no price, ``?`` where none has."""
    if value is None:
        return NOT_APPLICABLE
    if value.known is None:
        return UNKNOWN
    return (">" if value.unknown else "~" if value.estimated else "") + f"${cents(value.usd):,}"


def rate(value: Amount) -> str:
    """A sum an hour: ``$27.83/h``."""
    if value.known is None:
        return UNKNOWN
    return (">" if value.unknown else "~" if value.estimated else "") + f"${digits(value.usd)}/h"


def length(value: timedelta | None) -> str:
    """A length for people, in its two largest units: ``1h14m``, ``3d4h``, ``42s``."""
    if value is None:
        return NOT_APPLICABLE
    rest = int(value.total_seconds())
    if rest < 0:
        return "-" + length(-value)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
        if len(parts) == 2 or (parts and unit == "m"):
            break
    return "".join(parts) or "0s"


def age(moment: datetime | None, now: datetime) -> str:
    """How long ago: ``4s ago``; ``never`` for None."""
    return "never" if moment is None else f"{length(max(now - moment, timedelta(0)))} ago"


def when(moment: datetime, now: datetime) -> str:
    """Local time, with the day where it is another one: ``14:14``, ``Mar 02 14:14``."""
    here, today = moment.astimezone(), now.astimezone()
    return f"{here:%H:%M}" if here.date() == today.date() else f"{here:%b %d %H:%M}"


def gpus(count: int | None, name: str | None, vram_gb: int | None) -> str:
    """``8×H100 80G``; ``?`` for what nobody told."""
    if count == 0:
        return "no GPU"
    if name is None:
        return UNKNOWN
    text = f"{UNKNOWN if count is None else count}×{name}"
    return text if vram_gb is None else f"{text} {vram_gb}G"


def width(text: str) -> int:
    """Terminal cells that a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def printable(text: str) -> str:
    """The text without control characters, so that a name from a cloud cannot steer the terminal."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "·" for char in text)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """Aligned lines, two spaces between columns; columns in `right` end at their right edge."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(titles, *cells, strict=True)]

    def draw(row: Sequence[str]) -> str:
        parts = []
        for index, (cell, size) in enumerate(zip(row, widths, strict=True)):
            room = " " * (size - width(cell))
            parts.append(room + cell if index in right else cell + room)
        return "  ".join(parts).rstrip()

    return [draw(titles), *map(draw, cells)]
