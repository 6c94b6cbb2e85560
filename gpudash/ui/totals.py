"""The strip's sums, without adding up ten thousand rows in every beat.

Small fleets are added up whole. Large ones a slice a beat, with the last whole sum shown meanwhile; what grows with the
clock (spent today) is carried on from it.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from datetime import datetime, timedelta

from gpudash.fleet.changes import ChangeSet
from gpudash.fleet.record import Record
from gpudash.fleet.store import FleetStore
from gpudash.fleet.totals import Totals, sum_up
from gpudash.model.instance import InstanceState
from gpudash.model.money import Amount, Price, cost

WHOLE = 300
"""Up to so many rows are added up in every beat."""
SLICE = 150
"""Rows a beat of a larger fleet."""
BURN_EVERY = timedelta(seconds=10)


class LiveTotals:
    """Sums of a store, cheap to ask every second."""

    def __init__(self) -> None:
        self.burns: deque[float] = deque(maxlen=24)
        """Burn of the last minutes, for the sparkline."""
        self._burn_at: datetime | None = None
        self._known: Totals | None = None
        self._known_at: datetime | None = None
        self._todo: list[Record] = []
        self._partial = Totals()

    def changed(self, changes: ChangeSet) -> None:
        """Membership changed: a sum under way would count what is gone."""
        if changes.added or changes.removed:
            self._todo = []

    def at(self, store: FleetStore, now: datetime) -> Totals:
        """The sums at that moment."""
        totals = store.totals(now) if len(store.records) <= WHOLE else self._sliced(store, now)
        if self._burn_at is None or now - self._burn_at >= BURN_EVERY:
            self._burn_at = now
            self.burns.append(float(totals.burn.usd))
        return totals

    def _sliced(self, store: FleetStore, now: datetime) -> Totals:
        if not self._todo:
            self._todo, self._partial = list(store.records.values()), Totals()
        count = len(self._todo) if self._known is None and len(self._todo) < 2 * WHOLE else SLICE
        here, self._todo = self._todo[:count], self._todo[count:]
        self._partial = _added(self._partial, sum_up(here, now))
        if not self._todo:
            self._known, self._known_at = self._partial, now
        if self._known is None or self._known_at is None:
            return replace(self._partial, burn=replace(self._partial.burn, unknown=True))
        spent = cost(Price(self._known.burn.usd, ""), now - self._known_at)
        return replace(self._known, spent_today=self._known.spent_today + Amount(spent.usd))


def _added(one: Totals, other: Totals) -> Totals:
    states: Counter[InstanceState] = Counter(one.by_state)
    states.update(other.by_state)
    return Totals(
        dict(states),
        one.burn + other.burn,
        one.unguarded + other.unguarded,
        one.spent_today + other.spent_today,
        one.projected + other.projected,
        one.tunnels_up + other.tunnels_up,
    )
