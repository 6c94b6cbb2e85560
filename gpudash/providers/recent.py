"""What this process has just asked a cloud to launch. Clouds show a new instance up to a minute late.

So a fresh instance is kept in listings until the cloud lists it, an unknown id that is fresh does not count as gone, and
after a lost answer a listing without the token proves nothing yet.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gpudash.clock import Clock


@dataclass(frozen=True, slots=True)
class Fresh:
    """One accepted launch."""

    region: str
    record: Mapping[str, Any]
    at: float


class Recent:
    """Accepted and unanswered launches of the last minutes. Safe from any thread."""

    def __init__(self, clock: Clock, visible_after_s: float) -> None:
        self._clock, self.visible_after_s = clock, visible_after_s
        self._lock = threading.Lock()
        self._fresh: dict[str, Fresh] = {}
        self._unanswered: dict[str, tuple[str, float]] = {}

    def accepted(self, region: str, instance_id: str, record: Mapping[str, Any]) -> None:
        """The cloud answered with this id; the record stands for the instance until it is listed."""
        with self._lock:
            self._fresh[instance_id] = Fresh(region, record, self._clock.monotonic())

    def forget(self, instance_id: str) -> None:
        """Its end was asked for and accepted: from now on it is gone once the cloud does not list it."""
        with self._lock:
            self._fresh.pop(instance_id, None)

    def unanswered(self, region: str, token: str) -> None:
        """The request left and no answer came."""
        with self._lock:
            self._unanswered[token] = (region, self._clock.monotonic())

    def is_fresh(self, instance_id: str) -> bool:
        """The cloud may not know it everywhere yet."""
        with self._lock:
            fresh = self._fresh.get(instance_id)
            return fresh is not None and self._is_young(fresh.at)

    def missing(self, region: str, listed: Iterable[str]) -> list[Mapping[str, Any]]:
        """Records of accepted launches that a listing of the region lacks and may still lack."""
        seen = set(listed)
        with self._lock:
            for instance_id in [i for i, fresh in self._fresh.items() if not self._is_young(fresh.at)]:
                del self._fresh[instance_id]
            return [f.record for i, f in self._fresh.items() if f.region == region and i not in seen]

    def still_unproved(self, region: str, tokens: Iterable[str | None]) -> bool:
        """A launch without an answer is young and its token is not among those listed."""
        seen = set(tokens)
        with self._lock:
            for token in [t for t, (_, at) in self._unanswered.items() if t in seen or not self._is_young(at)]:
                del self._unanswered[token]
            return any(where == region for where, _ in self._unanswered.values())

    def _is_young(self, at: float) -> bool:
        return self._clock.monotonic() - at < self.visible_after_s
