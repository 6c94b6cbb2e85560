"""Rows and their order: sorted once, then each changed row is taken out and put in its place."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Generic, TypeVar

R = TypeVar("R")

SortKey = float | str | datetime
"""What rows are ordered by; None sorts last, whichever way."""


@dataclass(eq=False, slots=True)
class Row(Generic[R]):
    """One line's place in a view."""

    key: Hashable
    record: R
    number: int
    """Counts up with arrival: the order among equals."""
    order: SortKey | None = None
    needle: str | None = None
    """Lower-case text that plain words are looked for in; made when first needed."""
    hint: int = -1
    """Its line when it was last asked for."""
    shown_in: int = -1
    """The number of the filtered list it stands in."""


_order = attrgetter("order")


class Sorted(Generic[R]):
    """Rows in order: those with a sort value, then those without; among equals the first come first."""

    def __init__(self, *, reverse: bool = False, number: int = 0) -> None:
        self.rows: list[Row[R]] = []
        self.number = number
        """Tells one filtered list from the next."""
        self._known = 0
        self._reverse = reverse

    def fill(self, rows: Iterable[Row[R]], reverse: bool) -> None:
        """Sort anew."""
        self._reverse = reverse
        rows = list(rows)
        known = [row for row in rows if row.order is not None]
        unknown = [row for row in rows if row.order is None] if len(known) < len(rows) else []
        known.sort(key=_order, reverse=reverse)
        self.rows[:] = known + unknown
        self._known = len(known)

    def extend(self, rows: Sequence[Row[R]]) -> None:
        """Put rows behind the last one, where they belong."""
        self.rows.extend(rows)
        self._known += sum(row.order is not None for row in rows)

    def take_out(self, row: Row[R]) -> None:
        """Remove a row that stands where its sort value says."""
        del self.rows[self.place(row)]
        self._known -= row.order is not None

    def put_in(self, row: Row[R]) -> int:
        """Put a row where its sort value says; its place."""
        place = self.place(row)
        self.rows.insert(place, row)
        self._known += row.order is not None
        return place

    def place(self, row: Row[R]) -> int:
        """Where its sort value says it stands."""
        low, high = (0, self._known) if row.order is not None else (self._known, len(self.rows))
        rows, reverse, order, number = self.rows, self._reverse, row.order, row.number
        while low < high:
            middle = (low + high) // 2
            other = rows[middle]
            theirs = other.order
            if other.number < number if theirs == order else (theirs < order) is not reverse:  # type: ignore[operator]
                low = middle + 1
            else:
                high = middle
        return low
