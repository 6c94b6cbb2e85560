"""Staying under a request limit that a cloud publishes, so that it has no reason to say 429."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol, cast

from gpudash.clock import Clock
from gpudash.errors import RateLimited

if TYPE_CHECKING:
    from pyrate_limiter import InMemoryBucket


class Gate(Protocol):
    """Holds calls back."""

    def wait(self, doing: str) -> None:
        """Return when the next call may leave; `RateLimited`, with nothing sent, where that is too far off."""
        ...


class Throttle:
    """At most so many calls in any such stretch of time. Safe from any thread; waits by the clock it is given.

    Args:
        clock: whose `monotonic` counts and whose `sleep` waits.
        rates: pairs of (calls, seconds), all of which hold.
        patience_s: the longest that a call is held back; one that would wait longer is refused before it is sent.
    """

    def __init__(self, clock: Clock, *rates: tuple[int, float], patience_s: float = 10.0) -> None:
        self._clock, self._rates, self._patience_s = clock, rates, patience_s
        self._lock = threading.Lock()
        self._bucket: InMemoryBucket | None = None
        self._first_ms: int | None = None
        """The first call, which always may leave: a program that asks once does without the limiter's import."""

    def wait(self, doing: str) -> None:
        """Return when the next call may leave.

        Raises:
            RateLimited: that is longer off than `patience_s`. Nothing was sent.
        """
        with self._lock:
            if self._first_ms is None:
                self._first_ms = self._now_ms()
                return
        from pyrate_limiter import RateItem

        until = self._clock.monotonic() + self._patience_s
        while True:
            with self._lock:
                bucket = self._bucket = self._bucket or self._make()
                now_ms = self._now_ms()
                bucket.leak(now_ms)
                item = RateItem("call", now_ms)
                if bucket.put(item):
                    return
                wait_s = max(cast(int, bucket.waiting(item)), 1) / 1000
            if self._clock.monotonic() + wait_s > until:
                raise RateLimited(f"Could not {doing}: this cloud takes so many only later.", retry_after_s=wait_s)
            self._clock.sleep(wait_s)

    def _make(self) -> InMemoryBucket:
        from pyrate_limiter import InMemoryBucket, Rate, RateItem

        bucket = InMemoryBucket([Rate(calls, round(seconds * 1000)) for calls, seconds in self._rates])
        bucket.put(RateItem("call", self._first_ms or 0))
        return bucket

    def _now_ms(self) -> int:
        return int(self._clock.monotonic() * 1000)
