"""Real seconds as stretches of the clock in use.

The sandbox's clock may run sixty times as fast, but a cloud is not asked sixty times as often: cadences, holds and
back-offs are real seconds. Everything that compares them with moments of the clock goes through here.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from gpudash.clock import Clock


class Pace:
    """Turns real seconds into spans of one clock, and back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @property
    def speed(self) -> float:
        """Seconds of the clock that pass in one real second."""
        return float(getattr(self._clock, "speed", 1.0)) or 1.0

    def span(self, seconds: float) -> timedelta:
        """How far the clock moves in so many real seconds."""
        return timedelta(seconds=seconds * self.speed)

    def after(self, seconds: float) -> datetime:
        """The clock's time in so many real seconds from now."""
        return self._clock.now() + self.span(seconds)

    def real_seconds(self, length: timedelta) -> float:
        """Real seconds until the clock has moved by `length`; never negative."""
        return max(0.0, length.total_seconds() / self.speed)


def backoff_s(attempt: int, *, first_s: float, most_s: float) -> float:
    """The wait after the `attempt`-th failure in a row (from 1): doubling, with a ceiling and for ever."""
    return min(most_s, first_s * 2.0 ** min(max(attempt, 1) - 1, 32))
