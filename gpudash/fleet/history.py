"""GPU utilisation of the last polls, a byte a reading: ten thousand rows with sixty readings each are one megabyte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

LENGTH = 60
"""Readings that are kept."""
_UNKNOWN = 255
_PERCENT: tuple[float | None, ...] = (*map(float, range(_UNKNOWN)), None)


class History(Sequence["float | None"]):
    """Readings in whole percent, oldest first; None where a poll had no answer. Never changed: `after` makes a new one."""

    __slots__ = ("_bytes",)

    def __init__(self, readings: Iterable[float | None] = ()) -> None:
        self._bytes = bytes(_byte(value) for value in readings)[-LENGTH:]

    def after(self, reading: float | None) -> History:
        """The same with one more reading, the oldest forgotten where there are too many."""
        longer = History()
        longer._bytes = (self._bytes + bytes((_byte(reading),)))[-LENGTH:]
        return longer

    def __len__(self) -> int:
        return len(self._bytes)

    def __iter__(self) -> Iterator[float | None]:
        return map(_PERCENT.__getitem__, self._bytes)

    @overload
    def __getitem__(self, index: int) -> float | None: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[float | None, ...]: ...

    def __getitem__(self, index: int | slice) -> float | tuple[float | None, ...] | None:
        if isinstance(index, int):
            return _PERCENT[self._bytes[index]]
        return tuple(map(_PERCENT.__getitem__, self._bytes[index]))

    def __eq__(self, other: object) -> bool:
        return self._bytes == other._bytes if isinstance(other, History) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._bytes)


def _byte(value: float | None) -> int:
    return _UNKNOWN if value is None else min(_UNKNOWN - 1, max(0, round(value)))
