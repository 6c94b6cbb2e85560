"""Lengths of time as people write them: ``90s 30m 4h 1h30m 2d``. Anything else is refused with an example."""

from __future__ import annotations

import re
from datetime import timedelta

from gpudash.errors import UsageError

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_SHAPE = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.ASCII)


def parse_duration(text: str, *, field: str = "duration") -> timedelta:
    """Read a length of time.

    Args:
        text: such as ``4h`` or ``1h30m``; units in falling order, each at most once.
        field: how the caller names it, for the error text.

    Raises:
        UsageError: not of that form, or zero.
    """
    match = _SHAPE.fullmatch(text.strip())
    if not match or not any(match.groups()):
        raise UsageError(f"{field}: {text!r} is not a duration.", hint="Write it like 90s, 30m, 4h, 1h30m or 2d.")
    seconds = sum(int(part) * unit for part, unit in zip(match.groups(), _UNITS.values(), strict=True) if part)
    if seconds == 0:
        raise UsageError(f"{field}: {text!r} is no time at all.", hint="Write it like 90s, 30m, 4h, 1h30m or 2d.")
    return timedelta(seconds=seconds)


def format_duration(length: timedelta) -> str:
    """The same grammar, exact to the second: ``1h30m``. Zero is ``0s``; a negative length gets a minus sign."""
    seconds = round(length.total_seconds())
    if seconds < 0:
        return "-" + format_duration(-length)
    parts = []
    for unit, size in _UNITS.items():
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
