"""How values become words: money, times, gauges, sparklines. Pure, and of a width that does not change while it ticks.

Unknown is ``?`` where a figure should be, ``–`` where there is nothing to say; an estimate carries ``~``; a sum
with unknown parts ends in ``+?``. Nobody else in gpudash decides how a number looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache

from rich.cells import cell_len as cell_len
from rich.cells import set_cell_size

from gpudash.model.money import Amount, Price, cents

NOTHING = "–"
"""There is nothing to say here."""
UNKNOWN = "?"
"""There is a figure; nobody knows it."""

_SPARKS = "▁▂▃▄▅▆▇█"
_TEN_MINUTES = 600


def rate(price: Price | None, *, sign: str = "") -> str:
    """USD per hour: ``23.92``, ``~0.03``, ``?``. Prices under a cent keep what counts: ``0.004``."""
    if price is None:
        return UNKNOWN
    usd = price.usd_per_hour
    text = f"{usd.normalize():f}" if Decimal(0) < usd < Decimal("0.01") else f"{cents(usd):,.2f}"
    return f"{'~' if price.estimated else ''}{sign}{text}"


def money(amount: Amount | None) -> str:
    """A sum in dollars: ``$3.02``, ``~$3.02``, ``?``, ``$3.02+?`` where part of it is unknown; ``–`` for None."""
    if amount is None:
        return NOTHING
    if amount.known is None:
        return UNKNOWN
    usd = f"{cents(amount.usd):,.2f}" if amount.usd < 100_000 else f"{amount.usd:,.0f}"
    return f"{'~' if amount.estimated else ''}${usd}{'+?' if amount.unknown else ''}"


def usd_rate(amount: Amount) -> str:
    """A rate of money in dollars an hour."""
    return f"{money(amount)}/h"


def countdown(left: timedelta) -> str:
    """Time left, at most six wide: ``3d04h 2h41m 42m 9m07s 0m12s past``. Seconds count only in the last ten minutes."""
    seconds = int(left.total_seconds())
    if seconds < 0:
        return "past"
    if seconds < _TEN_MINUTES:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes:02d}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02d}h" if days < 100 else f"{days}d"


def length(span: timedelta) -> str:
    """A stretch of time in its largest unit, whole: ``4s 12m 3h 2d``."""
    seconds = max(0, int(span.total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size or (unit == "m" and seconds >= 100):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def short_length(span: timedelta) -> str:
    """A limit as people set it: ``30m``, ``4h``, ``1h30m``."""
    minutes = round(span.total_seconds() / 60)
    if minutes < 1:
        return f"{int(span.total_seconds())}s"
    hours, rest = divmod(minutes, 60)
    if not hours:
        return f"{rest}m"
    return f"{hours}h{rest}m" if rest else f"{hours}h"


def local(moment: datetime, zone: tzinfo | None) -> datetime:
    """The moment on the person's wall; None is the machine's own zone."""
    return moment.astimezone(zone)


def clock(moment: datetime, zone: tzinfo | None, *, seconds: bool = False) -> str:
    """``14:02`` or ``14:02:11``."""
    return local(moment, zone).strftime("%H:%M:%S" if seconds else "%H:%M")


def when(moment: datetime, now: datetime, zone: tzinfo | None) -> str:
    """``15:16`` today, ``Tue 15:16`` within a week, else ``12 Mar``."""
    return _when(moment, _day(now, zone), zone)


@lru_cache(maxsize=4)
def _day(now: datetime, zone: tzinfo | None) -> date:
    return local(now, zone).date()


@lru_cache(maxsize=512)
def _when(moment: datetime, today: date, zone: tzinfo | None) -> str:
    there = local(moment, zone)
    days = (there.date() - today).days
    if days == 0:
        return there.strftime("%H:%M")
    if -7 < days < 7:
        return there.strftime("%a %H:%M")
    return f"{there.day} {there:%b}" if there.year == today.year else f"{there:%b %Y}"


def spark(values: Sequence[float | None], width: int, top: float = 100.0) -> str:
    """The last `width` values as bars; a gap where one is unknown, and on the left where there are too few."""
    shown = values[-width:]
    bars = "".join(
        " " if value is None else _SPARKS[min(7, max(0, int(value / top * 7.999)))] if top > 0 else _SPARKS[0]
        for value in shown
    )
    return bars.rjust(width)


def percent(value: float | None) -> str:
    """Always four wide: ``98%``, ``?``."""
    return f"{value:3.0f}%" if value is not None else "   ?"


def gauge(fraction: float | None, width: int) -> tuple[str, str]:
    """A bar in two parts, full and empty; no bar at all where the fraction is unknown."""
    if fraction is None:
        return "", " " * width
    full = round(min(1.0, max(0.0, fraction)) * width)
    if fraction > 0 and full == 0:
        full = 1
    return "▰" * full, "▱" * (width - full)


def gib(mib: float | None) -> str:
    """Memory in whole GB as GPU makers count: ``71``."""
    return UNKNOWN if mib is None else f"{mib / 1024:.0f}"


def bytes_rate(value: float) -> str:
    """``4 kB/s``."""
    for size, unit in ((1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B/s"


def plural(count: int, word: str) -> str:
    """``1 host``, ``3 hosts``."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Exactly `width` cells: padded, or cut with ``…``. Control characters never reach the terminal."""
    if text.isascii() and text.isprintable():
        if len(text) <= width:
            return text.rjust(width) if right else text.ljust(width)
        return text[: width - 1] + "…" if width > 0 else ""
    text = clean(text)
    cells = cell_len(text)
    if cells > width:
        return set_cell_size(text, width - 1).rstrip() + "…" if width == 1 else _cut(text, width)
    gap = " " * (width - cells)
    return gap + text if right else text + gap


def clean(text: str) -> str:
    """Without control characters: a name from a cloud must not move the cursor."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "·" for char in text)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells, broken between words; a longer word is broken anywhere."""
    lines: list[str] = []
    line = ""
    for word in clean(text.replace("\n", " ")).split():
        while cell_len(word) > width:
            if line:
                lines.append(line)
                line = ""
            lines.append(set_cell_size(word, width))
            word = word[len(lines[-1].rstrip()) :]
        joined = f"{line} {word}" if line else word
        if cell_len(joined) > width:
            lines.append(line)
            line = word
        else:
            line = joined
    return [*lines, line] if line or not lines else lines


def listed(words: Iterable[str], *, last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    items = list(words)
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def utc(moment: datetime) -> str:
    """A moment for files and reports."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _cut(text: str, width: int) -> str:
    if width <= 0:
        return ""
    head = set_cell_size(text, width - 1)
    return head + "…"
