"""Money: exact, in USD, with its source; unknown is None and never zero.

An *interval* is a stretch of time at one unit price. Intervals are appended to the ledger and closed, never rewritten;
what an instance has cost is the sum over its intervals plus the open one up to now.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

SECONDS_PER_HOUR = Decimal(3600)
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Price:
    """USD for one hour, and where the figure came from."""

    usd_per_hour: Decimal
    source: str
    """``instance`` (its own record), ``catalogue``, ``table DATE``, ``simulated`` …"""
    estimated: bool = False
    """True puts ``~`` before every figure made from it."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of one instance's life at one price. `price` None means it billed an unknown amount."""

    kind: str
    """``compute`` or ``storage``."""
    state: str
    """The instance's state during the stretch."""
    price: Price | None
    start: datetime
    end: datetime | None
    """None while it runs on."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A sum of money that knows what it does not know."""

    usd: Decimal = Decimal(0)
    """The part that is known."""
    estimated: bool = False
    """Some of it rests on an estimate."""
    unknown: bool = False
    """Something in it has no price; the true sum is higher."""

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.usd + other.usd, self.estimated or other.estimated, self.unknown or other.unknown)

    @property
    def known(self) -> Decimal | None:
        """The sum, or None where nothing in it is known."""
        return None if self.unknown and self.usd == 0 else self.usd


def cost(price: Price | None, length: timedelta) -> Amount:
    """What `length` at `price` costs. A negative length costs nothing."""
    if price is None:
        return Amount(unknown=length > timedelta(0))
    seconds = Decimal(max(length, timedelta(0)) // timedelta(microseconds=1)) / Decimal(1_000_000)
    return Amount(price.usd_per_hour * seconds / SECONDS_PER_HOUR, price.estimated)


NO_MONEY = Amount()
"""One object for all that have cost nothing: there are many."""


@dataclass(frozen=True, slots=True)
class Accrual:
    """Spent so far as a line: a fixed part plus a rate from a moment on. Cheap to ask at any time."""

    fixed: Amount = NO_MONEY
    """Closed intervals."""
    open: tuple[Interval, ...] = ()
    """Intervals that still run."""

    def at(self, now: datetime) -> Amount:
        """Spent up to `now`."""
        total = self.fixed
        for interval in self.open:
            total += cost(interval.price, now - interval.start)
        return total

    @classmethod
    def of(cls, intervals: Iterable[Interval]) -> Accrual:
        """Sum what is closed and keep what runs on."""
        fixed, running = NO_MONEY, []
        for interval in intervals:
            if interval.end is None:
                running.append(interval)
            else:
                fixed += cost(interval.price, interval.end - interval.start)
        return cls(fixed, tuple(running))


NOTHING_SPENT = Accrual()
"""Before the first interval."""


def cents(amount: Decimal) -> Decimal:
    """Round to whole cents, half up, as invoices do; for showing, never for adding."""
    return amount.quantize(CENT, rounding=ROUND_HALF_UP)
