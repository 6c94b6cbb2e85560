"""What a host's signals said minute by minute, as statusd remembers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gpudash.clock import parse_iso
from gpudash.model.host import Verdict

_LETTERS = {"a": Verdict.ACTIVE, "i": Verdict.IDLE, "u": Verdict.UNKNOWN}


@dataclass(frozen=True, slots=True)
class SignalHistory:
    """One signal, side by side with `History.minutes`."""

    name: str
    unit: str
    values: tuple[float | None, ...]
    """The highest of each minute; None where nothing was measured."""
    verdicts: tuple[Verdict, ...]
    """The strongest of each minute: active, then unknown, then idle."""


@dataclass(frozen=True, slots=True)
class History:
    """The last hours of a host. A minute in which nothing looked is missing, and not zero."""

    minutes: tuple[datetime, ...]
    """The beginning of each, oldest first; the last one is still under way."""
    signals: tuple[SignalHistory, ...]


def parse_history(body: Mapping[str, Any]) -> History:
    """Read a ``/history`` document.

    Raises:
        ValueError: it is none, or its columns are of different length.
    """
    try:
        minutes = tuple(parse_iso(text) for text in body["minutes"])
        signals = tuple(_signal(name, item, len(minutes)) for name, item in body["signals"].items())
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"not a history document: {exc!r}") from exc
    return History(minutes, signals)


def _signal(name: str, item: Mapping[str, Any], length: int) -> SignalHistory:
    values = tuple(None if value is None else float(value) for value in item["values"])
    verdicts = tuple(_LETTERS.get(letter, Verdict.UNKNOWN) for letter in item["verdicts"])
    if not len(values) == len(verdicts) == length:
        raise ValueError(f"{name} has {len(values)} values and {len(verdicts)} verdicts for {length} minutes")
    return SignalHistory(name, str(item.get("unit") or ""), values, verdicts)
