"""What is left in an account that is paid in advance, and how long it lasts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from gpudash.model.duration import format_duration

SHORT = timedelta(hours=8)
"""A night's sleep: a runway shorter than this is urgent."""


@dataclass(frozen=True, slots=True)
class Balance:
    """One account's credit as its cloud tells it."""

    account: str
    usd: Decimal
    burn_usd_per_hour: Decimal | None
    """What the cloud itself counts as spent an hour now, disks and endpoints too; None where it does not say."""
    as_of: datetime

    @property
    def runway(self) -> timedelta | None:
        """How long it lasts at that rate; None where nothing is spent or the rate is unknown."""
        if not self.burn_usd_per_hour or self.burn_usd_per_hour < 0:
            return None
        return timedelta(hours=float(max(self.usd, Decimal(0)) / self.burn_usd_per_hour))

    @property
    def is_short(self) -> bool:
        """It ends within a night; then the cloud stops or deletes what runs."""
        return self.usd <= 0 or (self.runway is not None and self.runway < SHORT)

    def __str__(self) -> str:
        sign = "-" if self.usd < 0 else ""
        left = f"balance {sign}${abs(self.usd):,.2f}"
        if self.runway is None:
            return left
        minutes = timedelta(minutes=self.runway // timedelta(minutes=1))
        hours = timedelta(hours=minutes // timedelta(hours=1))
        return f"{left}, {format_duration(hours if hours else minutes) if minutes else 'nothing'} left"
